//! Taking a value that only one request may have: [`Claim`].
//!
//! A claim is a write of the record without the value, and the value is the visitor's once that is certain. It differs
//! from any other write in one point: where a reply was lost and the record is gone, nobody can tell whether the value
//! was given, and the claim fails instead of saying that the value was not there.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, Reply, Step},
        outcome::Finished,
        rec::Rec,
        write::Write,
    },
    record::token::SessionId,
};

/// Takes a value from the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim<R: Rec>(Write<R>);

impl<R: Rec> Claim<R> {
    /// `next` is `former` without the value. To a merge the driver answers
    /// [`Reply::Unchanged`] where the value is not there.
    pub fn new(id: SessionId, former: R, next: R) -> Self {
        Self(Write::claim(id, former, next))
    }

    /// The next thing to ask.
    pub fn ask(&self) -> Ask<'_, R> {
        self.0.ask()
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        self.0.step(reply, now)
    }

    /// What it came to, after [`Step::Done`]: [`Saved`](super::Outcome::Saved) where the value is this request's,
    /// [`Unchanged`](super::Outcome::Unchanged) or [`Ended`](super::Outcome::Ended) where it is not there.
    pub fn finish(self) -> Finished<R> {
        self.0.finish()
    }
}
