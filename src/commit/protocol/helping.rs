//! Finishing a move that another request began: [`Help`].
//!
//! A new session names the id and the version of the one it comes from. Until a marker that leads here replaces the old
//! session, the move is not finished: its request may be under way, or gone. A request with the new token loads the
//! old session first:
//!
//! | the old session | what follows |
//! | --- | --- |
//! | is a marker that leads here, or is gone | nothing: the move is finished |
//! | has the version that the new one was made of | a marker replaces it |
//! | has changed since | the new one takes over its data, then a marker replaces it |
//! | has ended or moved elsewhere | a log-in continues without data; a cycled session ends |
//! | is barred from this id | the new one ends |
//!
//! So before anybody reads the data, it is in one place only.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
    },
    record::{
        lineage::{MoveKind, Origin, Successor},
        token::SessionId,
    },
};

/// Finishes the move of a session that was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Help<R: Rec> {
    id: SessionId,
    /// The new session. `None` if it is not loaded yet.
    record: Option<R>,
    from: Option<Origin>,
    writer: u64,
    stage: Stage<R>,
    lost_replies: u8,
    has_moved: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    LoadingOrigin,
    /// Loading the new session, which may have changed.
    Loading,
    TakingOver(Cas<R>),
    Marking(Cas<R>),
    /// Closing the new session, which has ended. Otherwise it would look finished when the old marker has expired.
    Closing(Cas<R>),
    Ready,
    Ended,
    Failed(R::Error),
}

impl<R: Rec> Help<R> {
    /// For a record that was loaded under `id`. If it has no origin, there is nothing to ask.
    pub fn new(id: SessionId, record: R, writer: u64) -> Self {
        let from = record.origin().filter(|_| R::keeps(Policy::Helps));
        Self {
            id,
            record: Some(record),
            from,
            writer,
            stage: if from.is_some() {
                Stage::LoadingOrigin
            } else {
                Stage::Ready
            },
            lost_replies: 0,
            has_moved: false,
        }
    }

    /// For a move that its own request could not finish, to be run in the background.
    pub(super) fn later(id: SessionId, writer: u64) -> Self {
        Self {
            id,
            record: None,
            from: None,
            writer,
            stage: Stage::Loading,
            lost_replies: 0,
            has_moved: false,
        }
    }

    /// The next thing to ask; `None` if there is nothing to do; then [`finish`](Self::finish) it.
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        Some(match (&self.stage, self.from) {
            (Stage::LoadingOrigin, Some(from)) => Ask::Load(from.id),
            (Stage::Loading, _) => Ask::Load(self.id),
            (Stage::TakingOver(cas) | Stage::Marking(cas) | Stage::Closing(cas), _) => cas.ask(),
            _ => return None,
        })
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        match (std::mem::replace(&mut self.stage, Stage::Ended), reply) {
            (stage @ (Stage::LoadingOrigin | Stage::Loading), Reply::Unknown(_))
                if self.lost_replies < MAX_LOST_REPLIES =>
            {
                self.lost_replies += 1;
                self.go(stage)
            }
            (Stage::LoadingOrigin, Reply::Loaded(origin)) => self.found(origin, now),
            (Stage::Loading, Reply::Loaded(Some(record))) if !record.is_marker() => {
                self.from = record.origin();
                self.record = Some(record);
                match self.from {
                    Some(_) => self.go(Stage::LoadingOrigin),
                    None => self.end(Stage::Ready),
                }
            }
            (Stage::Loading, Reply::Loaded(_)) => self.end(Stage::Ended),
            (Stage::TakingOver(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::TakingOver(cas), step),
                Swapped::Failed(error, _) => self.end(Stage::Failed(error)),
                _ => self.go(Stage::Loading),
            },
            (Stage::Closing(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Closing(cas), step),
                Swapped::Fresher(_) => self.go(Stage::Loading),
                Swapped::Failed(error, _) => self.end(Stage::Failed(error)),
                Swapped::Saved | Swapped::Moved(_) | Swapped::Missing(_) => self.end(Stage::Ended),
            },
            (Stage::Marking(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Marking(cas), step),
                Swapped::Saved => {
                    self.has_moved = true;
                    self.end(Stage::Ready)
                }
                Swapped::Failed(error, _) => self.end(Stage::Failed(error)),
                _ => self.go(Stage::Loading),
            },
            (_, reply) => self.end(Stage::Failed(reply.into_error())),
        }
    }

    /// The outcome, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        let from = self.from.filter(|_| self.has_moved);
        Finished::of(match (self.stage, self.record) {
            (Stage::Ready, Some(record)) => Outcome::Helped {
                record,
                moved: from.map(|from| (from.id, from.kind)),
            },
            (Stage::Failed(error), _) => Outcome::Failed(error),
            _ => Outcome::Ended,
        })
    }

    fn found(&mut self, origin: Option<R>, now: Timestamp) -> Step {
        let (Some(origin), Some(from)) = (origin, self.from) else {
            return self.end(Stage::Ready);
        };
        if origin.is_marker() {
            let leads_here = origin.successor().is_some_and(|to| to.id == self.id);
            return match from.kind {
                _ if leads_here => self.end(Stage::Ready),
                MoveKind::Cycle => self.close(now),
                MoveKind::LogIn => self.take_over(None, None),
            };
        }
        if origin.bar() == Some(self.id) {
            return self.close(now);
        }
        if origin.version() == from.version || !R::keeps(Policy::HelpTakesOver) {
            let to = Successor {
                id: self.id,
                kind: from.kind,
            };
            let marker = origin.marker(Some(to), self.writer, now);
            return self.go(Stage::Marking(Cas::new(from.id, origin, marker)));
        }
        let version = origin.version();
        self.take_over(Some(&origin), Some(Origin { version, ..from }))
    }

    fn close(&mut self, now: Timestamp) -> Step {
        let Some(record) = &self.record else {
            return self.go(Stage::Loading);
        };
        let marker = record.marker(None, self.writer, now);
        let cas = Cas::new(self.id, record.clone(), marker);
        self.go(Stage::Closing(cas))
    }

    fn take_over(&mut self, origin: Option<&R>, from: Option<Origin>) -> Step {
        let Some(record) = &self.record else {
            return self.go(Stage::Loading);
        };
        let next = record.taking_over(origin, self.writer).with_origin(from);
        let cas = Cas::new(self.id, record.clone(), next);
        self.go(Stage::TakingOver(cas))
    }

    fn go(&mut self, stage: Stage<R>) -> Step {
        self.wait(stage, Step::Ask)
    }

    fn wait(&mut self, stage: Stage<R>, step: Step) -> Step {
        self.stage = stage;
        step
    }

    fn end(&mut self, stage: Stage<R>) -> Step {
        self.wait(stage, Step::Done)
    }
}
