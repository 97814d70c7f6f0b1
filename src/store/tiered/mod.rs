//! Memory in front of a store that many processes share: [`TieredStore`].

mod copies;
mod flight;

use std::{fmt, sync::Arc, time::Duration};

use self::copies::{Copies, Found};
use super::{
    Created, Former, MemoryStore, Position, Query, Reaped, RemovalSink, SessionStore, StoreError,
    StorePage, Touched, Updated,
};
use crate::{
    clock::Timestamp,
    record::{Activity, Kept, Record, token::SessionId},
};

/// A [`MemoryStore`] in front of another store, the backend: it answers most
/// loads from memory.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{SessionLayer, SessionStore, store::{MemoryStore, TieredStore}};
///
/// fn layer(database: impl SessionStore) -> SessionLayer {
///     let front = MemoryStore::builder().max_bytes(64 * 1024 * 1024).build();
///     SessionLayer::new(TieredStore::new(front, database).max_staleness(Duration::from_secs(5)))
/// }
/// # layer(MemoryStore::default());
/// ```
///
/// # Staleness
///
/// Memory answers a load if the copy is not older than
/// [`max_staleness`](Self::max_staleness). A process sees its own writes at
/// once. It may see the writes of another process up to `max_staleness` later. If a
/// visitor's requests reach several nodes, a request soon after a write may
/// find the former value, or a session that was just destroyed.
///
/// Route each visitor to one node, or choose a staleness that does no harm. With
/// a staleness of zero every load asks the backend.
///
/// Stale copies lose no data: every change is applied to the backend's record. A
/// change to a stale copy is a conflict, and is merged. Before the crate rejects a
/// token, or judges that a session has expired, it asks the backend.
///
/// # Calls to the backend
///
/// Concurrent loads of one session ask the backend once, and all get its
/// answer: a record, nothing, or the failure. If the request that asks is
/// dropped, another one asks.
///
/// A write goes to the backend first, then to memory. An older record never
/// replaces a newer copy. A load that began before a write does not restore the
/// former record. If a write fails or is dropped, the copy is removed.
///
/// Lists, counts, pings and reports of removals come from the backend. If memory
/// evicts a session, its next load asks the backend. A failure in memory does not
/// fail a request. Do not use the `MemoryStore` for anything else. Each copy takes
/// about 100 bytes beyond the store's own bound.
#[derive(Clone)]
pub struct TieredStore<B> {
    copies: Arc<Copies>,
    back: B,
    max_staleness: Duration,
}

impl<B: SessionStore> TieredStore<B> {
    /// Puts the memory store `front` in front of the backend `back`.
    #[must_use]
    pub fn new(front: MemoryStore, back: B) -> Self {
        Self {
            copies: Arc::new(Copies::new(front)),
            back,
            max_staleness: Duration::from_secs(1),
        }
    }

    /// How old a copy may be to answer a load. Default: 1 second. With zero, every load asks
    /// the backend.
    #[must_use]
    pub fn max_staleness(mut self, max_staleness: Duration) -> Self {
        self.max_staleness = max_staleness;
        self
    }
}

impl<B> fmt::Debug for TieredStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredStore")
            .field("max_staleness", &self.max_staleness)
            .finish_non_exhaustive()
    }
}

impl<B: SessionStore> SessionStore for TieredStore<B> {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let write = self.copies.write(id);
        let created = self.back.create(id, record, activity).await?;
        if created == Created::Yes {
            write.saved(record, activity);
        }
        Ok(created)
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        match self.copies.find(id, self.max_staleness) {
            Found::Copy(kept) => Ok(Some(kept)),
            Found::Flight(flight, call) => {
                let ask = async {
                    let answer = self.back.load(id).await;
                    if let Ok(kept) = &answer {
                        call.learned(flight.asked, kept.as_ref());
                    }
                    answer
                };
                flight.land(ask).await
            }
        }
    }

    async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let call = self.copies.call(id);
        let latest = self.back.load_latest(id).await?;
        call.learned(call.asked, latest.as_ref());
        Ok(latest)
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let write = self.copies.write(id);
        let updated = self.back.update(id, record, activity, former).await?;
        if updated == Updated::Saved {
            write.saved(record, activity);
        }
        Ok(updated)
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let write = self.copies.write(id);
        let touched = self.back.touch(id, former, activity).await?;
        if touched == Touched::Yes {
            write.touched(former.version(), activity);
        }
        Ok(touched)
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        // Dropping it removes the copy.
        let _write = self.copies.write(id);
        self.back.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        let reaped = self.back.delete_expired(before, limit).await?;
        self.copies.delete_expired(before, limit);
        Ok(reaped)
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        self.back.list(query, after, limit).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.back.count(query).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.back.ping().await
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.back.report_removals(sink);
    }
}
