//! The compare-and-swap under every write: [`Cas`].
//!
//! After an unknown reply, the machine loads the record. If its list of writers has this write, the write was applied.
//! If the record has another version and the list does not have this write, it never will be: no version comes twice.
//! If the former version is still stored, the same write is sent again, and the store applies only one of the two. If
//! more writes followed than the record remembers, nobody can tell, and the write fails.

use crate::{
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        rec::{Policy, Rec},
    },
    record::{token::SessionId, version::Wrote},
};

/// Replaces one record by another, and finds out whether that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cas<R: Rec> {
    pub(super) id: SessionId,
    pub(super) former: R,
    pub(super) next: R,
    /// The first unknown reply.
    lost: Option<R::Error>,
    lost_replies: u8,
    is_reading: bool,
    /// Whether this is a claim, for which [`claiming`](super::claiming) has a rule of its own.
    is_claim: bool,
}

/// The result of the write after a reply.
pub(super) enum Swapped<R: Rec> {
    /// Not certain yet.
    Not(Step),
    Saved,
    /// Certainly not stored: another request wrote first, and this is the record now.
    Fresher(R),
    /// Certainly not stored: the session has ended or moved to another id.
    Moved(R),
    /// There is no record. The error is that of an earlier unknown reply.
    Missing(Option<R::Error>),
    /// Failed. The flag says whether it may have been stored.
    Failed(R::Error, bool),
}

impl<R: Rec> Cas<R> {
    #[inline]
    pub(super) fn new(id: SessionId, former: R, next: R) -> Self {
        Self {
            id,
            former,
            next,
            lost: None,
            lost_replies: 0,
            is_reading: false,
            is_claim: false,
        }
    }

    pub(super) fn claiming(self) -> Self {
        Self {
            is_claim: true,
            ..self
        }
    }

    pub(super) fn is_claim(&self) -> bool {
        self.is_claim
    }

    /// Starts another write of the same commit, after this one was certainly not stored.
    pub(super) fn again(&mut self, former: R, next: R) {
        self.former = former;
        self.next = next;
        self.lost = None;
        self.is_reading = false;
    }

    #[inline]
    pub(super) fn ask(&self) -> Ask<'_, R> {
        if self.is_reading {
            Ask::Load(self.id)
        } else {
            Ask::Update {
                id: self.id,
                former: &self.former,
                next: &self.next,
            }
        }
    }

    #[inline]
    pub(super) fn step(&mut self, reply: Reply<R>) -> Swapped<R> {
        if let Reply::Saved = reply {
            return Swapped::Saved;
        }
        self.settle(reply)
    }

    /// Whether `next` may be stored although no reply has said so.
    pub(super) fn is_open(&self) -> bool {
        self.lost.is_some()
    }

    /// Asks the store whether the last call was applied, because it was interrupted or failed.
    pub(super) fn resume(&mut self, cut: R::Error) {
        self.lost.get_or_insert(cut);
        self.lost_replies = 0;
        self.is_reading = true;
    }

    #[cold]
    fn settle(&mut self, reply: Reply<R>) -> Swapped<R> {
        match reply {
            Reply::Conflict => {
                self.is_reading = true;
                Swapped::Not(Step::Wait(self.id))
            }
            Reply::Missing | Reply::Loaded(None) => Swapped::Missing(self.lost.take()),
            Reply::Loaded(Some(latest)) => self.compare(latest),
            Reply::Unknown(error) => self.lose(error),
            // An earlier copy may have been stored even if a later one is refused.
            Reply::Refused(error) => {
                Swapped::Failed(self.lost.clone().unwrap_or(error), self.is_open())
            }
            _ => unreachable!("the reply to another ask"),
        }
    }

    fn lose(&mut self, error: R::Error) -> Swapped<R> {
        if !self.is_reading {
            self.lost.get_or_insert(error.clone());
        }
        self.lost_replies += 1;
        if self.lost_replies > MAX_LOST_REPLIES {
            let error = self.lost.clone().unwrap_or(error);
            return Swapped::Failed(error, self.is_open());
        }
        self.is_reading = true;
        Swapped::Not(Step::Ask)
    }

    fn compare(&mut self, latest: R) -> Swapped<R> {
        if !R::keeps(Policy::WroteBeforeMoved) && latest.is_marker() && !self.next.is_marker() {
            return Swapped::Moved(latest);
        }
        let wrote = latest.wrote(self.next.version());
        if wrote == Wrote::Yes {
            return Swapped::Saved;
        }
        if latest.version() == self.former.version() {
            self.is_reading = false;
            return Swapped::Not(Step::Wait(self.id));
        }
        // A marker is never replaced, so if it is not there it was not stored.
        let is_forgotten = wrote == Wrote::Unknown && !self.next.is_marker();
        match &self.lost {
            Some(lost) if is_forgotten && self.fails_beyond_memory() => {
                Swapped::Failed(lost.clone(), true)
            }
            _ if latest.is_marker() => Swapped::Moved(latest),
            _ => Swapped::Fresher(latest),
        }
    }

    fn fails_beyond_memory(&self) -> bool {
        R::keeps(if self.is_claim {
            Policy::ClaimBeyondMemoryFails
        } else {
            Policy::WriteBeyondMemoryFails
        })
    }
}
