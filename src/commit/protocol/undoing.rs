//! Taking back what an abandoned machine has begun: [`Undo`], run as [`Undoing`].
//!
//! Nobody will have the new session's token. Its creation, and the marker that takes the old session away, may both still
//! be on their way. So the old session is barred first, a write that the marker conflicts with; then the new id is
//! closed by a marker: created where nothing is, so that a late creation finds the id taken, or in place of the session.
//! Where the marker came first, the session has moved, and stays.
//!
//! A move that is in doubt is not taken back but finished, so that nobody has to remember the doubt: its marker expires.
//!
//! Nothing is deleted: a deletion would open the id again. Each part of an undoing does no harm if the rest is lost.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        ending::End,
        helping::Help,
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
    },
    record::{token::SessionId, version::Version},
};

/// What is to be taken back, ended or finished in the background: ids, versions and a verifier, no data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Undo<R: Rec>(Task<R::Stub>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task<S> {
    /// Close the id `new`; if the old session may be about to become the marker to it, bar that first.
    Close {
        new: SessionId,
        stub: S,
        old: Option<SessionId>,
    },
    End {
        id: SessionId,
        writer: u64,
        sent: Option<Version>,
    },
    Help(SessionId),
}

impl<R: Rec> Undo<R> {
    /// Of a session that was being created.
    pub(super) fn creation(id: SessionId, record: &R) -> Self {
        Self::of_move(id, record, None)
    }

    /// Of a move; `old` where its marker may have been sent.
    pub(super) fn of_move(new: SessionId, record: &R, old: Option<SessionId>) -> Self {
        Self(Task::Close {
            new,
            stub: record.stub(),
            old,
        })
    }

    /// A log-out that was not confirmed.
    pub(super) fn end(id: SessionId, writer: u64, sent: Option<Version>) -> Self {
        Self(Task::End { id, writer, sent })
    }

    /// A move that was left in doubt: it is finished, not taken back.
    pub(super) fn help(id: SessionId) -> Self {
        Self(Task::Help(id))
    }

    /// Which session it is about, for the log.
    pub fn id(&self) -> SessionId {
        match &self.0 {
            Task::Close { new, .. } => *new,
            Task::End { id, .. } | Task::Help(id) => *id,
        }
    }

    /// The machine that does it, with a writer of its own. Where it fails, the same may be tried again later.
    pub fn machine(&self, writer: u64, now: Timestamp) -> Undoing<R> {
        match &self.0 {
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
        }
    }
}

/// Takes back or ends something in the background.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Undoing<R: Rec> {
    /// Closes the id of a session of which nobody has the token.
    Close(Close<R>),
    /// Ends a session whose visitor has logged out.
    End(End<R>),
    /// Finishes a move that its request has left in doubt.
    Help(Help<R>),
}

/// Closes the id of a session of which nobody has the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Close<R: Rec> {
    new: SessionId,
    old: Option<SessionId>,
    /// For where nothing is yet.
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
    /// The next thing to ask; `None` where there is nothing to do.
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        match self {
            Self::Close(close) => close.ask(),
            Self::End(end) => end.ask(),
            Self::Help(help) => help.ask(),
        }
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        match self {
            Self::Close(close) => close.step(reply, now),
            Self::End(end) => end.step(reply, now),
            Self::Help(help) => help.step(reply, now),
        }
    }

    /// What it came to, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        match self {
            Self::Close(close) => Finished::of(match close.stage {
                Stage::Done(Some(error)) => Outcome::Failed(error),
                _ => Outcome::Undone,
            }),
            Self::End(end) => end.finish(),
            Self::Help(help) => help.finish(),
        }
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
