//! What a store ends by itself: [`Ending`], and the [`EndedSink`] that is told.

use std::{fmt, sync::Arc};

use crate::record::{Activity, Record, token::SessionId};

/// A session that a store ended by itself.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Which session.
    pub id: SessionId,
    /// Why.
    pub reason: EndingReason,
    /// What it was, where the store still had it.
    pub record: Option<(Arc<Record>, Activity)>,
}

/// Why a store ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndingReason {
    /// Its deadline had passed.
    Expired,
    /// Another needed the room.
    Evicted,
}

/// Where a store reports the sessions it ends by itself.
///
/// A store calls it after the ending, with none of its locks held.
#[derive(Clone)]
pub struct EndedSink(Arc<dyn Fn(Ending) + Send + Sync>);

impl EndedSink {
    /// A sink that calls `report`.
    pub fn new(report: impl Fn(Ending) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// Tells the sink of an ending.
    pub fn report(&self, ending: Ending) {
        (self.0)(ending);
    }
}

impl fmt::Debug for EndedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedSink").finish_non_exhaustive()
    }
}
