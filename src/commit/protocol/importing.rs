//! Importing a session of another library: [`Import`].
//!
//! A *ledger* entry says which session the old one became. It is a marker whose id is a hash of the old token, so that one
//! old session has one entry. First the new session N is stored under a random id, then the entry that leads to it. If an import
//! finds another entry, it closes the session that it has created, and follows the entry.
//!
//! | the ledger | what follows |
//! | --- | --- |
//! | has no entry | the old session is loaded and imported; if it is gone, the ledger is read again |
//! | leads to N, and none of N's secrets was presented more than a minute ago | the request has the session N, and gets a secret of its own |
//! | leads to the anonymous session that the request has already | the request keeps it |
//! | leads to N otherwise, or N ended or moved | the visitor is anonymous, and nothing is imported again |
//!
//! If it is unknown whether the entry was stored, the import fails, and N stays, because the entry may still arrive. In the
//! background the same entry is sent again until it is stored, or another entry is found. Only in the second case N is closed.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        creation::{Creating, Creation},
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
        undo::Undo,
    },
    record::token::SessionId,
};

/// Imports the session that a ledger entry stands for, or follows the entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Import<R: Rec> {
    ledger: SessionId,
    writer: u64,
    /// Whether the old session stays in its store.
    keeps: bool,
    /// The session that the request has, which is anonymous.
    own: Option<SessionId>,
    /// What is being imported: the new session and its ledger entry.
    new: Option<(SessionId, R, R)>,
    trace: Trace,
    lost_replies: u8,
    stage: Stage<R>,
}

/// What this import may have left in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trace {
    Nothing,
    /// The new session.
    Session,
    /// The new session, and the entry that leads to it.
    Entry,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    Reading,
    Fetching,
    /// The old session is gone. The request that imported it has stored the entry before it deleted the old session.
    ReadingAgain,
    Creating(Creation<R>),
    Entering(Creation<R>),
    /// Another entry was faster: the new session is closed.
    Closing(Cas<R>),
    /// The session that this entry leads to.
    Following(SessionId, R),
    /// Gets a secret of the request's own.
    Joining(SessionId, R, R),
    Storing(Cas<R>, R),
    /// The old session is deleted. The import has this outcome.
    Forgetting(Box<Outcome<R>>),
    Done(Box<Outcome<R>>),
}

impl<R: Rec> Import<R> {
    /// `ledger` is the id of the old session's ledger entry. If it `keeps` the old session, that is not deleted.
    #[must_use]
    pub fn new(ledger: SessionId, keeps: bool, writer: u64) -> Self {
        Self {
            ledger,
            writer,
            keeps,
            own: None,
            new: None,
            trace: Trace::Nothing,
            lost_replies: 0,
            stage: Stage::Reading,
        }
    }

    /// The request has this anonymous session. If the old session became this one, nothing is imported.
    #[must_use]
    pub fn beside(self, own: Option<SessionId>) -> Self {
        Self { own, ..self }
    }

    /// The next thing to ask.
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        Some(match &self.stage {
            Stage::Reading | Stage::ReadingAgain => Ask::Load(self.ledger),
            Stage::Fetching => Ask::Fetch,
            Stage::Creating(creation) | Stage::Entering(creation) => creation.ask(),
            Stage::Closing(cas) | Stage::Storing(cas, _) => cas.ask(),
            Stage::Following(id, _) => Ask::Load(*id),
            Stage::Joining(id, target, _) => Ask::Join(*id, target),
            Stage::Forgetting(_) => Ask::Forget,
            Stage::Done(_) => return None,
        })
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        let done = Stage::Done(Box::new(Outcome::Gone));
        match (std::mem::replace(&mut self.stage, done), reply) {
            (
                stage @ (Stage::Reading | Stage::ReadingAgain | Stage::Following(..)),
                Reply::Unknown(_),
            ) if self.lost_replies < MAX_LOST_REPLIES => {
                self.lost_replies += 1;
                self.go(stage)
            }
            (Stage::Reading | Stage::ReadingAgain, Reply::Loaded(Some(entry))) => {
                self.follow(entry)
            }
            (Stage::Reading, Reply::Loaded(None)) => self.go(Stage::Fetching),
            (Stage::Fetching, Reply::Fetched(None)) if !self.keeps => self.go(Stage::ReadingAgain),
            (Stage::Fetching, Reply::Fetched(None))
            | (Stage::ReadingAgain, Reply::Loaded(None)) => self.done(Outcome::Gone),
            (Stage::Fetching, Reply::Fetched(Some(fetched))) => {
                let (id, record, entry) = *fetched;
                let creation = Creation::new(id, record.clone());
                self.new = Some((id, record, entry));
                self.trace = Trace::Session;
                self.go(Stage::Creating(creation))
            }
            (Stage::Creating(mut creation), reply) => match creation.step(reply, false, now) {
                Creating::Not(step) => self.wait(Stage::Creating(creation), step),
                Creating::Created => self.enter(),
                // Another session has the id: another is drawn.
                Creating::Taken => {
                    self.trace = Trace::Nothing;
                    self.go(Stage::Fetching)
                }
                Creating::Failed(error, may_exist) => {
                    if !may_exist {
                        self.trace = Trace::Nothing;
                    }
                    self.done(Outcome::Failed(error))
                }
            },
            (Stage::Entering(mut creation), reply) => match creation.step(reply, false, now) {
                Creating::Not(step) => self.wait(Stage::Entering(creation), step),
                Creating::Created => self.entered(),
                Creating::Taken if R::keeps(Policy::ImportsOnce) => self.close(now),
                Creating::Taken => self.entered(),
                Creating::Failed(error, may_exist) => {
                    if !may_exist {
                        self.trace = Trace::Session;
                    }
                    self.done(Outcome::Failed(error))
                }
            },
            (Stage::Closing(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Closing(cas), step),
                Swapped::Failed(error, _) => self.done(Outcome::Failed(error)),
                _ => {
                    self.trace = Trace::Nothing;
                    self.go(Stage::Reading)
                }
            },
            (Stage::Following(id, entry), Reply::Loaded(Some(target)))
                if !target.is_marker()
                    && (target.admits(&entry, now) || !R::keeps(Policy::ImportsUnused)) =>
            {
                self.go(Stage::Joining(id, target, entry))
            }
            (Stage::Following(..), Reply::Loaded(_)) => self.done(Outcome::Gone),
            (Stage::Joining(id, target, entry), Reply::Merged(next)) => {
                self.go(Stage::Storing(Cas::new(id, target, next), entry))
            }
            // The session takes no further secret. The request has the session without a token of its own.
            (Stage::Joining(id, target, _), Reply::Unchanged) => self.forget(Outcome::Joined {
                id,
                former: target.clone(),
                record: target,
            }),
            (Stage::Joining(..), Reply::Ended) => self.done(Outcome::Gone),
            (Stage::Storing(mut cas, entry), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Storing(cas, entry), step),
                Swapped::Saved => self.forget(Outcome::Joined {
                    id: cas.id,
                    former: cas.former,
                    record: cas.next,
                }),
                Swapped::Fresher(_) => self.go(Stage::Following(cas.id, entry)),
                Swapped::Moved(_) | Swapped::Missing(_) => self.done(Outcome::Gone),
                Swapped::Failed(error, _) => self.done(Outcome::Failed(error)),
            },
            // It expires by itself, and a log-out deletes it again.
            (Stage::Forgetting(outcome), _) => self.wait(Stage::Done(outcome), Step::Done),
            (_, reply) => self.done(Outcome::Failed(reply.into_error())),
        }
    }

    /// The outcome, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        let undo = self.undo();
        match self.stage {
            Stage::Done(outcome) => Finished {
                undo,
                ..Finished::of(*outcome)
            },
            _ => Finished {
                undo,
                ..Finished::nothing()
            },
        }
    }

    /// Abandons the import. The next request with the old token continues it.
    pub fn abandon(self) -> Finished<R> {
        let undo = self.undo();
        match self.stage {
            // The import itself is complete.
            Stage::Forgetting(outcome) | Stage::Done(outcome) => Finished {
                undo,
                ..Finished::of(*outcome)
            },
            _ => Finished {
                undo,
                ..Finished::nothing()
            },
        }
    }

    fn undo(&self) -> Option<Undo<R>> {
        let (id, record, entry) = self.new.as_ref()?;
        match self.trace {
            Trace::Nothing => None,
            Trace::Session => Some(Undo::creation(*id, record)),
            Trace::Entry if !R::keeps(Policy::ImportsInDoubtStay) => {
                Some(Undo::creation(*id, record))
            }
            Trace::Entry => Some(Undo::entry(self.ledger, entry.clone(), *id, record)),
        }
    }

    fn follow(&mut self, entry: R) -> Step {
        match entry.successor() {
            Some(to) if self.own != Some(to.id) => self.go(Stage::Following(to.id, entry)),
            _ => self.done(Outcome::Gone),
        }
    }

    fn enter(&mut self) -> Step {
        let Some((_, _, entry)) = &self.new else {
            return self.done(Outcome::Gone);
        };
        let creation = Creation::new(self.ledger, entry.clone());
        self.trace = Trace::Entry;
        self.go(Stage::Entering(creation))
    }

    fn entered(&mut self) -> Step {
        self.trace = Trace::Nothing;
        match self.new.clone() {
            Some((id, record, _)) => self.forget(Outcome::Imported { id, record }),
            None => self.done(Outcome::Gone),
        }
    }

    fn close(&mut self, now: Timestamp) -> Step {
        self.trace = Trace::Session;
        let Some((id, record, _)) = &self.new else {
            return self.go(Stage::Reading);
        };
        let marker = record.marker(None, self.writer, now);
        let cas = Cas::new(*id, record.clone(), marker);
        self.go(Stage::Closing(cas))
    }

    fn forget(&mut self, outcome: Outcome<R>) -> Step {
        if self.keeps {
            self.done(outcome)
        } else {
            self.go(Stage::Forgetting(Box::new(outcome)))
        }
    }

    fn go(&mut self, stage: Stage<R>) -> Step {
        self.wait(stage, Step::Ask)
    }

    fn wait(&mut self, stage: Stage<R>, step: Step) -> Step {
        self.stage = stage;
        step
    }

    fn done(&mut self, outcome: Outcome<R>) -> Step {
        self.wait(Stage::Done(Box::new(outcome)), Step::Done)
    }
}
