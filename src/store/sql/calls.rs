//! The store contract in SQL.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    REAP_BATCH, SqlStore,
    detach::DetachOnDrop,
    driver::Driver,
    failure::{failure, verdict},
    lease::Lease,
    retry::MAX_RETRIES,
    selecting::BEGUN_AS_MARKER,
    statements::Reap,
    value::{SessionRow, Value, Wanted},
    verdict::Verdict,
};
use crate::{
    clock::Timestamp,
    deadline::back_off,
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{
        Created, Former, Position, Query, Reaped, Removal, RemovalReason, RemovalSink,
        SessionStore, StorePage, Touched, Updated,
    },
};

impl<D: Driver> SessionStore for SqlStore<D> {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let mut columns = Columns::of(record)?;
        let mut begun_at = millis(record.begun_at()).max(BEGUN_AS_MARKER + 1);
        if record.is_moved() {
            // No session: no count has it.
            (begun_at, columns.user_hash) = (BEGUN_AS_MARKER, None);
        }
        let place = [Value::Id(id.into()), Value::Number(begun_at)];
        let values = [&columns.values(activity)[..], &place].concat();
        let create = &self.statements().create;
        let (asked, lost) = self.ask(create, &values, Wanted::Count).await?;
        match lost {
            _ if asked.count() > 0 => Ok(Created::Yes),
            None => Ok(Created::Exists),
            Some(lost) => match self.has_written(id, columns.version, lost).await? {
                true => Ok(Created::Yes),
                false => Ok(Created::Exists),
            },
        }
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let rows = self
            .rows(&self.statements().load, &[Value::Id(id.into())])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let row = D::session(row).map_err(|error| self.error(error))?;
        Ok(Some((
            Arc::new(Record::from_bytes(row.record)?),
            row.activity(),
        )))
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let columns = Columns::of(record)?;
        let values = [&columns.values(activity)[..], &place(id, former.version())].concat();
        let (asked, lost) = self.write(id, &self.statements().update, &values).await?;
        if asked.count() > 0 {
            return Ok(Updated::Saved);
        }
        match lost {
            None if self.exists(id).await? => Ok(Updated::Conflict),
            None => Ok(Updated::Missing),
            Some(lost) => match self.has_written(id, columns.version, lost).await? {
                true => Ok(Updated::Saved),
                false => Ok(Updated::Conflict),
            },
        }
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let times = [
            Value::Number(millis(activity.last_seen_at)),
            Value::Deadline(activity.expires_at.map(millis)),
        ];
        let values = [&times[..], &place(id, former.version())].concat();
        let (asked, _) = self.write(id, &self.statements().touch, &values).await?;
        if asked.count() > 0 {
            return Ok(Touched::Yes);
        }
        match self.exists(id).await? {
            true => Ok(Touched::Stale),
            false => Ok(Touched::Missing),
        }
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        let values = [Value::Id(id.into())];
        let delete = &self.statements().delete;
        match self.write(id, delete, &values).await? {
            (asked, _) if asked.count() > 0 => Ok(true),
            (_, None) => Ok(false),
            // The statement may have deleted it when it was sent the first time.
            (_, Some(lost)) => Err(lost),
        }
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        let sinks = self.sinks.read().clone();
        let mut removed = 0;
        while removed < limit {
            let batch = REAP_BATCH.min(limit - removed);
            let (deleted, removals) = self.reap(before, batch, !sinks.is_empty()).await?;
            for removal in removals {
                for sink in &sinks {
                    sink.report(removal.clone());
                }
            }
            removed += deleted;
            if deleted < batch {
                break;
            }
        }
        // If another node has locked the rest, that node deletes it.
        let more = removed == limit;
        Ok(Reaped { removed, more })
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        self.page(query, after, limit).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.count_selected(query).await
    }

    /// Reads the table, so that a missing one is an error too.
    async fn ping(&self) -> Result<(), StoreError> {
        self.exists(uuid::Uuid::nil().into()).await.map(drop)
    }

    fn report_removals(&self, sink: RemovalSink) {
        self.sinks.write().push(sink);
    }
}

impl<D: Driver> SqlStore<D> {
    async fn exists(&self, id: SessionId) -> Result<bool, StoreError> {
        let values = [Value::Id(id.into())];
        let rows = self.rows(&self.statements().exists, &values).await?;
        Ok(!rows.is_empty())
    }

    /// Whether a write that hit nothing when it was sent again was applied the first time.
    async fn has_written(
        &self,
        id: SessionId,
        version: Version,
        lost: StoreError,
    ) -> Result<bool, StoreError> {
        let latest = self.load(id).await.map_err(StoreError::in_doubt)?;
        latest
            .and_then(|(record, _)| record.has_written(version))
            .ok_or(lost)
    }

    /// Deletes at most `limit` expired sessions, at most [`REAP_BATCH`].
    async fn reap(
        &self,
        before: Timestamp,
        limit: usize,
        reports: bool,
    ) -> Result<(usize, Vec<Removal>), StoreError> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [Value::Number(millis(before)), Value::Number(most)];
        match &self.statements().reap {
            Reap::Delete { silent, .. } if !reports => {
                let deleted = self.count_hit(silent, &values).await?;
                Ok((usize::try_from(deleted).unwrap_or(limit), Vec::new()))
            }
            Reap::Delete { reporting, .. } => {
                let rows = self.rows(reporting, &values).await?;
                Ok((rows.len(), self.removals(&rows)?))
            }
            Reap::LockAndDelete {
                silent,
                reporting,
                delete,
            } => {
                let lock = if reports { reporting } else { silent };
                let mut retries = 0;
                let rows = loop {
                    match self.lock_and_delete(lock, values, delete).await {
                        Ok(rows) => break rows,
                        Err(error) if retries < MAX_RETRIES && is_rolled_back::<D>(&error) => {
                            back_off(retries).await;
                            retries += 1;
                        }
                        Err(error) => return Err(self.error(error)),
                    }
                };
                let removals = if reports {
                    self.removals(&rows)?
                } else {
                    Vec::new()
                };
                Ok((rows.len(), removals))
            }
        }
    }

    /// Deletes in one transaction, which is finished even if the call is dropped. Returns the deleted rows.
    async fn lock_and_delete(
        &self,
        lock: &str,
        values: [Value<'static>; 2],
        delete: &str,
    ) -> Result<Vec<D::Row>, sqlx::Error> {
        let mut lease = Lease::of(&self.connections).await?;
        let (lock, delete) = (lock.to_owned(), delete.to_owned());
        DetachOnDrop::new(async move {
            lease.ask_within("BEGIN", &[], Wanted::Count).await?;
            let rows = lease.ask_within(&lock, &values, Wanted::Rows).await?.rows;
            let mut ids = Vec::with_capacity(REAP_BATCH);
            for row in &rows {
                ids.push(Value::Id(D::session(row)?.id));
            }
            if let Some(last) = ids.last().copied() {
                // The statement takes so many: to name one twice deletes it once.
                ids.resize(REAP_BATCH, last);
                lease.ask_within(&delete, &ids, Wanted::Count).await?;
            }
            lease.ask_within("COMMIT", &[], Wanted::Count).await?;
            lease.settle();
            Ok(rows)
        })
        .await
    }

    fn removals(&self, rows: &[D::Row]) -> Result<Vec<Removal>, StoreError> {
        let ending = |row| {
            let row: SessionRow<'_> = D::session(row).map_err(|error| self.error(error))?;
            let record = Record::from_bytes(row.record).ok();
            let kept = record.map(|record| (Arc::new(record), row.activity()));
            Ok(Removal::new(row.id.into(), RemovalReason::Expired, kept))
        };
        rows.iter().map(ending).collect()
    }
}

fn is_rolled_back<D: Driver>(error: &sqlx::Error) -> bool {
    matches!(verdict::<D>(error), Verdict::RolledBack)
}

/// The columns of a record.
struct Columns {
    version: Version,
    user_hash: Option<[u8; 32]>,
    created_at: Timestamp,
    text: String,
}

impl Columns {
    fn of(record: &Record) -> Result<Self, StoreError> {
        let text = String::from_utf8(record.to_bytes());
        Ok(Self {
            version: record.version(),
            user_hash: record.user().map(hash),
            created_at: record.created_at(),
            text: text.map_err(|_| failure(StoreErrorKind::Other, "a record is not text"))?,
        })
    }

    /// In the order in which `create` and `update` take them.
    fn values(&self, activity: Activity) -> [Value<'_>; 7] {
        [
            Value::Number(self.version.counter.cast_signed()),
            Value::Number(self.version.writer.cast_signed()),
            Value::Hash(self.user_hash.as_ref().map(|hash| &hash[..])),
            Value::Number(millis(self.created_at)),
            Value::Number(millis(activity.last_seen_at)),
            Value::Deadline(activity.expires_at.map(millis)),
            Value::Text(&self.text),
        ]
    }
}

impl SessionRow<'_> {
    pub(super) fn activity(&self) -> Activity {
        Activity {
            last_seen_at: moment(self.last_seen_at),
            expires_at: self.expires_at.map(moment),
        }
    }
}

/// The values that identify a version of a session.
fn place(id: SessionId, version: Version) -> [Value<'static>; 3] {
    [
        Value::Id(id.into()),
        Value::Number(version.counter.cast_signed()),
        Value::Number(version.writer.cast_signed()),
    ]
}

pub(super) fn hash(user: &str) -> [u8; 32] {
    Sha256::digest(user).into()
}

pub(super) fn millis(moment: Timestamp) -> i64 {
    // A timestamp ends with the year 9999.
    moment.as_millis().cast_signed()
}

pub(super) fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
}
