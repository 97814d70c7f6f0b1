//! The default store: [`MemoryStore`], bounded, reaped, least recently used first.
//!
//! A table in shards, each behind its own lock. Reading takes that lock
//! shared and stores one atomic stamp; nothing is relinked. What must leave is
//! found by two lazy heaps, one in the order of last use, one in the order of
//! deadlines.

mod budget;
mod heap;
mod inner;
mod listing;
mod snapshot;
mod stamp;
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
    record::{Activity, Kept, Record, token::SessionId, version::Version},
};

/// Sessions in this process's memory: bounded in bytes, least recently used
/// out first, reaped, and fit for production on one machine.
///
/// Cheap to clone; every clone is the same store. The default holds 256 MiB.
///
/// # What leaves when it is full
///
/// First the sessions that were never seen again since they were created,
/// then those that were, last those with a user; among equals the least
/// recently used of its shard. Bounds that allow fewer than some four
/// thousand sessions give one shard, and so an exact order over all.
///
/// A flood of new sessions therefore evicts its own kind first. It is not
/// flood-proof: a patient attacker who presents each of his cookies a second
/// time competes with your anonymous visitors on equal terms, though never
/// with users who have logged in. Limit rates in front of it where that matters.
/// With [`WhenFull::Refuse`] nobody leaves for a newcomer, who gets a 503 instead.
///
/// # When the process ends
///
/// Its sessions end with it, unless they are [saved](Self::save_to) to a file
/// and [restored](Self::restore_from) from it; `examples/restart.rs` does so.
///
/// # What it costs
///
/// Each session is counted with its data and the true overhead of its
/// allocations and its place in the table, at their worst: [`bytes`](Self::bytes)
/// is what the allocator gave out, or a little more.
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
    /// Sets the bounds.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::default()
    }

    /// The store beneath the trait, for calls that need no future.
    pub(super) fn inner(&self) -> &MemoryInner {
        &self.0
    }

    /// How many sessions are held, expired ones that are not reaped yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no session is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Without the markers of those that go on under another id.
    pub(crate) fn sessions(&self) -> usize {
        self.len().saturating_sub(self.0.markers())
    }

    /// How many bytes the sessions are counted with, and the tables they are
    /// in: those take some 2 KiB for every four thousand sessions that there
    /// is room for, and an empty store counts them already.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
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

// Nothing here ever waits, so the answers are there before anybody polls.
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
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        Ok(self.0.touch(id, expected, activity))
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.0.delete(id))
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        Ok(self.0.delete_expired(before, limit))
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        self.0.list(query, after, limit)
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        Ok(self.0.count(query.unordered()) as u64)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.0.report_removals(sink);
    }
}

/// What a [`MemoryStore`] does with a session that there is no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// Another one leaves: see [what leaves when it is full](MemoryStore#what-leaves-when-it-is-full).
    #[default]
    Evict,
    /// Whatever has expired leaves; where that is nothing, the newcomer is
    /// refused with an error of the kind [`Full`](StoreErrorKind::Full), and
    /// nobody else loses anything. The layer answers 503 with `Retry-After`.
    ///
    /// That holds for a session that is created, which log-in and
    /// [`cycle_id`](crate::Session::cycle_id) do too, and for one that grows.
    Refuse,
}

/// The bounds of a [`MemoryStore`].
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
    pub fn max_sessions(mut self, max_sessions: usize) -> Self {
        self.max_sessions = max_sessions.max(1);
        self
    }

    /// At most this many bytes, overhead included. Default: 256 MiB. A single
    /// session that is larger is an error of its request.
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// What happens to a session that does not fit. Default: [`WhenFull::Evict`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let inner = MemoryInner::new(self.max_sessions, self.max_bytes, self.when_full);
        MemoryStore(Arc::new(inner))
    }
}
