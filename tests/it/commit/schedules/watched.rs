//! A store that looks at what is stored in it: [`Watched`].

use std::sync::Arc;

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp,
    store::{
        Created, Former, Position, Query, Reaped, RemovalSink, StoreError, StorePage, Touched,
        Updated,
    },
};
use parking_lot::Mutex;
use serde_json::Value;

/// What must never be stored, noted when it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breaches {
    /// A session became the marker to one that was not there.
    pub(super) dead_move: bool,
    /// A secret was added to a session that somebody had written to.
    pub(super) written_joined: bool,
    /// How many writes took the voucher alone out of a session.
    pub(super) claims: usize,
}

/// A [`MemoryStore`] that is watched. Every clone is the same store.
#[derive(Clone, Default)]
pub(super) struct Watched {
    store: MemoryStore,
    breaches: Arc<Mutex<Breaches>>,
}

/// What a record says of itself in its encoding.
pub(super) fn fields(record: &Record) -> Value {
    serde_json::from_slice(&record.to_bytes()).unwrap()
}

fn joined(fields: &Value) -> usize {
    fields["joined"].as_array().map_or(0, Vec::len)
}

fn without_voucher(fields: &Value) -> Value {
    let mut data = fields["data"].clone();
    data.as_object_mut().unwrap().remove("voucher");
    data
}

impl Watched {
    pub(super) fn memory(&self) -> &MemoryStore {
        &self.store
    }

    pub(super) fn breaches(&self) -> Breaches {
        *self.breaches.lock()
    }

    async fn note(&self, former: &Record, next: &Record) -> Result<(), StoreError> {
        let (was, is) = (fields(former), fields(next));
        let mut breaches = Breaches::default();
        if let Some(to) = is["moved_to"].as_str() {
            let to = self.store.load(to.parse().unwrap()).await?;
            breaches.dead_move = to.is_none_or(|(record, _)| record.is_moved());
        }
        if next.is_moved() {
            // A marker has no data, and keeps the secrets.
        } else if joined(&is) > joined(&was) {
            breaches.written_joined = was["from_by"] != "log_in";
        } else if is["data"] != was["data"]
            && is["data"] == without_voucher(&was)
            && is["moved_from"].is_null()
        {
            breaches.claims = 1;
        }
        let mut all = self.breaches.lock();
        all.dead_move |= breaches.dead_move;
        all.written_joined |= breaches.written_joined;
        all.claims += breaches.claims;
        Ok(())
    }
}

impl SessionStore for Watched {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.store.create(id, record, activity).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.store.load(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let was = self.store.load(id).await?;
        let updated = self.store.update(id, record, activity, former).await?;
        if let (Updated::Saved, Some((was, _))) = (updated, was) {
            self.note(&was, record).await?;
        }
        Ok(updated)
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.store.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.store.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.store.delete_expired(before, limit).await
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        self.store.list(query, after, limit).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.store.count(query).await
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.store.report_removals(sink);
    }
}
