//! Rolls back what an abandoned machine has begun: [`Undoing`] runs an [`Undo`].
//!
//! No visitor will have the new session's token. But its creation, and the marker in place of the old session, may still
//! be applied. So the old session is barred first, by a write that the marker conflicts with. Then a marker closes
//! the new id, whether the session exists or not, so that a late creation finds the id taken. If the marker of the
//! old session was applied first, the session has moved, and stays.
//!
//! A move that may or may not have been applied is finished, not rolled back: later nobody could tell any more, because
//! its marker expires.
//!
//! Nothing is deleted, because a deletion would open the id again. Each step is harmless if the following ones are lost.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        ending::End,
        helping::Help,
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
        undo::{Task, Undo},
    },
    record::token::SessionId,
};

impl<R: Rec> Undo<R> {
    /// The machine that does it, with a writer of its own. If it fails, it can be tried again later.
    pub fn machine(&self, writer: u64, now: Timestamp) -> Undoing<R> {
        match &*self.0 {
            Task::Close { new, stub, old } => {
                let marker = R::closing(stub, writer, now);
                let mut close = Close {
                    new: *new,
                    old: *old,
                    marker,
                    writer,
                    stage: Stage::Creating,
                    lost_replies: 0,
                };
                let _ = match old {
                    Some(_) if R::keeps(Policy::UndoBars) => close.go(Stage::LoadingOld),
                    _ => close.close(),
                };
                Undoing::Close(close)
            }
            Task::End { id, writer, sent } => Undoing::End(End::destroy_later(*id, *writer, *sent)),
            Task::Help(id) => Undoing::Help(Help::later(*id, writer)),
            Task::Enter {
                ledger,
                entry,
                new,
                stub,
            } => Undoing::Enter(Box::new(Enter {
                ledger: *ledger,
                entry: entry.clone(),
                new: *new,
                is_reading: true,
                lost_replies: 0,
                error: None,
                close: Undo::<R>::of(Task::Close {
                    new: *new,
                    stub: stub.clone(),
                    old: None,
                }),
                writer,
            })),
        }
    }
}

/// Rolls back, ends or finishes something in the background.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Undoing<R: Rec> {
    /// Closes the id of a session whose token no visitor has.
    Close(Close<R>),
    /// Ends a session whose visitor has logged out.
    End(End<R>),
    /// Finishes a move that may or may not have been applied.
    Help(Help<R>),
    /// Stores the ledger entry of an import.
    Enter(Box<Enter<R>>),
}

/// Closes the id of a session whose token no visitor has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Close<R: Rec> {
    new: SessionId,
    old: Option<SessionId>,
    /// The marker to create if there is no record.
    marker: R,
    writer: u64,
    stage: Stage<R>,
    lost_replies: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    LoadingOld,
    Barring(Cas<R>),
    Creating,
    Loading,
    Ending(Cas<R>),
    Done(Option<R::Error>),
}

impl<R: Rec> Undoing<R> {
    /// The next thing to ask. `None` if there is nothing to do.
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        match self {
            Self::Close(close) => close.ask(),
            Self::End(end) => end.ask(),
            Self::Help(help) => help.ask(),
            Self::Enter(enter) => enter.ask(),
        }
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        match self {
            Self::Close(close) => close.step(reply, now),
            Self::End(end) => end.step(reply, now),
            Self::Help(help) => help.step(reply, now),
            Self::Enter(enter) => match enter.step(reply) {
                Entering::Not(step) => step,
                Entering::Elsewhere => {
                    *self = enter.close.machine(enter.writer, now);
                    Step::Ask
                }
            },
        }
    }

    /// The outcome, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        match self {
            Self::Close(close) => Finished::of(match close.stage {
                Stage::Done(Some(error)) => Outcome::Failed(error),
                _ => Outcome::Undone,
            }),
            Self::End(end) => end.finish(),
            Self::Help(help) => help.finish(),
            Self::Enter(enter) => Finished::of(match enter.error {
                Some(error) => Outcome::Failed(error),
                None => Outcome::Undone,
            }),
        }
    }
}

/// Stores the ledger entry of an import.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Enter<R: Rec> {
    ledger: SessionId,
    entry: R,
    new: SessionId,
    is_reading: bool,
    lost_replies: u8,
    error: Option<R::Error>,
    /// What follows if another entry is there.
    close: Undo<R>,
    writer: u64,
}

enum Entering {
    Not(Step),
    /// The entry leads to another session.
    Elsewhere,
}

impl<R: Rec> Enter<R> {
    fn ask(&self) -> Option<Ask<'_, R>> {
        Some(if self.is_reading {
            Ask::Load(self.ledger)
        } else {
            Ask::Create(self.ledger, &self.entry)
        })
    }

    fn step(&mut self, reply: Reply<R>) -> Entering {
        Entering::Not(match reply {
            Reply::Loaded(Some(found)) => {
                if found.successor().is_none_or(|to| to.id != self.new) {
                    return Entering::Elsewhere;
                }
                Step::Done
            }
            Reply::Loaded(None) => {
                self.is_reading = false;
                Step::Ask
            }
            Reply::Created => Step::Done,
            Reply::Exists => {
                self.is_reading = true;
                Step::Ask
            }
            Reply::Unknown(_) if self.lost_replies < MAX_LOST_REPLIES => {
                self.lost_replies += 1;
                self.is_reading = true;
                Step::Ask
            }
            reply => {
                self.error = Some(reply.into_error());
                Step::Done
            }
        })
    }
}

impl<R: Rec> Close<R> {
    fn ask(&self) -> Option<Ask<'_, R>> {
        Some(match (&self.stage, self.old) {
            (Stage::LoadingOld, Some(old)) => Ask::Load(old),
            (Stage::Barring(cas) | Stage::Ending(cas), _) => cas.ask(),
            (Stage::Creating, _) => Ask::Create(self.new, &self.marker),
            (Stage::Loading, _) => Ask::Load(self.new),
            _ => return None,
        })
    }

    fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        match (std::mem::replace(&mut self.stage, Stage::Done(None)), reply) {
            (
                stage @ (Stage::LoadingOld | Stage::Creating | Stage::Loading),
                Reply::Unknown(error),
            ) => self.again(stage, error),
            (Stage::LoadingOld, Reply::Loaded(Some(old))) if old.is_marker() => {
                if old.successor().is_some_and(|to| to.id == self.new) {
                    Step::Done
                } else {
                    self.close()
                }
            }
            (Stage::LoadingOld, Reply::Loaded(Some(old))) => match self.old {
                Some(id) if old.bar() != Some(self.new) => {
                    let barred = old.barred(self.new, self.writer);
                    self.go(Stage::Barring(Cas::new(id, old, barred)))
                }
                _ => self.close(),
            },
            (Stage::LoadingOld, Reply::Loaded(None)) => self.close(),
            (Stage::Barring(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Barring(cas), step),
                Swapped::Saved => self.close(),
                Swapped::Failed(error, _) => self.again(Stage::LoadingOld, error),
                _ => self.go(Stage::LoadingOld),
            },
            (Stage::Creating, Reply::Created) => Step::Done,
            (Stage::Creating, Reply::Exists) => self.go(Stage::Loading),
            (Stage::Loading, Reply::Loaded(None)) if R::keeps(Policy::UndoCloses) => self.close(),
            (Stage::Loading, Reply::Loaded(None)) => Step::Done,
            (Stage::Loading, Reply::Loaded(Some(new))) if new.is_marker() => Step::Done,
            (Stage::Loading, Reply::Loaded(Some(new))) => {
                let marker = new.marker(None, self.writer, now);
                self.go(Stage::Ending(Cas::new(self.new, new, marker)))
            }
            (Stage::Ending(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Ending(cas), step),
                Swapped::Saved | Swapped::Moved(_) => Step::Done,
                Swapped::Failed(error, _) => self.again(Stage::Loading, error),
                Swapped::Fresher(_) | Swapped::Missing(_) => self.go(Stage::Loading),
            },
            (_, reply) => self.wait(Stage::Done(Some(reply.into_error())), Step::Done),
        }
    }

    fn close(&mut self) -> Step {
        self.go(if R::keeps(Policy::UndoCloses) {
            Stage::Creating
        } else {
            Stage::Loading
        })
    }

    fn again(&mut self, stage: Stage<R>, error: R::Error) -> Step {
        self.lost_replies += 1;
        if self.lost_replies > MAX_LOST_REPLIES {
            self.wait(Stage::Done(Some(error)), Step::Done)
        } else {
            self.go(stage)
        }
    }

    fn go(&mut self, stage: Stage<R>) -> Step {
        self.wait(stage, Step::Ask)
    }

    fn wait(&mut self, stage: Stage<R>, step: Step) -> Step {
        self.stage = stage;
        step
    }
}
