//! A store that fails on demand: [`FaultyStore`].

use std::{fmt, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::fault::{Fault, Occurrence};
use crate::{
    clock::Timestamp,
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Kept, Record, token::SessionId},
    store::{
        Created, Former, MemoryStore, Position, Query, Reaped, RemovalSink, SessionStore,
        StoreCall, StorePage, Touched, Updated,
    },
};

/// A store around another one that records its calls, and fails, hangs, delays
/// or loses replies on demand. Every clone is the same store.
///
/// Delays use tokio's clock, so a test can pause it. A call that is applied
/// late runs in a task of the tokio runtime.
///
/// ```
/// use cloakroom::{SessionLayer, StoreCall, store::StoreErrorKind, testing::{Fault, FaultyStore}};
///
/// let store = FaultyStore::in_memory();
/// let layer = SessionLayer::new(store.clone());
/// store.plan_for(StoreCall::Create, Fault::Refuse(StoreErrorKind::Unavailable));
/// // Now a request that begins a session gets a 503.
/// store.heal();
/// assert_eq!(store.calls(), []);
/// ```
pub struct FaultyStore<S = MemoryStore>(Arc<Shared<S>>);

struct Shared<S> {
    inner: S,
    // Neither is held across an await.
    calls: Mutex<Vec<StoreCall>>,
    plan: Mutex<Plan>,
}

struct Plan {
    choose: Box<dyn FnMut(Occurrence) -> Fault + Send>,
    /// How often each method was called since the plan was made.
    numbers: [usize; StoreCall::ALL.len()],
}

impl Plan {
    fn new(choose: impl FnMut(Occurrence) -> Fault + Send + 'static) -> Self {
        Self {
            choose: Box::new(choose),
            numbers: [0; StoreCall::ALL.len()],
        }
    }

    fn fault(&mut self, call: StoreCall, id: Option<SessionId>) -> Fault {
        let number = &mut self.numbers[call as usize];
        *number += 1;
        let number = *number;
        (self.choose)(Occurrence { call, id, number })
    }
}

impl FaultyStore {
    /// Returns a store around a [`MemoryStore`] of the default size.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(MemoryStore::default())
    }
}

impl<S> FaultyStore<S> {
    /// Returns a store around `inner`, without a planned fault.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self(Arc::new(Shared {
            inner,
            calls: Mutex::default(),
            plan: Mutex::new(Plan::new(|_| Fault::None)),
        }))
    }

    /// The inner store. Calls to it are not recorded and do not fail.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.0.inner
    }

    /// From now on, `plan` chooses the fault of each call by its method.
    pub fn plan(&self, mut plan: impl FnMut(StoreCall) -> Fault + Send + 'static) {
        self.plan_each(move |occurrence| plan(occurrence.call));
    }

    /// From now on, `plan` chooses the fault of each call by its method, its
    /// session and its number.
    pub fn plan_each(&self, plan: impl FnMut(Occurrence) -> Fault + Send + 'static) {
        *self.0.plan.lock() = Plan::new(plan);
    }

    /// From now on, every call of this method has the fault. Other calls have none.
    pub fn plan_for(&self, call: StoreCall, fault: Fault) {
        self.plan(move |made| if made == call { fault } else { Fault::None });
    }

    /// From now on, only the call of this method with this number has the fault.
    /// The next call has number 1.
    pub fn plan_nth(&self, call: StoreCall, number: usize, fault: Fault) {
        self.plan_each(move |made| {
            if (made.call, made.number) == (call, number) {
                fault
            } else {
                Fault::None
            }
        });
    }

    /// From now on, every call about this session has the fault. Other calls have none.
    pub fn plan_session(&self, id: SessionId, fault: Fault) {
        self.plan_each(move |made| {
            if made.id == Some(id) {
                fault
            } else {
                Fault::None
            }
        });
    }

    /// From now on, no call has a fault.
    pub fn heal(&self) {
        self.plan(|_| Fault::None);
    }

    /// The calls since the last call of this method, including failed ones.
    #[allow(clippy::must_use_candidate)] // Some ask only to have them forgotten.
    pub fn calls(&self) -> Vec<StoreCall> {
        mem::take(&mut *self.0.calls.lock())
    }

    /// Makes a call of the store within, with the fault that is planned for it.
    async fn with_fault<T, F>(
        &self,
        call: StoreCall,
        id: Option<SessionId>,
        act: impl Fn(Self) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
        S: Send + Sync + 'static,
    {
        self.0.calls.lock().push(call);
        let fault = self.0.plan.lock().fault(call, id);
        let act = || act(self.clone());
        match fault {
            Fault::None => act().await,
            Fault::Refuse(kind) => Err(planned(kind).not_applied()),
            Fault::Fail(kind) => Err(planned(kind)),
            Fault::LoseReply(kind) => {
                act().await?;
                Err(planned(kind).in_doubt())
            }
            Fault::HideRetry => {
                act().await?;
                act().await
            }
            Fault::RefuseFalsely(kind) => {
                act().await?;
                Err(planned(kind).not_applied())
            }
            Fault::FailThenApply(kind, duration) => {
                apply_after(duration, act());
                Err(planned(kind).in_doubt())
            }
            Fault::Hang => std::future::pending().await,
            Fault::HangThenApply(duration) => {
                apply_after(duration, act());
                std::future::pending().await
            }
            Fault::Delay(duration) => {
                tokio::time::sleep(duration).await;
                act().await
            }
            Fault::DelayReply(duration) => {
                let reply = act().await;
                tokio::time::sleep(duration).await;
                reply
            }
            Fault::Panic => panic!("as planned"),
            Fault::Yield => {
                tokio::task::yield_now().await;
                let reply = act().await;
                tokio::task::yield_now().await;
                reply
            }
        }
    }
}

fn planned(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "as planned")
}

/// Nobody waits for the reply.
fn apply_after(duration: Duration, act: impl Future<Output: Send> + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(duration).await;
        act.await
    });
}

impl<S> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("calls", &*self.0.calls.lock())
            .finish_non_exhaustive()
    }
}

// Each call owns its arguments, because it may be applied after the caller is gone.
impl<S: SessionStore> SessionStore for FaultyStore<S> {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let record = Arc::clone(record);
        self.with_fault(StoreCall::Create, Some(id), move |store| {
            let record = Arc::clone(&record);
            async move { store.inner().create(id, &record, activity).await }
        })
        .await
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        self.with_fault(StoreCall::Load, Some(id), move |store| async move {
            store.inner().load(id).await
        })
        .await
    }

    async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        self.with_fault(StoreCall::LoadLatest, Some(id), move |store| async move {
            store.inner().load_latest(id).await
        })
        .await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let (record, replaced) = (Arc::clone(record), Arc::clone(former.record()));
        let since = former.activity();
        self.with_fault(StoreCall::Update, Some(id), move |store| {
            let (record, replaced) = (Arc::clone(&record), Arc::clone(&replaced));
            async move {
                let former = Former::new(&replaced, since);
                store.inner().update(id, &record, activity, former).await
            }
        })
        .await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let (replaced, since) = (Arc::clone(former.record()), former.activity());
        self.with_fault(StoreCall::Touch, Some(id), move |store| {
            let replaced = Arc::clone(&replaced);
            async move {
                let former = Former::new(&replaced, since);
                store.inner().touch(id, former, activity).await
            }
        })
        .await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.with_fault(StoreCall::Delete, Some(id), move |store| async move {
            store.inner().delete(id).await
        })
        .await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.with_fault(StoreCall::DeleteExpired, None, move |store| async move {
            store.inner().delete_expired(before, limit).await
        })
        .await
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let (query, after) = (query.clone(), after.cloned());
        self.with_fault(StoreCall::List, None, move |store| {
            let (query, after) = (query.clone(), after.clone());
            async move { store.inner().list(&query, after.as_ref(), limit).await }
        })
        .await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let query = query.clone();
        self.with_fault(StoreCall::Count, None, move |store| {
            let query = query.clone();
            async move { store.inner().count(&query).await }
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with_fault(StoreCall::Ping, None, move |store| async move {
            store.inner().ping().await
        })
        .await
    }

    fn is_cached(&self) -> bool {
        self.inner().is_cached()
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.inner().report_removals(sink);
    }
}
