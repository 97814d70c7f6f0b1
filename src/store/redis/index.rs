//! The indexes: of all sessions, in buckets by the first byte of the id, and of each user's sessions.
//!
//! A session and its entry in the bucket are written in one step. The index of a user may be in another slot: the entry
//! is written before the session, and the sweep removes it. So an index may have too many entries, but
//! never too few, and a list checks whether each session is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ::redis::{Cmd, FromRedisValue as _, Value};
use tracing::warn;
use uuid::Uuid;

use super::{
    RedisStore,
    failure::unexpected,
    get,
    keys::{Entry, UserHash, user_hash},
    link::Batch,
    reply::{bytes, items, number},
    script::STALE,
    stored::{Stored, padded},
};
use crate::{
    clock::{Clock as _, SystemClock},
    error::store::StoreError,
    record::token::SessionId,
    store::{Condition, Listed, Position, Query, Reaped, Selection, StorePage},
};

/// How many entries are read in one step of a server.
pub(super) const CHUNK: usize = 1000;

/// How many chunks one sweep reads.
const CHUNKS_A_SWEEP: usize = 16;

/// A user's entry without a session is removed if it is this old. The session of a younger one may still be about to
/// be created on another node.
const SETTLED: Duration = Duration::from_secs(10 * 60);

/// How many of a user's oldest entries are checked when one of them is removed.
const TRIMMED: usize = 100;

/// How far the sweep has come.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) bucket: u8,
    pub(super) after: Option<Entry>,
}

impl RedisStore {
    /// Adds a session to its user's index.
    pub(super) fn enter(&self, entry: &Entry) -> Batch {
        let route = self.keys.user(&entry.user);
        let now = SystemClock.now().as_millis();
        let mut enter = ::redis::cmd("ZADD");
        enter.arg(&route).arg(now).arg(entry.id.as_bytes());
        Batch {
            route,
            commands: vec![enter],
        }
    }

    pub(super) async fn page(
        &self,
        selection: &Selection,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        match selection.user() {
            Some(user) => self.list_user(user, selection, after, limit).await,
            None => self.list_all(selection, after, limit).await,
        }
    }

    async fn list_user(
        &self,
        user: &str,
        selection: &Selection,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let user = user_hash(Some(user));
        let key = self.keys.user(&user);
        let mut all = ::redis::cmd("ZRANGE");
        all.arg(&key).arg(0).arg(-1).arg("WITHSCORES");
        let all = self.link.ask(&key, all).await?;
        let all =
            Vec::<(Vec<u8>, f64)>::from_redis_value(all).map_err(|_| unexpected(&Value::Nil))?;
        let settled = SystemClock.now().saturating_sub(SETTLED).as_millis() as f64;
        let mut entries: Vec<(Entry, bool)> = all
            .iter()
            .filter_map(|(id, since)| Some((Entry::of_user(id, &user)?, *since < settled)))
            .filter(|(entry, _)| Some(entry.id) > after)
            .collect();
        entries.sort_by_key(|(entry, _)| entry.id);
        let is_end = entries.len() <= limit;
        entries.truncate(limit);
        let last = entries.last().map(|(entry, _)| entry.id).or(after);
        let (entries, are_settled): (Vec<Entry>, Vec<bool>) = entries.into_iter().unzip();
        let (mut page, stale) = self.look_up(&entries, selection).await?;
        let gone: Vec<Vec<u8>> = stale
            .into_iter()
            .filter(|place| are_settled[*place])
            .map(|place| entries[place].id.as_bytes().to_vec())
            .collect();
        if !gone.is_empty() {
            self.link.ask(&key, remove(&key, &gone)).await?;
        }
        page.next = last.filter(|_| !is_end).map(Position::after);
        Ok(page)
    }

    async fn list_all(
        &self,
        selection: &Selection,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        if limit == 0 {
            let after = after.unwrap_or_else(|| Uuid::nil().into());
            return Ok(StorePage::new(Vec::new(), Some(Position::after(after))));
        }
        let mut first = usize::from(after.map_or(0, |id| id.as_bytes()[0]));
        let mut entries: Vec<Entry> = Vec::new();
        let mut window = 8;
        while entries.len() < limit && first < BUCKETS {
            // Reads more buckets at once if they have few sessions, to save round trips.
            let end = BUCKETS.min(first + window);
            let places = (first..end).map(|bucket| (byte(bucket), after));
            for found in self.entries(places, limit).await? {
                entries.extend(found);
            }
            (first, window) = (end, window * 2);
        }
        let is_end = entries.len() <= limit && first == BUCKETS;
        entries.truncate(limit);
        let last = entries.last().filter(|_| !is_end);
        let next = last.map(|entry| Position::after(entry.id));
        // The entry says whether there is a user, so fewer sessions are looked up.
        let is_meant = |entry: &Entry| {
            selection.conditions().all(|condition| match condition {
                Condition::LoggedIn(is_logged_in) => entry.user.is_empty() != is_logged_in,
                _ => true,
            })
        };
        entries.retain(is_meant);
        let (mut page, stale) = self.look_up(&entries, selection).await?;
        let stale = stale
            .into_iter()
            .map(|place| entries[place].clone())
            .collect();
        self.forget(stale).await?;
        page.next = next;
        Ok(page)
    }

    pub(super) async fn count_selected(&self, query: &Query) -> Result<u64, StoreError> {
        let selection = query.unordered();
        if selection.is_everything() {
            return self.count_all().await;
        }
        let is_begun = |condition: Condition<'_>| {
            matches!(
                condition,
                Condition::BegunSince(_) | Condition::BegunBefore(_)
            )
        };
        let by_begun = self.keeps_begun && selection.conditions().any(is_begun);
        let most = query.count_limit().unwrap_or(u64::MAX);
        let (mut count, mut after) = (0, None);
        loop {
            let page = if by_begun {
                self.newest(query, after.as_ref(), CHUNK).await?
            } else {
                let after = after.as_ref().map(Position::id).transpose()?;
                self.page(selection, after, CHUNK).await?
            };
            let sessions = page.sessions.iter();
            count += sessions.filter(|listed| !listed.record.is_moved()).count() as u64;
            after = page.next;
            if after.is_none() || count >= most {
                return Ok(count);
            }
        }
    }

    async fn count_all(&self) -> Result<u64, StoreError> {
        let mut count = 0;
        let mut places: Vec<(u8, Option<SessionId>)> =
            (0..BUCKETS).map(|bucket| (byte(bucket), None)).collect();
        while !places.is_empty() {
            let found = self.entries(places.iter().copied(), CHUNK).await?;
            let stale = self.stale(&found).await?;
            count += found.iter().map(Vec::len).sum::<usize>();
            count -= stale.iter().map(Vec::len).sum::<usize>();
            places = found
                .iter()
                .filter(|entries| entries.len() == CHUNK)
                .filter_map(|entries| entries.last())
                .map(|entry| (entry.id.as_bytes()[0], Some(entry.id)))
                .collect();
        }
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Removes at most `limit` entries without a session from the indexes.
    pub(super) async fn sweep(&self, limit: usize) -> Result<Reaped, StoreError> {
        let mut removed = 0;
        for _ in 0..CHUNKS_A_SWEEP {
            let Progress { bucket, after } = self.swept.lock().clone();
            let place = (bucket, after.map(|entry| entry.id));
            let entries = self.entries([place].into_iter(), CHUNK).await?;
            let mut stale = self.stale(&entries).await?.concat();
            let is_full = stale.len() > limit - removed;
            stale.truncate(limit - removed);
            removed += stale.len();
            let reached = entries.concat().pop().filter(|_| entries[0].len() == CHUNK);
            self.forget(stale).await?;
            if is_full {
                return Ok(Reaped {
                    removed,
                    more: true,
                });
            }
            *self.swept.lock() = Progress {
                bucket: bucket.wrapping_add(u8::from(reached.is_none())),
                after: reached,
            };
        }
        Ok(Reaped {
            removed,
            more: removed > 0,
        })
    }

    /// For each place, the entries of the bucket after the id, at most `limit`: fewer only where
    /// the bucket has no more.
    async fn entries(
        &self,
        places: impl Iterator<Item = (u8, Option<SessionId>)>,
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, StoreError> {
        let places: Vec<_> = places.collect();
        let batches = places.iter().map(|(bucket, after)| {
            // After every entry of that id, whatever its user.
            let from = after.map_or(b"-".to_vec(), |id| {
                [b"(", &id.as_bytes()[..], &[0xff]].concat()
            });
            self.bucket_after(*bucket, from, limit)
        });
        let replies = self.link.send(batches.collect()).await?;
        let mut found = Vec::new();
        for ((bucket, _), reply) in places.into_iter().zip(replies) {
            let mut members = read_members(reply)?;
            let mut entries = Vec::new();
            loop {
                let parsed = members
                    .iter()
                    .filter_map(|member| Entry::parse(member, bucket));
                entries.extend(parsed);
                let last = members.last().filter(|_| members.len() == limit);
                let Some(last) = last.filter(|_| entries.len() < limit) else {
                    break;
                };
                // Some are not entries of this store, so more of its own may follow.
                let from = [b"(", &last[..]].concat();
                let next = self.bucket_after(bucket, from, limit);
                members = read_members(self.link.send(vec![next]).await?.swap_remove(0))?;
            }
            entries.truncate(limit);
            found.push(entries);
        }
        Ok(found)
    }

    fn bucket_after(&self, bucket: u8, from: Vec<u8>, limit: usize) -> Batch {
        let route = self.keys.bucket(bucket);
        let mut range = ::redis::cmd("ZRANGE");
        range.arg(&route).arg(from).arg("+").arg("BYLEX");
        range.arg("LIMIT").arg(0).arg(limit);
        Batch {
            route,
            commands: vec![range],
        }
    }

    /// A page of these entries' sessions, and the places of the entries that have none.
    async fn look_up(
        &self,
        entries: &[Entry],
        selection: &Selection,
    ) -> Result<(StorePage, Vec<usize>), StoreError> {
        let (mut page, mut stale) = (StorePage::default(), Vec::new());
        let mut batches: Vec<Batch> = Vec::new();
        for entry in entries {
            let [key, route] = self.places(entry.id);
            match batches.last_mut() {
                Some(last) if last.route == route => last.commands.push(get(&key)),
                _ => batches.push(Batch {
                    route,
                    commands: vec![get(&key)],
                }),
            }
        }
        if batches.is_empty() {
            return Ok((page, stale));
        }
        let replies = self.link.send(batches).await?;
        for (place, (entry, reply)) in entries.iter().zip(replies).enumerate() {
            let stored = Stored::read(reply).map(|found| {
                // Deleted, or another user's since.
                found.filter(|stored| stored.user == entry.user)
            });
            let Some(stored) = stored.transpose() else {
                stale.push(place);
                continue;
            };
            match stored.and_then(Stored::decode) {
                Ok((record, activity)) if selection.admits(&record, activity) => {
                    page.sessions.push(Listed::new(entry.id, record, activity));
                }
                Ok(_) => {}
                Err(error) => {
                    page.leave_out(&error);
                    if let Some(suppressed) = self.left_out.admit() {
                        warn!(session.id = %entry.id, %error, suppressed, "left out of a list");
                    }
                }
            }
        }
        Ok((page, stale))
    }

    /// The stale entries of each bucket: their session is deleted, or has another user.
    async fn stale(&self, buckets: &[Vec<Entry>]) -> Result<Vec<Vec<Entry>>, StoreError> {
        let asked: Vec<&Vec<Entry>> = buckets.iter().filter(|bucket| !bucket.is_empty()).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let batches = asked.iter().map(|entries| {
            let keys = entries.iter().map(|entry| self.keys.session(entry.id));
            let keys: Vec<_> = keys.collect();
            let mut find = STALE.on(&keys);
            for entry in *entries {
                find.arg(&padded(&entry.user));
            }
            Batch {
                route: self.keys.bucket(entries[0].id.as_bytes()[0]),
                commands: vec![find],
            }
        });
        let replies = self.link.send(batches.collect()).await?;
        asked
            .into_iter()
            .zip(replies)
            .map(|(entries, reply)| {
                let places = items(reply)?;
                let stale = places.iter().map(|place| {
                    let place = usize::try_from(number(place)?).unwrap_or_default();
                    let entry = entries.get(place.wrapping_sub(1));
                    entry.cloned().ok_or_else(|| unexpected(&Value::Nil))
                });
                stale.collect()
            })
            .collect()
    }

    /// Removes these entries from the indexes: from the bucket last, because only its entries lead to the others.
    async fn forget(&self, stale: Vec<Entry>) -> Result<(), StoreError> {
        self.forget_begun(&stale).await?;
        let users: BTreeSet<UserHash> = stale.iter().map(|entry| entry.user.clone()).collect();
        let of_users = stale.iter().filter(|entry| !entry.user.is_empty());
        self.remove_all(of_users.map(|entry| self.of_user(entry)))
            .await?;
        self.trim(users).await?;
        let of_buckets = stale.iter().map(|entry| {
            let bucket = self.keys.bucket(entry.id.as_bytes()[0]);
            (bucket, entry.to_bytes())
        });
        self.remove_all(of_buckets).await
    }

    /// Removes entries without a session from these users' indexes. No bucket leads to them, because the session was
    /// never written.
    async fn trim(&self, users: BTreeSet<UserHash>) -> Result<(), StoreError> {
        let users: Vec<UserHash> = users.into_iter().filter(|user| !user.is_empty()).collect();
        if users.is_empty() {
            return Ok(());
        }
        let settled = SystemClock.now().saturating_sub(SETTLED).as_millis();
        let batches = users.iter().map(|user| {
            let route = self.keys.user(user);
            let mut range = ::redis::cmd("ZRANGE");
            range.arg(&route).arg("-inf").arg(format!("({settled}"));
            range.arg("BYSCORE").arg("LIMIT").arg(0).arg(TRIMMED);
            Batch {
                route,
                commands: vec![range],
            }
        });
        let replies = self.link.send(batches.collect()).await?;
        let mut buckets = BTreeMap::<u8, Vec<Entry>>::new();
        for (user, reply) in users.iter().zip(replies) {
            let members = read_members(reply)?;
            for entry in members.iter().filter_map(|id| Entry::of_user(id, user)) {
                let bucket = buckets.entry(entry.id.as_bytes()[0]).or_default();
                bucket.push(entry);
            }
        }
        let buckets: Vec<Vec<Entry>> = buckets.into_values().collect();
        let stale = self.stale(&buckets).await?.concat();
        self.remove_all(stale.iter().map(|entry| self.of_user(entry)))
            .await
    }

    /// The key of the user's index, and the session's entry in it.
    fn of_user(&self, entry: &Entry) -> (Vec<u8>, Vec<u8>) {
        (self.keys.user(&entry.user), entry.id.as_bytes().to_vec())
    }

    /// Removes each member from its key.
    async fn remove_all(
        &self,
        members: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let mut keys = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
        for (key, member) in members {
            keys.entry(key).or_default().push(member);
        }
        if keys.is_empty() {
            return Ok(());
        }
        let batches = keys.into_iter().map(|(route, members)| Batch {
            commands: vec![remove(&route, &members)],
            route,
        });
        self.link.send(batches.collect()).await.map(drop)
    }
}

fn read_members(reply: Value) -> Result<Vec<Vec<u8>>, StoreError> {
    let members = items(reply)?.into_iter().map(bytes);
    let members = members.collect::<Result<Vec<_>, _>>()?;
    Ok(members.into_iter().flatten().collect())
}

pub(super) fn remove(key: &[u8], members: &[Vec<u8>]) -> Cmd {
    let mut remove = ::redis::cmd("ZREM");
    remove.arg(key).arg(members);
    remove
}

pub(super) const BUCKETS: usize = 256;

pub(super) fn byte(bucket: usize) -> u8 {
    u8::try_from(bucket).unwrap_or(u8::MAX)
}
