//! The layer's store with its calls timed: [`TimedStore`].

use std::sync::Arc;

// Without a runtime this is the standard library's; in tests it can be paused.
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    observe::observers::Observers,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{
        Created, DynStore, Former, MemoryInner, Position, Query, Reaped, SessionStore, StoreCall,
        StorePage, Touched, Updated,
    },
};

/// Passes each call on to the store. Counts and times it if anybody observes.
#[derive(Clone)]
pub(crate) struct TimedStore {
    pub(crate) store: DynStore,
    pub(crate) observers: Arc<Observers>,
}

impl TimedStore {
    fn started(&self, call: StoreCall) -> Started<'_> {
        Started {
            observers: &self.observers,
            call,
            at: self.observers.is_active().then(Instant::now),
        }
    }

    pub(crate) fn answers_at_once(&self) -> bool {
        self.store.in_memory().is_some()
    }

    /// The reply of a store in memory. `None` for any other store.
    pub(crate) fn at_once<T>(
        &self,
        call: StoreCall,
        ask: impl FnOnce(&MemoryInner) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        let inner = self.store.in_memory()?;
        let started = self.started(call);
        let reply = ask(inner);
        started.answered(reply.as_ref().err());
        Some(reply)
    }

    pub(crate) async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let started = self.started(StoreCall::Create);
        let reply = self.store.create(id, record, activity).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let started = self.started(StoreCall::Load);
        let reply = self.store.load(id).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let started = self.started(StoreCall::LoadLatest);
        let reply = self.store.load_latest(id).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let started = self.started(StoreCall::Update);
        let reply = self.store.update(id, record, activity, former).await;
        if started.answered(reply.as_ref().err()) && matches!(reply, Ok(Updated::Conflict)) {
            self.observers.counters.conflict();
        }
        reply
    }

    pub(crate) async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let started = self.started(StoreCall::Touch);
        let reply = self.store.touch(id, expected, activity).await;
        if started.answered(reply.as_ref().err()) && matches!(reply, Ok(Touched::Yes)) {
            self.observers.counters.touch();
        }
        reply
    }

    pub(crate) async fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Reaped, StoreError> {
        let started = self.started(StoreCall::DeleteExpired);
        let reply = self.store.delete_expired(before, limit).await;
        if started.answered(reply.as_ref().err())
            && let Some((_, bytes)) = self.store.held_in_memory()
        {
            self.observers.counters.memory(bytes);
        }
        reply
    }

    pub(crate) async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let started = self.started(StoreCall::List);
        let reply = self.store.list(query, after, limit).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let started = self.started(StoreCall::Count);
        let reply = self.store.count(query).await;
        started.answered(reply.as_ref().err());
        reply
    }
}

/// A call that is under way.
struct Started<'a> {
    observers: &'a Observers,
    call: StoreCall,
    /// `None` if nobody observes, and once the call is counted.
    at: Option<Instant>,
}

impl Started<'_> {
    /// Counts the call. Returns whether anybody observes.
    fn answered(mut self, failure: Option<&StoreError>) -> bool {
        let at = self.at.take();
        if let Some(at) = at {
            let counters = &self.observers.counters;
            counters.called(self.call, at.elapsed(), failure);
        }
        at.is_some()
    }
}

/// A call that is dropped before its reply counts as abandoned.
impl Drop for Started<'_> {
    fn drop(&mut self) {
        if self.at.is_some() {
            self.observers.counters.abandoned(self.call);
        }
    }
}
