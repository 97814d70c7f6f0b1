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
    record::{Activity, Kept, Record, token::SessionId, version::Version},
};

/// A [`MemoryStore`] in front of another store: most loads are answered from
/// memory, and the back holds the truth.
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
/// # What staleness means
///
/// A load is answered from memory where the copy is not older than
/// [`max_staleness`](Self::max_staleness). What this process wrote itself it
/// reads back at once. What another process wrote, it may not see for that long: where
/// a visitor's requests go to any of many nodes, one that follows a write by less
/// may find the value from before it, or a session that was just destroyed. So
/// either let a visitor's requests go to one node (affinity), or choose a
/// staleness that nobody minds, or zero: then every load asks the back.
///
/// Nothing is lost by it, whatever the staleness: a change is always made to
/// what the back has, a stale copy that was changed is a conflict and merges (rules M1 to
/// M3), and before a token is rejected, or a session judged expired, the back
/// is asked: a copy may only say yes.
///
/// # What is asked when
///
/// Of any number of loads of one session at the same time one asks the back,
/// and all have its answer: a record, nothing, or the failure. Where that one is dropped,
/// another asks. Writes go to the back first, then to the front, where
/// an older record never covers a newer one, and a load that began before a
/// write or a delete does not put back what was there before it. A write whose outcome is
/// unknown, because it failed or was dropped, takes the copy out.
///
/// Lists, counts and the reports of endings are the back's. What the front evicts costs the
/// next load, and what fails in it fails no request. It should serve
/// nothing else; beside its own bound, some 100 bytes are needed for each copy.
#[derive(Clone)]
pub struct TieredStore<B> {
    copies: Arc<Copies>,
    back: B,
    max_staleness: Duration,
}

impl<B: SessionStore> TieredStore<B> {
    /// `front` in front of `back`.
    #[must_use]
    pub fn new(front: MemoryStore, back: B) -> Self {
        Self {
            copies: Arc::new(Copies::new(front)),
            back,
            max_staleness: Duration::from_secs(1),
        }
    }

    /// How old a copy may be that answers a load. Default: 1 second. Zero: the
    /// back is always asked.
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
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let write = self.copies.write(id);
        let touched = self.back.touch(id, expected, activity).await?;
        if touched == Touched::Yes {
            write.touched(expected, activity);
        }
        Ok(touched)
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        // Its end takes the copy out.
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
