//! The newest sessions first: an index in each bucket, and a merge of all of them.
//!
//! An id is written into the index together with its session, and its time never changes. Like a user's index, it may
//! have too many entries, so a reader checks whether each session exists.

use ::redis::{FromRedisValue as _, Value};
use tracing::warn;

use super::{
    RedisStore,
    failure::unexpected,
    get,
    index::{BUCKETS, CHUNK, byte, remove},
    keys::{Entry, read_id},
    link::Batch,
    reply::number,
    stored::Stored,
};
use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::token::SessionId,
    store::{Condition, Listed, Position, Query, Selection, StorePage, top::Top},
};

/// When a session got its id, and the id.
type Key = (Timestamp, SessionId);

impl RedisStore {
    pub(super) async fn newest(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let selection = query.unordered();
        if selection.user().is_some() {
            return self.newest_of_user(query, after, limit).await;
        }
        if !self.keeps_begun {
            return Err(StoreError::unsupported(
                "list the newest sessions first without `index_begun`",
            ));
        }
        let after = after.map(Position::begun).transpose()?;
        let limit = limit.clamp(1, CHUNK);
        let (keys, next) = self.newest_keys(selection, after, limit).await?;
        let sessions = self.look_up_newest(&keys, selection).await?;
        let next = next.map(|(begun_at, id)| Position::after_begun(begun_at, id));
        Ok(StorePage::new(sessions, next))
    }

    /// Reads all of the user's sessions, because there are few.
    async fn newest_of_user(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let mut top = Top::new(query, after, limit)?;
        let mut reached = None;
        loop {
            let page = self.page(query.unordered(), reached, CHUNK).await?;
            for listed in page.sessions {
                let (id, activity) = (listed.id, listed.activity);
                let record = listed.record.clone();
                top.offer(id, &record, activity, || listed);
            }
            reached = page.next.as_ref().map(Position::id).transpose()?;
            if reached.is_none() {
                return Ok(top.into_page());
            }
        }
    }

    /// The first keys after a key, and where the next page begins.
    async fn newest_keys(
        &self,
        selection: &Selection,
        after: Option<Key>,
        limit: usize,
    ) -> Result<(Vec<Key>, Option<Key>), StoreError> {
        // Ids are random, so a page has about as many from each bucket.
        let mut each = limit / 64 + 5;
        loop {
            let buckets = self.range(selection, after, each).await?;
            // If the bucket has more entries, those after the last one that was read are unknown.
            let known = buckets
                .iter()
                .filter(|bucket| bucket.len() >= each)
                .filter_map(|bucket| bucket.last().copied())
                .max();
            let mut keys: Vec<Key> = buckets
                .into_iter()
                .flatten()
                .filter(|key| after.is_none_or(|after| *key < after))
                .filter(|key| known.is_none_or(|known| *key >= known))
                .collect();
            keys.sort_unstable_by(|a, b| b.cmp(a));
            let is_end = known.is_none() && keys.len() <= limit;
            keys.truncate(limit);
            let next = keys.last().copied().filter(|_| !is_end);
            if next.is_some() || is_end {
                return Ok((keys, next));
            }
            // Very many sessions began in one millisecond.
            each *= 4;
        }
    }

    /// The first entries of each bucket from the time of `after` on.
    async fn range(
        &self,
        selection: &Selection,
        after: Option<Key>,
        each: usize,
    ) -> Result<Vec<Vec<Key>>, StoreError> {
        let (mut newest, mut oldest) = (after.map(|(begun_at, _)| begun_at), None);
        for condition in selection.conditions() {
            match condition {
                Condition::BegunSince(moment) => oldest = Some(moment),
                Condition::BegunBefore(moment) => {
                    // The condition excludes this time itself.
                    newest = Some(newest.map_or(moment, |newest| newest.min(moment)));
                }
                _ => {}
            }
        }
        let bound = |time: Option<Timestamp>, none: &str| {
            time.map_or_else(|| none.to_owned(), |time| time.as_millis().to_string())
        };
        let batches = (0..BUCKETS).map(|bucket| {
            let route = self.keys.begun(byte(bucket));
            let mut range = ::redis::cmd("ZRANGE");
            range
                .arg(&route)
                .arg(bound(newest, "+inf"))
                .arg(bound(oldest, "-inf"));
            range
                .arg("BYSCORE")
                .arg("REV")
                .arg("LIMIT")
                .arg(0)
                .arg(each);
            range.arg("WITHSCORES");
            Batch {
                route,
                commands: vec![range],
            }
        });
        let replies = self.link.send(batches.collect()).await?;
        let bucket = |reply| {
            let entries = Vec::<(Vec<u8>, f64)>::from_redis_value(reply);
            let entries = entries.map_err(|_| unexpected(&Value::Nil))?;
            let key = |(id, begun_at): (Vec<u8>, f64)| {
                // An entry that this store did not write belongs to no session. It counts, because more may follow.
                let id = read_id(&id).unwrap_or_else(|| uuid::Uuid::nil().into());
                (Timestamp::from_millis(begun_at as u64), id)
            };
            Ok(entries.into_iter().map(key).collect())
        };
        replies.into_iter().map(bucket).collect()
    }

    /// The sessions of these keys, in their order. Forgets the keys of those that are gone.
    async fn look_up_newest(
        &self,
        keys: &[Key],
        selection: &Selection,
    ) -> Result<Vec<Listed>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let batches = keys.iter().map(|(_, id)| {
            let [key, route] = self.places(*id);
            Batch {
                route,
                commands: vec![get(&key)],
            }
        });
        let replies = self.link.send(batches.collect()).await?;
        let (mut sessions, mut gone) = (Vec::new(), Vec::new());
        for ((_, id), reply) in keys.iter().zip(replies) {
            let Some(stored) = Stored::read(reply).transpose() else {
                gone.push(*id);
                continue;
            };
            match stored.and_then(Stored::decode) {
                Ok((record, activity)) if selection.admits(&record, activity) => {
                    sessions.push(Listed::new(*id, record, activity));
                }
                Ok(_) => {}
                Err(error) => {
                    if let Some(suppressed) = self.left_out.admit() {
                        warn!(session.id = %id, %error, suppressed, "left out of a list");
                    }
                }
            }
        }
        self.remove_begun(gone).await?;
        Ok(sessions)
    }

    /// Removes the entries whose session is gone from the index. A session that has another user now is not gone.
    pub(super) async fn forget_begun(&self, stale: &[Entry]) -> Result<(), StoreError> {
        if !self.keeps_begun || stale.is_empty() {
            return Ok(());
        }
        let batches = stale.iter().map(|entry| {
            let [key, route] = self.places(entry.id);
            let mut exists = ::redis::cmd("EXISTS");
            exists.arg(&key);
            Batch {
                route,
                commands: vec![exists],
            }
        });
        let replies = self.link.send(batches.collect()).await?;
        let mut gone = Vec::new();
        for (entry, reply) in stale.iter().zip(&replies) {
            if number(reply)? == 0 {
                gone.push(entry.id);
            }
        }
        self.remove_begun(gone).await
    }

    async fn remove_begun(&self, gone: Vec<SessionId>) -> Result<(), StoreError> {
        if gone.is_empty() {
            return Ok(());
        }
        let batches = gone.iter().map(|id| {
            let route = self.keys.begun(id.as_bytes()[0]);
            Batch {
                commands: vec![remove(&route, &[id.as_bytes().to_vec()])],
                route,
            }
        });
        self.link.send(batches.collect()).await.map(drop)
    }
}
