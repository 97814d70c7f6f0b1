//! The stored record, with its activity, as the machines see it.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::Timestamp,
    commit::protocol::rec::Rec,
    error::Error,
    record::{
        Activity, Kept, Record,
        lifetime::MARKER_LIFETIME,
        lineage::{MoveKind, Origin, Successor},
        token::{SessionId, Verifier},
        version::{Version, Wrote},
    },
};

/// What is needed of a record to close its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stub {
    verifier: Verifier,
    version: Version,
    created_at: Timestamp,
}

/// Why a call failed. Two are equal if they are the same failure.
#[derive(Clone, Debug)]
pub struct Cause(pub Error);

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.0.is(&other.0)
    }
}

impl Eq for Cause {}

impl Hash for Cause {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.kind().hash(state);
    }
}

impl Rec for Kept {
    type Error = Cause;
    type Stub = Stub;

    #[inline]
    fn version(&self) -> Version {
        self.0.version()
    }

    fn wrote(&self, version: Version) -> Wrote {
        self.0.wrote(version)
    }

    fn is_marker(&self) -> bool {
        self.0.is_moved()
    }

    fn successor(&self) -> Option<Successor> {
        self.0.leads_to()
    }

    fn origin(&self) -> Option<Origin> {
        self.0.origin()
    }

    fn bar(&self) -> Option<SessionId> {
        self.0.bar()
    }

    fn ranked_at(&self) -> Option<Timestamp> {
        self.0.ranked_at()
    }

    fn has_user_of(&self, other: &Self) -> bool {
        self.0.user().is_some() && self.0.user() == other.0.user()
    }

    fn marker(&self, to: Option<Successor>, writer: u64, now: Timestamp) -> Self {
        let mut marker = self.0.marker(now, None, writer);
        marker.set_extras(|extras| extras.successor = to);
        expiring(marker, now)
    }

    fn barred(&self, id: SessionId, writer: u64) -> Self {
        self.next(writer, |record| {
            record.set_extras(|extras| extras.bar = Some(id));
        })
    }

    fn taking_over(&self, origin: Option<&Self>, writer: u64) -> Self {
        let own = |user: &str| self.0.user() == Some(user);
        let origin = origin.filter(|origin| origin.0.user().is_none_or(own));
        let (record, activity) = self;
        let data = origin
            .map(|origin| origin.0.data().clone())
            .unwrap_or_default();
        let mut next = record.successor(data, writer, Duration::ZERO);
        // A log-in keeps its own timeouts.
        let is_cycle = record
            .origin()
            .is_some_and(|from| from.kind == MoveKind::Cycle);
        if let Some(from) = origin.filter(|_| is_cycle) {
            let from = from.0.extras();
            next.set_extras(|extras| {
                extras.idle = from.idle;
                extras.absolute = from.absolute;
                extras.persistent = from.persistent;
            });
        }
        (Arc::new(next), *activity)
    }

    fn replacing(self, former: &Self, writer: u64) -> Self {
        let (record, activity) = self;
        let record = Arc::unwrap_or_clone(record);
        (Arc::new(record.replacing(&former.0, writer)), activity)
    }

    fn with_origin(self, origin: Option<Origin>) -> Self {
        if self.0.origin() == origin {
            return self;
        }
        let mut record = Arc::unwrap_or_clone(self.0);
        record.set_extras(|extras| extras.origin = origin);
        (Arc::new(record), self.1)
    }

    fn with_rank(self, rank: Option<Timestamp>) -> Self {
        if self.0.ranked_at() == rank {
            return self;
        }
        let mut record = Arc::unwrap_or_clone(self.0);
        record.set_extras(|extras| extras.ranked_at = rank);
        (Arc::new(record), self.1)
    }

    fn admits(&self, entry: &Self, now: Timestamp) -> bool {
        self.0.is_unused(entry.0.verifier(), now)
    }

    fn stub(&self) -> Stub {
        Stub {
            verifier: *self.0.verifier(),
            version: self.0.version(),
            created_at: self.0.created_at(),
        }
    }

    fn closing(stub: &Stub, writer: u64, now: Timestamp) -> Self {
        let record = Record::new(stub.verifier, stub.version, stub.created_at);
        expiring(record.marker(now, None, writer), now)
    }
}

trait Next {
    /// The next version of a record, changed only by `alter`.
    fn next(&self, writer: u64, alter: impl FnOnce(&mut Record)) -> Self;
}

impl Next for Kept {
    fn next(&self, writer: u64, alter: impl FnOnce(&mut Record)) -> Self {
        let (record, activity) = self;
        let mut next = record.successor(record.data().clone(), writer, Duration::ZERO);
        next.set_extras(|extras| extras.origin = record.origin());
        alter(&mut next);
        (Arc::new(next), *activity)
    }
}

fn expiring(marker: Record, now: Timestamp) -> Kept {
    let activity = Activity {
        last_seen_at: now,
        expires_at: Some(now.saturating_add(MARKER_LIFETIME)),
    };
    (Arc::new(marker), activity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::protocol::{Machine, undo::Task};

    #[test]
    fn a_machine_is_small_enough_to_live_on_the_stack_of_every_commit() {
        assert!(
            size_of::<Machine<Kept>>() <= 128,
            "{}",
            size_of::<Machine<Kept>>()
        );
    }

    #[test]
    fn what_waits_to_be_undone_is_small_and_has_no_data() {
        assert!(
            size_of::<Task<Kept>>() <= 150,
            "{}",
            size_of::<Task<Kept>>()
        );
    }
}
