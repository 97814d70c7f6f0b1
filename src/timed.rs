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
    async fn timed<T>(
        &self,
        call: StoreCall,
        reply: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !self.population.is_watched() {
            return reply.await;
        }
        let started = Instant::now();
        let reply = reply.await;
        let tally = &self.population.tally;
        tally.called(call, started.elapsed(), reply.as_ref().err());
        reply
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
        self.timed(StoreCall::Create, self.store.create(id, record, activity))
            .await
    }

    pub(crate) async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        self.timed(StoreCall::Load, self.store.load(id)).await
    }

    pub(crate) async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        self.timed(StoreCall::LoadLatest, self.store.load_latest(id))
            .await
    }

    pub(crate) async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let reply = self.store.update(id, record, activity, expected);
        let updated = self.timed(StoreCall::Update, reply).await?;
        if updated == Updated::Conflict && self.population.is_watched() {
            self.population.tally.conflict();
        }
        Ok(updated)
    }

    pub(crate) async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let reply = self.store.touch(id, expected, activity);
        let touched = self.timed(StoreCall::Touch, reply).await?;
        if touched == Touched::Yes && self.population.is_watched() {
            self.population.tally.touch();
        }
        Ok(touched)
    }

    pub(crate) async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.timed(StoreCall::Delete, self.store.delete(id)).await
    }

    pub(crate) async fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Reaped, StoreError> {
        let reply = self.store.delete_expired(before, limit);
        self.timed(StoreCall::DeleteExpired, reply).await
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.timed(StoreCall::List, self.store.list(filter, after, limit))
            .await
    }

    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        self.timed(StoreCall::Count, self.store.count()).await
    }
}
