use std::{sync::Arc, time::Duration};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, StoreError, Timestamp, Version,
    store::{Created, EndedSink, Reaped, StoreErrorKind, Touched, Updated},
};
use parking_lot::Mutex;

/// A call of the store contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Load,
    LoadLatest,
    Update,
    Touch,
    Delete,
    DeleteExpired,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing happens but this error.
    Fail(StoreErrorKind),
    /// It happens, and the reply is this error.
    LoseReply(StoreErrorKind),
    /// Nothing happens, and no reply ever comes.
    Hang,
    /// It happens this much later.
    Delay(Duration),
    /// It happens, and the reply comes this much later.
    DelayReply(Duration),
    Panic,
    /// Lets others run before and after.
    Yield,
}

type Plan = Box<dyn FnMut(Call) -> Fault + Send>;

/// A memory store that writes down its calls and fails on demand. Every clone is the same store.
#[derive(Clone)]
pub(crate) struct TestStore {
    pub(crate) inner: MemoryStore,
    calls: Arc<Mutex<Vec<Call>>>,
    plan: Arc<Mutex<Plan>>,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        Self {
            inner: MemoryStore::default(),
            calls: Arc::default(),
            plan: Arc::new(Mutex::new(Box::new(|_| Fault::None))),
        }
    }

    /// From now on each call suffers what `plan` says.
    pub(crate) fn plan(&self, plan: impl FnMut(Call) -> Fault + Send + 'static) {
        *self.plan.lock() = Box::new(plan);
    }

    /// From now on every call of this kind suffers `fault`.
    pub(crate) fn plan_for(&self, call: Call, fault: Fault) {
        self.plan(move |made| if made == call { fault } else { Fault::None });
    }

    pub(crate) fn heal(&self) {
        self.plan(|_| Fault::None);
    }

    /// The calls since this was last asked.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock())
    }

    async fn suffer<T>(
        &self,
        call: Call,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.calls.lock().push(call);
        let fault = (self.plan.lock())(call);
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

impl SessionStore for TestStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.suffer(Call::Create, self.inner.create(id, record, activity))
            .await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.suffer(Call::Load, self.inner.load(id)).await
    }

    async fn load_latest(
        &self,
        id: SessionId,
    ) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.suffer(Call::LoadLatest, self.inner.load_latest(id))
            .await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        self.suffer(
            Call::Update,
            self.inner.update(id, record, activity, expected),
        )
        .await
    }

    async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.suffer(Call::Touch, self.inner.touch(id, expected, activity))
            .await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.suffer(Call::Delete, self.inner.delete(id)).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.suffer(
            Call::DeleteExpired,
            self.inner.delete_expired(before, limit),
        )
        .await
    }

    fn report_endings(&self, sink: EndedSink) {
        self.inner.report_endings(sink);
    }
}
