use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::SystemTime};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, StoreError, Timestamp, Version,
    store::{
        Condition, Created, Former, Listed, Order, Position, Query, Reaped, StoreErrorKind,
        StorePage, Touched, Updated,
    },
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::yield_now;
use uuid::Uuid;

use super::former;

/// The bugs of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    CreateOverwrites,
    CreateOverwritesExpired,
    CreateChecksFirst,
    LoadJudgesExpiry,
    LatestIsCached,
    IdsLoseABit,
    UpdateIgnoresWriter,
    UpdateIgnoresCounter,
    UpdateComparesAsFloat,
    UpdateInserts,
    UpdateJudgesExpiry,
    UpdateKeepsDeadline,
    UpdateChecksFirst,
    TouchIgnoresWriter,
    TouchIgnoresCounter,
    TouchMovesSeenBack,
    TouchMovesDeadlineBack,
    TouchSkipsMixed,
    TouchTakesNeverForEarliest,
    TouchRevives,
    TouchJudgesExpiry,
    TouchWritesVersion,
    TouchChecksFirst,
    DeleteIsAlwaysTrue,
    DeleteDoesNothing,
    DeleteSparesExpired,
    DeleteChecksFirst,
    ReapIsUnbounded,
    ReapLeavesTheDeadline,
    ReapTakesTooMuch,
    ReapTakesNever,
    ReapSaysNoMore,
    ReapAlwaysSaysMore,
    ReapCountsWrong,
    ReapGoesByFirstDeadline,
    ReapDoesNothing,
    ReapFailsAtDamage,
    DropsUnknownFields,
    DropsTimeouts,
    RoundsFloats,
    CutsUsers,
    CutsNul,
    RefusesLarge,
    CutsTimes,
    DamageIsNothing,
    NewerIsCorrupt,
    DeleteLeavesDamage,
    ListTakesAnyPosition,
    CountIgnoresQuery,
    PingFails,
    ListFailsAtDamage,
    ListIsBackwards,
    ListStartsAtTheId,
    ListIgnoresLimit,
    ListEndsEarly,
    ListFoldsCase,
    ListTrims,
    ListHidesExpired,
    ListIgnoresUpdates,
    ListSeenIncludesTheMoment,
    ListIgnoresCreation,
    CountSkipsExpired,
    CountIsForever,
    CountIncludesMarkers,
    CountStopsShort,
    NewestIsBackwards,
    NewestGoesByLastSeen,
    ListIgnoresLogIn,
    LastSeenIsBackwards,
}

type Reply<T> = Result<T, StoreError>;
type Kept = (Arc<Record>, Activity);

/// A store with one bug.
pub(crate) struct BrokenStore {
    inner: MemoryStore,
    bug: Bug,
    /// The records as they were created.
    first: Mutex<HashMap<SessionId, Kept>>,
    damaged: Mutex<HashMap<SessionId, Vec<u8>>>,
    /// Held by a touch, which reads and then writes, so that the store has only its planted bug.
    touching: tokio::sync::Mutex<()>,
}

fn is_past(activity: Activity) -> bool {
    let now = Timestamp::from(SystemTime::now());
    activity.expires_at.is_some_and(|at| at <= now)
}

fn shifted(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add_signed(millis))
}

impl BrokenStore {
    pub(crate) fn new(bug: Bug) -> Self {
        Self {
            inner: MemoryStore::default(),
            bug,
            first: Mutex::default(),
            damaged: Mutex::default(),
            touching: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn damage(&self, id: SessionId, bytes: Vec<u8>) {
        self.damaged.lock().insert(id, bytes);
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn id(&self, id: SessionId) -> SessionId {
        let bits = u128::from_be_bytes(*id.as_bytes());
        if self.has(Bug::IdsLoseABit) {
            Uuid::from_u128(bits & !1).into()
        } else {
            id
        }
    }

    /// The value after a column that cannot hold it.
    fn squeezed(&self, record: &Arc<Record>) -> Arc<Record> {
        let squeezes = [
            Bug::DropsUnknownFields,
            Bug::DropsTimeouts,
            Bug::RoundsFloats,
            Bug::CutsUsers,
            Bug::CutsNul,
        ];
        if !squeezes.contains(&self.bug) {
            return Arc::clone(record);
        }
        let mut json: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
        let fields = json.as_object_mut().unwrap();
        match self.bug {
            Bug::DropsUnknownFields => drop(fields.remove("later")),
            Bug::DropsTimeouts => drop(fields.remove("idle_timeout")),
            Bug::CutsUsers => {
                if let Some(Value::String(user)) = fields.get_mut("user") {
                    *user = user.chars().take(255).collect();
                }
            }
            Bug::CutsNul => {
                let data = fields["data"].as_object_mut().unwrap();
                *data = std::mem::take(data)
                    .into_iter()
                    .map(|(key, value)| (key.replace('\0', ""), value))
                    .collect();
            }
            Bug::RoundsFloats => {
                for value in fields["data"].as_object_mut().unwrap().values_mut() {
                    if let Some(float) = value.as_f64().filter(|_| value.is_f64()) {
                        *value = Value::from(float as f32);
                    }
                }
            }
            _ => {}
        }
        Arc::new(Record::from_bytes(json.to_string().as_bytes()).unwrap())
    }

    fn squeezed_activity(&self, mut activity: Activity) -> Activity {
        if self.has(Bug::CutsTimes) {
            let most = Timestamp::from_millis(u64::from(u32::MAX) * 1000);
            activity.expires_at = activity.expires_at.map(|at| at.min(most));
        }
        activity
    }

    fn check_size(&self, record: &Record) -> Reply<()> {
        if self.has(Bug::RefusesLarge) && record.to_bytes().len() > 1 << 20 {
            return Err(StoreError::new(StoreErrorKind::Other, "too large"));
        }
        Ok(())
    }

    async fn current(&self, id: SessionId) -> Option<Kept> {
        self.inner.load_latest(id).await.unwrap()
    }

    /// Writes without comparing the version.
    async fn overwrite(&self, id: SessionId, record: &Arc<Record>, activity: Activity) {
        self.inner.delete(id).await.unwrap();
        self.inner.create(id, record, activity).await.unwrap();
    }

    /// The version that the inner store expects, for a store that compares only a part of it.
    async fn confused(&self, id: SessionId, expected: Version, ignores: [Bug; 2]) -> Version {
        let Some((record, _)) = self.current(id).await else {
            return expected;
        };
        let kept = record.version();
        let is_same = (self.has(ignores[0]) && kept.counter == expected.counter)
            || (self.has(ignores[1]) && kept.writer == expected.writer)
            || (self.has(Bug::UpdateComparesAsFloat)
                && ignores[0] == Bug::UpdateIgnoresWriter
                && kept.counter as f64 == expected.counter as f64
                && kept.writer == expected.writer);
        if is_same { kept } else { expected }
    }

    async fn read(&self, id: SessionId) -> Reply<Option<Kept>> {
        let damaged = self.damaged.lock().get(&id).cloned();
        if let Some(bytes) = damaged {
            return match Record::from_bytes(&bytes) {
                _ if self.has(Bug::DamageIsNothing) => Ok(None),
                Err(error) if self.has(Bug::NewerIsCorrupt) => {
                    Err(StoreError::new(StoreErrorKind::Corrupt, error))
                }
                read => Err(read.unwrap_err()),
            };
        }
        let kept = self.current(id).await;
        Ok(match self.bug {
            Bug::LoadJudgesExpiry => kept.filter(|(_, activity)| !is_past(*activity)),
            _ => kept,
        })
    }
}

impl SessionStore for BrokenStore {
    async fn create(&self, id: SessionId, record: &Arc<Record>, at: Activity) -> Reply<Created> {
        let id = self.id(id);
        self.check_size(record)?;
        let (record, at) = (&self.squeezed(record), self.squeezed_activity(at));
        let kept = self.current(id).await;
        match self.bug {
            Bug::CreateOverwrites => self.overwrite(id, record, at).await,
            Bug::CreateOverwritesExpired if kept.is_some_and(|(_, at)| is_past(at)) => {
                self.overwrite(id, record, at).await;
            }
            Bug::CreateChecksFirst => {
                if self.current(id).await.is_some() {
                    return Ok(Created::Exists);
                }
                let_others_run().await;
                self.overwrite(id, record, at).await;
            }
            _ => {
                let created = self.inner.create(id, record, at).await?;
                if created == Created::Yes {
                    self.first.lock().insert(id, (Arc::clone(record), at));
                }
                return Ok(created);
            }
        }
        Ok(Created::Yes)
    }

    async fn load(&self, id: SessionId) -> Reply<Option<Kept>> {
        self.read(self.id(id)).await
    }

    async fn load_latest(&self, id: SessionId) -> Reply<Option<Kept>> {
        let first = self.first.lock().get(&id).cloned();
        if self.has(Bug::LatestIsCached) && first.is_some() {
            return Ok(first);
        }
        self.read(self.id(id)).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        mut activity: Activity,
        replaced: Former<'_>,
    ) -> Reply<Updated> {
        let id = self.id(id);
        let mut expected = replaced.version();
        self.check_size(record)?;
        let record = &self.squeezed(record);
        let kept = self.current(id).await;
        expected = self
            .confused(
                id,
                expected,
                [Bug::UpdateIgnoresWriter, Bug::UpdateIgnoresCounter],
            )
            .await;
        match (self.bug, &kept) {
            (Bug::UpdateInserts, None) => {
                self.inner.create(id, record, activity).await?;
                return Ok(Updated::Saved);
            }
            (Bug::UpdateJudgesExpiry, Some((_, at))) if is_past(*at) => {
                return Ok(Updated::Missing);
            }
            (Bug::UpdateKeepsDeadline, Some((_, at))) => {
                activity.expires_at = activity.expires_at.max(at.expires_at);
            }
            (Bug::UpdateChecksFirst, Some((kept, _))) => {
                if kept.version() != expected {
                    return Ok(Updated::Conflict);
                }
                let_others_run().await;
                self.overwrite(id, record, activity).await;
                return Ok(Updated::Saved);
            }
            _ => {}
        }
        let update = self.inner.update(id, record, activity, former(expected));
        update.await
    }

    async fn touch(&self, id: SessionId, replaced: Former<'_>, new: Activity) -> Reply<Touched> {
        let id = self.id(id);
        let is_racy = self.has(Bug::TouchChecksFirst);
        let _turn = match is_racy {
            true => None,
            false => Some(self.touching.lock().await),
        };
        let expected = self
            .confused(
                id,
                replaced.version(),
                [Bug::TouchIgnoresWriter, Bug::TouchIgnoresCounter],
            )
            .await;
        let Some((record, kept)) = self.current(id).await else {
            let first = self.first.lock().get(&id).cloned();
            if self.has(Bug::TouchRevives)
                && let Some((record, _)) = first
            {
                self.overwrite(id, &record, new).await;
            }
            return Ok(Touched::Missing);
        };
        if record.version() != expected {
            return Ok(Touched::Stale);
        }
        let mut next = Activity {
            last_seen_at: kept.last_seen_at.max(new.last_seen_at),
            expires_at: kept.expires_at.zip(new.expires_at).map(|(a, b)| a.max(b)),
        };
        let is_mixed = next != kept && next != new;
        match self.bug {
            Bug::TouchMovesSeenBack => next.last_seen_at = new.last_seen_at,
            Bug::TouchMovesDeadlineBack if kept.expires_at.is_some() => {
                next.expires_at = new.expires_at;
            }
            Bug::TouchSkipsMixed if is_mixed => return Ok(Touched::Yes),
            Bug::TouchTakesNeverForEarliest => {
                next.expires_at = kept.expires_at.max(new.expires_at);
            }
            Bug::TouchJudgesExpiry if is_past(kept) => return Ok(Touched::Missing),
            Bug::TouchWritesVersion => {
                let mut json: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
                let mut version = expected;
                version.writer ^= 1;
                json["version"] = version.to_string().into();
                let record = Record::from_bytes(json.to_string().as_bytes())?;
                self.inner
                    .update(id, &Arc::new(record), next, former(expected))
                    .await?;
                return Ok(Touched::Yes);
            }
            Bug::TouchChecksFirst => {
                let_others_run().await;
                self.overwrite(id, &record, next).await;
                return Ok(Touched::Yes);
            }
            _ => return self.inner.touch(id, former(expected), new).await,
        }
        self.inner
            .update(id, &record, next, former(expected))
            .await?;
        Ok(Touched::Yes)
    }

    async fn delete(&self, id: SessionId) -> Reply<bool> {
        let id = self.id(id);
        let is_damaged = self.damaged.lock().contains_key(&id);
        if !(is_damaged && self.has(Bug::DeleteLeavesDamage)) {
            self.damaged.lock().remove(&id);
        }
        let kept = self.current(id).await;
        match self.bug {
            Bug::DeleteDoesNothing => return Ok(kept.is_some()),
            Bug::DeleteSparesExpired if kept.as_ref().is_some_and(|(_, at)| is_past(*at)) => {
                return Ok(false);
            }
            Bug::DeleteChecksFirst => {
                let_others_run().await;
                self.inner.delete(id).await?;
                return Ok(kept.is_some());
            }
            _ => {}
        }
        Ok(self.inner.delete(id).await? || self.has(Bug::DeleteIsAlwaysTrue))
    }

    async fn delete_expired(&self, mut before: Timestamp, mut limit: usize) -> Reply<Reaped> {
        match self.bug {
            Bug::ReapIsUnbounded => limit = usize::MAX,
            Bug::ReapLeavesTheDeadline => before = shifted(before, -1),
            Bug::ReapTakesTooMuch => before = shifted(before, 1),
            Bug::ReapDoesNothing => return Ok(Reaped::default()),
            Bug::ReapFailsAtDamage if !self.damaged.lock().is_empty() => {
                return Err(StoreError::new(StoreErrorKind::Corrupt, "as planned"));
            }
            Bug::ReapTakesNever => {
                let all = self.inner.list(&Query::default(), None, 1000).await?;
                for listed in all.sessions {
                    if listed.activity.expires_at.is_none() {
                        self.inner.delete(listed.id).await?;
                    }
                }
            }
            Bug::ReapGoesByFirstDeadline => {
                let first = self.first.lock().clone();
                for (id, (_, at)) in first {
                    if at.expires_at.is_some_and(|at| at <= before) {
                        self.inner.delete(id).await?;
                    }
                }
            }
            _ => {}
        }
        let mut reaped = self.inner.delete_expired(before, limit).await?;
        match self.bug {
            Bug::ReapSaysNoMore => reaped.more = false,
            Bug::ReapAlwaysSaysMore => reaped.more = true,
            Bug::ReapCountsWrong => reaped.removed /= 2,
            _ => {}
        }
        Ok(reaped)
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Reply<StorePage> {
        let list = async |query: &Query| self.inner.list(query, after, limit).await;
        let mut page = match self.bug {
            Bug::ListIgnoresLimit => self.inner.list(query, after, usize::MAX).await?,
            Bug::ListFoldsCase | Bug::ListTrims if query.order() == Order::Id => {
                let fold = |user: &str| match self.bug {
                    Bug::ListTrims => user.trim_end().to_owned(),
                    _ => user.to_lowercase(),
                };
                let anybody = changed(query, |condition| match condition {
                    Condition::User(_) => None,
                    other => Some(other),
                });
                let all = self.inner.list(&anybody, None, usize::MAX).await?.sessions;
                let wanted = query.unordered().user().map(fold);
                let is_wanted =
                    |listed: &Listed| wanted.is_none() || listed.record.user().map(fold) == wanted;
                let after = after.map(Position::id).transpose()?;
                let mut rest: Vec<Listed> = all
                    .into_iter()
                    .filter(|listed| Some(listed.id) > after && is_wanted(listed))
                    .collect();
                let has_more = rest.len() > limit;
                rest.truncate(limit);
                let next = has_more.then(|| Position::after(rest[limit - 1].id));
                StorePage::new(rest, next)
            }
            Bug::ListSeenIncludesTheMoment => {
                let later = changed(query, |condition| match condition {
                    Condition::LastSeenBefore(at) => {
                        Some(Condition::LastSeenBefore(shifted(at, 1)))
                    }
                    other => Some(other),
                });
                list(&later).await?
            }
            Bug::ListIgnoresCreation => {
                let any_age = changed(query, |condition| match condition {
                    Condition::CreatedBefore(_) => None,
                    other => Some(other),
                });
                list(&any_age).await?
            }
            Bug::ListIgnoresLogIn => {
                let anybody = changed(query, |condition| match condition {
                    Condition::LoggedIn(_) => None,
                    other => Some(other),
                });
                list(&anybody).await?
            }
            Bug::ListStartsAtTheId if query.order() == Order::Id => {
                let after = after.map(Position::id).transpose()?;
                let bits = after.map(|after| u128::from_be_bytes(*after.as_bytes()));
                let before = bits.map(|bits| Uuid::from_u128(bits.saturating_sub(1)).into());
                let before = before.map(Position::after);
                self.inner.list(query, before.as_ref(), limit).await?
            }
            Bug::ListTakesAnyPosition if query.order() == Order::Id => {
                let after = after.filter(|after| after.id().is_ok());
                self.inner.list(query, after, limit).await?
            }
            _ => list(query).await?,
        };
        let first = self.first.lock().clone();
        let damaged = self.damaged.lock().clone();
        match self.bug {
            Bug::ListFailsAtDamage if !damaged.is_empty() => {
                return Err(StoreError::new(StoreErrorKind::Corrupt, "as planned"));
            }
            Bug::ListIsBackwards => page.sessions.reverse(),
            Bug::ListEndsEarly => page.next = None,
            Bug::NewestIsBackwards if query.order() == Order::NewestFirst => {
                page.sessions.reverse();
            }
            Bug::NewestGoesByLastSeen if query.order() == Order::NewestFirst => {
                page.sessions
                    .sort_by_key(|listed| Reverse(listed.activity.last_seen_at));
            }
            Bug::LastSeenIsBackwards if query.order() == Order::LastSeenFirst => {
                page.sessions.reverse();
            }
            Bug::ListHidesExpired => page.sessions.retain(|listed| !is_past(listed.activity)),
            Bug::ListIgnoresUpdates => page.sessions.retain(|listed| {
                let user = first.get(&listed.id).and_then(|(record, _)| record.user());
                listed.record.user() == user
            }),
            _ => {}
        }
        page.sessions
            .retain(|listed| !damaged.contains_key(&listed.id));
        Ok(page)
    }

    async fn count(&self, query: &Query) -> Reply<u64> {
        let all = self.inner.list(query, None, usize::MAX).await?;
        let past = all
            .sessions
            .iter()
            .filter(|listed| is_past(listed.activity) || listed.record.is_moved())
            .count();
        Ok(match self.bug {
            Bug::CountSkipsExpired => (all.sessions.len() - past) as u64,
            Bug::CountIncludesMarkers => all.sessions.len() as u64,
            Bug::CountIsForever => self.first.lock().len() as u64,
            Bug::CountStopsShort => {
                let count = self.inner.count(query).await?;
                let limit = query.count_limit();
                limit.map_or(count, |limit| count.min(limit - 1))
            }
            Bug::CountIgnoresQuery => self.inner.count(&Query::default()).await?,
            _ => self.inner.count(query).await?,
        })
    }

    async fn ping(&self) -> Reply<()> {
        match self.bug {
            Bug::PingFails => Err(StoreError::new(StoreErrorKind::Other, "as planned")),
            _ => self.inner.ping().await,
        }
    }
}

/// The query with other conditions.
fn changed<'a>(query: &'a Query, change: impl Fn(Condition<'a>) -> Option<Condition<'a>>) -> Query {
    let conditions = query.unordered().conditions().filter_map(change);
    let same_order = match query.order() {
        Order::NewestFirst => Query::default().newest_first(),
        Order::LastSeenFirst => Query::default().last_seen_first(),
        _ => Query::default(),
    };
    conditions.fold(same_order, |query, condition| match condition {
        Condition::User(user) => query.with_user(user),
        Condition::LastSeenBefore(moment) => query.with_last_seen_before(moment),
        Condition::CreatedBefore(moment) => query.with_created_before(moment),
        Condition::BegunSince(moment) => query.with_begun_since(moment),
        Condition::BegunBefore(moment) => query.with_begun_before(moment),
        Condition::LoggedIn(is_logged_in) => query.with_logged_in(is_logged_in),
        _ => unreachable!("no such condition"),
    })
}

/// Long enough for other calls to run meanwhile, even on a busy machine.
async fn let_others_run() {
    for _ in 0..100 {
        yield_now().await;
    }
}
