//! The layer's store, and how long it takes: [`TimedStore`].

use std::{sync::Arc, time::Instant};

use crate::{
    Activity, Record, SessionId, StoreError, Timestamp, Version,
    population::Population,
    record::Kept,
    stats::StoreCall,
    store::{Created, DynStore, Filter, Page, Reaped, SessionStore, Touched, Updated},
};

/// Passes every call on, and counts it where somebody watches.
#[derive(Clone)]
pub(crate) struct TimedStore {
    pub(crate) store: DynStore,
    pub(crate) population: Arc<Population>,
}

impl TimedStore {
    /// `None` where nobody watches.
    fn started(&self) -> Option<Instant> {
        self.population.is_watched().then(Instant::now)
    }

    fn answered<T>(
        &self,
        call: StoreCall,
        started: Option<Instant>,
        reply: &Result<T, StoreError>,
    ) {
        if let Some(started) = started {
            let tally = &self.population.tally;
            tally.called(call, started.elapsed(), reply.as_ref().err());
        }
    }

    pub(crate) fn answers_at_once(&self) -> bool {
        self.store.answers_at_once()
    }

    pub(crate) async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let started = self.started();
        let reply = self.store.create(id, record, activity).await;
        self.answered(StoreCall::Create, started, &reply);
        reply
    }

    pub(crate) async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let started = self.started();
        let reply = self.store.load(id).await;
        self.answered(StoreCall::Load, started, &reply);
        reply
    }

    pub(crate) async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let started = self.started();
        let reply = self.store.load_latest(id).await;
        self.answered(StoreCall::LoadLatest, started, &reply);
        reply
    }

    pub(crate) async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let started = self.started();
        let reply = self.store.update(id, record, activity, expected).await;
        self.answered(StoreCall::Update, started, &reply);
        if started.is_some() && matches!(reply, Ok(Updated::Conflict)) {
            self.population.tally.conflict();
        }
        reply
    }

    pub(crate) async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let started = self.started();
        let reply = self.store.touch(id, expected, activity).await;
        self.answered(StoreCall::Touch, started, &reply);
        if started.is_some() && matches!(reply, Ok(Touched::Yes)) {
            self.population.tally.touch();
        }
        reply
    }

    pub(crate) async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        let started = self.started();
        let reply = self.store.delete(id).await;
        self.answered(StoreCall::Delete, started, &reply);
        reply
    }

    pub(crate) async fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Reaped, StoreError> {
        let started = self.started();
        let reply = self.store.delete_expired(before, limit).await;
        self.answered(StoreCall::DeleteExpired, started, &reply);
        reply
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let started = self.started();
        let reply = self.store.list(filter, after, limit).await;
        self.answered(StoreCall::List, started, &reply);
        reply
    }

    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        let started = self.started();
        let reply = self.store.count().await;
        self.answered(StoreCall::Count, started, &reply);
        reply
    }
}
