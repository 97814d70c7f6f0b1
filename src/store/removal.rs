//! Sessions that a store removes by itself: [`Removal`], and the [`RemovalSink`] that is told.

use std::{fmt, sync::Arc};

use crate::record::{Activity, Record, token::SessionId};

/// A session that a store has removed by itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Removal {
    /// The session's id.
    pub id: SessionId,
    /// Why it was removed.
    pub reason: RemovalReason,
    /// What was stored, if the store still had it.
    pub record: Option<(Arc<Record>, Activity)>,
}

impl Removal {
    /// The store has removed the session `id`; `record` is what it had stored, where it knows that.
    #[must_use]
    pub fn new(
        id: SessionId,
        reason: RemovalReason,
        record: Option<(Arc<Record>, Activity)>,
    ) -> Self {
        Self { id, reason, record }
    }
}

/// Why a store has removed a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Its deadline had passed.
    Expired,
    /// Another session needed the room.
    Evicted,
}

/// Where a store reports the sessions that it removes by itself.
///
/// A store reports a removal after it has happened, and holds none of its
/// locks meanwhile.
#[derive(Clone)]
pub struct RemovalSink(Arc<dyn Fn(Removal) + Send + Sync>);

impl RemovalSink {
    /// A sink that calls `report` for each removal.
    pub fn new(report: impl Fn(Removal) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// Reports one removal.
    pub fn report(&self, removal: Removal) {
        (self.0)(removal);
    }
}

impl fmt::Debug for RemovalSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemovalSink").finish_non_exhaustive()
    }
}
