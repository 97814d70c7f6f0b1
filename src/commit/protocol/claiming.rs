//! Taking a value that only one request may have: [`Claim`].
//!
//! A claim writes the record without the value. The request gets the value when that write is certain. A claim
//! differs from other writes in one point: if a reply was lost and the record is gone, nobody can tell whether the
//! value was removed by this claim, so the claim fails rather than report that there was no value.

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
    /// `next` is `former` without the value. The driver replies [`Reply::Unchanged`] to a merge if there is no value.
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

    /// The outcome, after [`Step::Done`]: [`Saved`](super::Outcome::Saved) if this request has the value,
    /// [`Unchanged`](super::Outcome::Unchanged) or [`Ended`](super::Outcome::Ended) if there was none.
    pub fn finish(self) -> Finished<R> {
        self.0.finish()
    }
}
