//! The indexes: of all sessions, in buckets by the first byte of the id, and of each user's sessions.
//!
//! A session and its entry in the bucket are written in one step. The index of a user is in another slot: the entry
//! is written before the `create` is answered, and the sweep removes it. So an index may have too many entries, but
//! never too few, and a list checks whether each session is there.

use std::{collections::BTreeMap, time::Duration};

use ::redis::{Cmd, FromRedisValue as _, Value};
use tracing::warn;
use uuid::Uuid;

use super::{
    RedisStore,
    failure::unexpected,
    get,
    keys::{Entry, user_hash},
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
            .filter_map(|(id, since)| Some((Entry::parse(id)?, *since < settled)))
            .filter(|(entry, _)| Some(entry.id) > after)
            .collect();
        entries.sort_by_key(|(entry, _)| entry.id);
        let is_end = entries.len() <= limit;
        entries.truncate(limit);
        let last = entries.last().map(|(entry, _)| entry.id).or(after);
        let (entries, are_settled): (Vec<Entry>, Vec<bool>) = entries
            .into_iter()
            .map(|(entry, is_settled)| {
                (
                    Entry {
                        user: user.clone(),
                        ..entry
                    },
                    is_settled,
                )
            })
            .unzip();
        let (sessions, stale) = self.look_up(&entries, selection).await?;
        let gone: Vec<Vec<u8>> = stale
            .into_iter()
            .filter(|place| are_settled[*place])
            .map(|place| entries[place].id.as_bytes().to_vec())
            .collect();
        if !gone.is_empty() {
            self.link.ask(&key, remove(&key, &gone)).await?;
        }
        let next = last.filter(|_| !is_end).map(Position::after);
        Ok(StorePage::new(sessions, next))
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
        // The entry knows whether there is a user: fewer sessions to look up.
        let is_meant = |entry: &Entry| {
            selection.conditions().all(|condition| match condition {
                Condition::LoggedIn(is_logged_in) => entry.user.is_empty() != is_logged_in,
                _ => true,
            })
        };
        entries.retain(is_meant);
        let (sessions, stale) = self.look_up(&entries, selection).await?;
        let stale = stale
            .into_iter()
            .map(|place| entries[place].clone())
            .collect();
        self.forget(stale).await?;
        Ok(StorePage::new(sessions, next))
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
            count += page.sessions.len() as u64;
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

    /// For each place, the entries of the bucket after the id, at most `limit`.
    async fn entries(
        &self,
        places: impl Iterator<Item = (u8, Option<SessionId>)>,
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, StoreError> {
        let batches = places.map(|(bucket, after)| {
            let route = self.keys.bucket(bucket);
            // After every entry of that id, whichever user it has.
            let from = after.map_or(b"-".to_vec(), |id| {
                [b"(", &id.as_bytes()[..], &[0xff]].concat()
            });
            let mut range = ::redis::cmd("ZRANGE");
            range.arg(&route).arg(from).arg("+").arg("BYLEX");
            range.arg("LIMIT").arg(0).arg(limit);
            Batch {
                route,
                commands: vec![range],
            }
        });
        let replies = self.link.send(batches.collect()).await?;
        replies
            .into_iter()
            .map(|reply| {
                let found = items(reply)?.into_iter().map(bytes);
                let found = found.collect::<Result<Vec<_>, _>>()?;
                Ok(found
                    .iter()
                    .flatten()
                    .filter_map(|entry| Entry::parse(entry))
                    .collect())
            })
            .collect()
    }

    /// The sessions of these entries, and the places of those that have none.
    async fn look_up(
        &self,
        entries: &[Entry],
        selection: &Selection,
    ) -> Result<(Vec<Listed>, Vec<usize>), StoreError> {
        let (mut sessions, mut stale) = (Vec::new(), Vec::new());
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
            return Ok((sessions, stale));
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
                    sessions.push(Listed::new(entry.id, record, activity));
                }
                Ok(_) => {}
                Err(error) => warn!(session.id = %entry.id, %error, "left out of a list"),
            }
        }
        Ok((sessions, stale))
    }

    /// The entries, by bucket, whose session is deleted or another user's.
    async fn stale(&self, buckets: &[Vec<Entry>]) -> Result<Vec<Vec<Entry>>, StoreError> {
        let asked: Vec<&Vec<Entry>> = buckets.iter().filter(|bucket| !bucket.is_empty()).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let batches = asked.iter().map(|entries| {
            let keys = entries.iter().map(|entry| self.keys.session(entry.id));
            let keys: Vec<_> = keys.collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let mut find = STALE.on(&keys);
            for entry in *entries {
                find.arg(padded(&entry.user));
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

    /// Removes these entries from the indexes: from the bucket last, because only it names the others.
    async fn forget(&self, stale: Vec<Entry>) -> Result<(), StoreError> {
        self.forget_begun(&stale).await?;
        let mut users = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
        let mut buckets = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
        for entry in &stale {
            let bucket = self.keys.bucket(entry.id.as_bytes()[0]);
            buckets.entry(bucket).or_default().push(entry.to_bytes());
            if !entry.user.is_empty() {
                let user = users.entry(self.keys.user(&entry.user)).or_default();
                user.push(entry.id.as_bytes().to_vec());
            }
        }
        for index in [users, buckets] {
            let batches: Vec<Batch> = index
                .into_iter()
                .map(|(route, members)| Batch {
                    commands: vec![remove(&route, &members)],
                    route,
                })
                .collect();
            if !batches.is_empty() {
                self.link.send(batches).await?;
            }
        }
        Ok(())
    }
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
