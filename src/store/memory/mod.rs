//! The default store: [`MemoryStore`]. It is bounded, and evicts the least recently used sessions.
//!
//! The table is divided into shards, each with its own lock. A read takes that lock shared and stores one
//! atomic stamp. Two lazy heaps for each shard find what to remove: one ordered by last use, for eviction, and
//! one ordered by deadline, for reaping.

mod budget;
mod eviction;
mod heap;
mod inner;
mod listing;
mod markers;
mod snapshot;
mod sweep;
mod sync;
mod table;
mod users;

use std::{fmt, sync::Arc};

pub(crate) use self::inner::MemoryInner;
pub use self::snapshot::{Flaw, FlawKind, Restored, Snapshot};
use super::{
    Created, Former, Position, Query, Reaped, RemovalSink, SessionStore, StoreError, StorePage,
    Touched, Updated,
};
use crate::{
    clock::Timestamp,
    record::{Activity, Kept, Record, token::SessionId},
};

/// Sessions in the memory of this process. This is the default store. It is made for production on one machine.
///
/// It is bounded in bytes and evicts the least recently used sessions when it
/// is full. The default bound is 256 MiB. A clone is cheap, and is the same store.
///
/// # Eviction
///
/// When the store is full, it evicts sessions in this order:
///
/// 1. sessions that were not used again after they were created,
/// 2. other sessions without a user,
/// 3. sessions with a user.
///
/// Within each group it evicts the least recently used session of one shard. A
/// store with room for fewer than about four thousand sessions has one shard, so
/// the order is exact.
///
/// A session that ended or moved leaves a marker for a minute, so that requests with its old token
/// are recognised. Markers are evicted last during that minute, and like
/// new sessions afterwards. At most an eighth of the room is protected for markers.
///
/// A flood of new sessions therefore evicts new sessions first. An attacker
/// who sends each of their cookies a second time can evict sessions of anonymous
/// visitors, but not of users. To prevent that, limit the rate of requests. With
/// [`WhenFull::Refuse`] no session is evicted, and a request that would begin a
/// session gets a 503.
///
/// # When the process ends
///
/// The sessions are lost, unless they are [saved](Self::save_to) to a file and
/// [restored](Self::restore_from) from it. `examples/restart.rs` does both.
///
/// # Memory
///
/// The bound covers each session's data, the overhead of its allocations and
/// its place in the table. [`bytes`](Self::bytes) is equal to the allocated memory,
/// or slightly more.
///
/// ```
/// use cloakroom::{SessionLayer, store::MemoryStore};
///
/// let store = MemoryStore::builder().max_sessions(100_000).build();
/// let layer = SessionLayer::new(store.clone());
/// assert_eq!(store.len(), 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<MemoryInner>);

impl MemoryStore {
    /// Returns a builder that sets the bounds.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::default()
    }

    /// The store without futures.
    pub(super) fn inner(&self) -> &MemoryInner {
        &self.0
    }

    /// How many sessions are stored. Expired sessions count until they are deleted. The markers of
    /// sessions that ended or moved do not count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len().saturating_sub(self.0.markers())
    }

    /// Whether no session is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the sessions and their tables take.
    ///
    /// The tables take about 2.5 KiB for every four thousand sessions that the
    /// store has room for, even if it is empty.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The bound of [`bytes`](Self::bytes), see [`MemoryStoreBuilder::max_bytes`].
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.0.max_bytes()
    }

    /// The bound that [`MemoryStoreBuilder::max_sessions`] has set. `None` if only the bytes are bounded.
    #[must_use]
    pub fn max_sessions(&self) -> Option<usize> {
        self.0.max_sessions()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("sessions", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

// Nothing here ever waits.
impl SessionStore for MemoryStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.0.create(id, record, activity)
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        Ok(self.0.load(id))
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        self.0.update(id, record, activity, former.version())
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        Ok(self.0.touch(id, former.version(), activity))
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.0.delete(id))
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        Ok(self.0.reap(before, limit).await)
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        self.0.list(query, after, limit).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        Ok(self.0.count(query).await)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.0.report_removals(sink);
    }
}

/// What a [`MemoryStore`] does when it is full.
///
/// ```
/// use cloakroom::store::{MemoryStore, WhenFull};
///
/// // Logged-in users keep their sessions, and newcomers get a 503 while the store is full.
/// let store = MemoryStore::builder().when_full(WhenFull::Refuse).build();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// It evicts other sessions: see [eviction](MemoryStore#eviction).
    #[default]
    Evict,
    /// It deletes expired sessions, and markers of sessions that ended more than a minute ago. If there
    /// are none, the call fails with the kind [`Full`](super::StoreErrorKind::Full), and no other session
    /// is affected. The layer answers 503 with `Retry-After`.
    ///
    /// This applies to every new session, including those of a log-in or a
    /// [`cycle_id`](crate::Session::cycle_id), and to every session that grows.
    Refuse,
}

/// A builder of a [`MemoryStore`], which sets its bounds. [`MemoryStore::builder`] returns it.
///
/// ```
/// use cloakroom::{MemoryStore, SessionLayer};
///
/// let store = MemoryStore::builder().max_bytes(64 * 1024 * 1024).max_sessions(100_000).build();
/// let layer = SessionLayer::new(store);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct MemoryStoreBuilder {
    max_sessions: usize,
    max_bytes: usize,
    when_full: WhenFull,
}

impl Default for MemoryStoreBuilder {
    fn default() -> Self {
        Self {
            max_sessions: usize::MAX,
            max_bytes: 256 * 1024 * 1024,
            when_full: WhenFull::Evict,
        }
    }
}

impl MemoryStoreBuilder {
    /// At most this many sessions, at least one. Default: as many as the bytes allow.
    ///
    /// Unlike in [`len`](MemoryStore::len), the markers of sessions that ended or moved count too. They are
    /// deleted after some minutes. If the store is full, a marker may be evicted after its first minute, or
    /// at once if markers take more than an eighth of the room.
    pub fn max_sessions(mut self, max_sessions: usize) -> Self {
        self.max_sessions = max_sessions.max(1);
        self
    }

    /// At most this many bytes, overhead included. Default: 256 MiB.
    ///
    /// A single session that is larger than this cannot be stored: the request gets an error.
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// What happens when the store is full. Default: [`WhenFull::Evict`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Builds the store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let inner = MemoryInner::new(self.max_sessions, self.max_bytes, self.when_full);
        MemoryStore(Arc::new(inner))
    }
}
