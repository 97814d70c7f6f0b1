//! Writes the new session of a move again with other content: [`Rewrite`].
//!
//! If the old session has changed since the new one was made from it, the new one takes over its current data. If the
//! old session moved elsewhere with its data, the new one keeps only the request's own changes. No visitor has the new
//! token yet, so if another writer has written to the new session, it has ended the session.

use crate::{
    commit::protocol::{
        ask::{Ask, Reply, Step},
        cas::{Cas, Swapped},
        rec::Rec,
    },
    record::{lineage::Origin, token::SessionId},
};

/// Gives the new session other content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rewrite<R: Rec> {
    /// The current record of the old session. `None`: its data is not taken over.
    base: Option<R>,
    origin: Option<Origin>,
    writer: u64,
    /// `None` until the request has made the content.
    cas: Option<Cas<R>>,
}

/// The result after a reply.
pub(super) enum Rewriting<R: Rec> {
    /// Not certain yet.
    Not(Step),
    Saved {
        record: R,
        base: Option<R>,
    },
    /// Another request has ended the new session.
    Outdone,
    /// The session to continue has ended.
    Ended,
    /// The request's changes do not apply. The new session is as it was.
    Refused(R::Error),
    /// The store failed.
    Failed(R::Error),
}

impl<R: Rec> Rewrite<R> {
    pub(super) fn new(base: Option<R>, origin: Option<Origin>, writer: u64) -> Self {
        Self {
            base,
            origin,
            writer,
            cas: None,
        }
    }

    pub(super) fn ask(&self) -> Ask<'_, R> {
        match &self.cas {
            Some(cas) => cas.ask(),
            None => Ask::Begin {
                base: self.base.as_ref(),
                redraw: false,
            },
        }
    }

    /// `new` is the new session as it is stored.
    pub(super) fn step(&mut self, reply: Reply<R>, new: &(SessionId, R)) -> Rewriting<R> {
        let Some(cas) = &mut self.cas else {
            return match reply {
                Reply::Begun(_, record) => self.write(record, new),
                Reply::Ended => Rewriting::Ended,
                reply => Rewriting::Refused(reply.into_error()),
            };
        };
        match cas.step(reply) {
            Swapped::Not(step) => Rewriting::Not(step),
            Swapped::Saved => Rewriting::Saved {
                record: cas.next.clone(),
                base: self.base.take(),
            },
            Swapped::Fresher(_) | Swapped::Moved(_) | Swapped::Missing(_) => Rewriting::Outdone,
            Swapped::Failed(error, _) => Rewriting::Failed(error),
        }
    }

    fn write(&mut self, record: R, (id, current): &(SessionId, R)) -> Rewriting<R> {
        // Its rank stays.
        let next = record
            .with_origin(self.origin)
            .with_rank(current.ranked_at());
        let next = next.replacing(current, self.writer);
        self.cas = Some(Cas::new(*id, current.clone(), next));
        Rewriting::Not(Step::Ask)
    }
}
