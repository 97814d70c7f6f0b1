//! Sessions that a store removes by itself: [`Removal`], and the [`RemovalSink`] that receives them.

use std::{fmt, sync::Arc};

use crate::record::{Activity, Record, token::SessionId};

/// A session that a store has removed by itself.
///
/// ```
/// use cloakroom::{SessionId, store::{Removal, RemovalReason, RemovalSink}};
///
/// fn evicted(sink: &RemovalSink, id: SessionId) {
///     sink.report(Removal::new(id, RemovalReason::Evicted, None));
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Removal {
    /// The session's id.
    pub id: SessionId,
    /// Why it was removed.
    pub reason: RemovalReason,
    /// The record, if the store still had it.
    pub record: Option<(Arc<Record>, Activity)>,
}

impl Removal {
    /// The removal of the session `id`. Pass the record if the store still has it.
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
///
/// ```
/// use cloakroom::{SessionId, store::{Removal, RemovalReason, RemovalSink}};
///
/// fn expired(sink: &RemovalSink, ids: &[SessionId]) {
///     for id in ids {
///         sink.report(Removal::new(*id, RemovalReason::Expired, None));
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Its deadline had passed.
    Expired,
    /// Another session needed the room.
    Evicted,
}

/// Receives the sessions that a store removes by itself.
///
/// A store reports a removal after it has happened, and must not hold a lock during the report.
///
/// ```
/// use std::sync::Mutex;
/// use cloakroom::{SessionId, store::{Removal, RemovalReason, RemovalSink}};
///
/// /// A store keeps the sinks of `report_removals`.
/// #[derive(Default)]
/// struct Sinks(Mutex<Vec<RemovalSink>>);
///
/// impl Sinks {
///     fn expired(&self, id: SessionId) {
///         let sinks = self.0.lock().unwrap().clone();
///         for sink in sinks {
///             sink.report(Removal::new(id, RemovalReason::Expired, None));
///         }
///     }
/// }
/// # Sinks::default().expired("67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap());
/// ```
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
