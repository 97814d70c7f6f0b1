//! A store that fails on demand: [`FaultyStore`].

use std::{fmt, mem, sync::Arc};

use parking_lot::Mutex;

use super::{Call, Fault};
use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{
        Created, EndedSink, Filter, MemoryStore, Page, Reaped, SessionStore, Touched, Updated,
    },
};

type Plan = Box<dyn FnMut(Call) -> Fault + Send>;

/// A store around another that writes down its calls, and fails, hangs, delays
/// or loses replies on demand. Every clone is the same store.
///
/// Delays go by tokio's clock, so they can be paused.
///
/// ```
/// use cloakroom::{SessionLayer, store::StoreErrorKind, testing::{Call, Fault, FaultyStore}};
///
/// let store = FaultyStore::in_memory();
/// let layer = SessionLayer::new(store.clone());
/// store.plan_for(Call::Create, Fault::Fail(StoreErrorKind::Unavailable));
/// // A request that begins a session is answered with 503 now …
/// store.heal();
/// assert_eq!(store.calls(), []);
/// ```
pub struct FaultyStore<S = MemoryStore>(Arc<Shared<S>>);

struct Shared<S> {
    inner: S,
    // Neither is held across an await.
    calls: Mutex<Vec<Call>>,
    plan: Mutex<Plan>,
}

impl FaultyStore {
    /// Around a [`MemoryStore`] of the default size.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(MemoryStore::default())
    }
}

impl<S> FaultyStore<S> {
    /// Around `inner`, with no fault planned.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self(Arc::new(Shared {
            inner,
            calls: Mutex::default(),
            plan: Mutex::new(Box::new(|_| Fault::None)),
        }))
    }

    /// The store within, on which no call is written down and none fails.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.0.inner
    }

    /// From now on each call suffers what `plan` says.
    pub fn plan(&self, plan: impl FnMut(Call) -> Fault + Send + 'static) {
        *self.0.plan.lock() = Box::new(plan);
    }

    /// From now on every call of this kind suffers `fault`, and no other call any.
    pub fn plan_for(&self, call: Call, fault: Fault) {
        self.plan(move |made| if made == call { fault } else { Fault::None });
    }

    /// From now on no call suffers a fault.
    pub fn heal(&self) {
        self.plan(|_| Fault::None);
    }

    /// The calls since this was last asked, those that failed included.
    #[allow(clippy::must_use_candidate)] // Some ask only to have them forgotten.
    pub fn calls(&self) -> Vec<Call> {
        mem::take(&mut *self.0.calls.lock())
    }

    async fn suffer<T>(
        &self,
        call: Call,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.0.calls.lock().push(call);
        let fault = (self.0.plan.lock())(call);
        let error = |kind| StoreError::new(kind, "as planned");
        match fault {
            Fault::None => act.await,
            Fault::Fail(kind) => Err(error(kind)),
            Fault::LoseReply(kind) => {
                act.await?;
                Err(error(kind))
            }
            Fault::Hang => std::future::pending().await,
            Fault::Delay(duration) => {
                tokio::time::sleep(duration).await;
                act.await
            }
            Fault::DelayReply(duration) => {
                let reply = act.await;
                tokio::time::sleep(duration).await;
                reply
            }
            Fault::Panic => panic!("as planned"),
            Fault::Yield => {
                tokio::task::yield_now().await;
                let reply = act.await;
                tokio::task::yield_now().await;
                reply
            }
        }
    }
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

impl<S: SessionStore> SessionStore for FaultyStore<S> {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let act = self.inner().create(id, record, activity);
        self.suffer(Call::Create, act).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        self.suffer(Call::Load, self.inner().load(id)).await
    }

    async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let act = self.inner().load_latest(id);
        self.suffer(Call::LoadLatest, act).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let act = self.inner().update(id, record, activity, expected);
        self.suffer(Call::Update, act).await
    }

    async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let act = self.inner().touch(id, expected, activity);
        self.suffer(Call::Touch, act).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.suffer(Call::Delete, self.inner().delete(id)).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        let act = self.inner().delete_expired(before, limit);
        self.suffer(Call::DeleteExpired, act).await
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let act = self.inner().list(filter, after, limit);
        self.suffer(Call::List, act).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.suffer(Call::Count, self.inner().count()).await
    }

    fn report_endings(&self, sink: EndedSink) {
        self.inner().report_endings(sink);
    }
}
