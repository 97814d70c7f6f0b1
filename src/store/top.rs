//! The first sessions of a list in an order without an index: [`Top`].

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Record, token::SessionId},
    store::{Listed, Order, Position, Query, StorePage},
};

/// The sort key of a list. The greatest comes first.
type Key = (Timestamp, SessionId);

/// Collects the first page of a list from sessions that come in any order. It never holds more than
/// that page.
pub(super) struct Top<'a> {
    query: &'a Query,
    before: Option<Key>,
    limit: usize,
    /// One more than the limit, to find out whether there is another page.
    sessions: BTreeMap<Reverse<Key>, Listed>,
    /// The last of them, once there are enough. Sessions after it are not on the page. It is a field of its own, because
    /// each of very many sessions is compared with it.
    floor: Option<Key>,
}

impl<'a> Top<'a> {
    /// The page of at most `limit` sessions after the position.
    pub(super) fn new(
        query: &'a Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let before = match (query.order(), after) {
            (Order::Id, _) => return Err(query.unknown_order()),
            (_, None) => None,
            (Order::NewestFirst, Some(after)) => Some(after.begun()?),
            (Order::LastSeenFirst, Some(_)) => return Err(Position::of_no_list()),
        };
        let limit = match query.order() {
            Order::LastSeenFirst => limit.clamp(1, Order::LAST_SEEN_LIMIT),
            _ => limit.max(1),
        };
        Ok(Self {
            query,
            before,
            limit,
            sessions: BTreeMap::new(),
            floor: None,
        })
    }

    /// Adds the session if it is on the page according to the sessions seen so far.
    pub(super) fn offer(
        &mut self,
        id: SessionId,
        record: &Record,
        activity: Activity,
        listed: impl FnOnce() -> Listed,
    ) {
        let time = match self.query.order() {
            Order::LastSeenFirst => activity.last_seen_at,
            _ => record.begun_at(),
        };
        let key = (time, id);
        let is_beyond = self.floor.is_some_and(|floor| key <= floor);
        if is_beyond || self.before.is_some_and(|before| key >= before) {
            return;
        }
        if self.query.unordered().admits(record, activity) {
            self.sessions.insert(Reverse(key), listed());
            if self.sessions.len() > self.limit + 1 {
                self.sessions.pop_last();
            }
            if self.sessions.len() > self.limit {
                let last = self.sessions.last_key_value();
                self.floor = last.map(|(Reverse(key), _)| *key);
            }
        }
    }

    pub(super) fn into_page(mut self) -> StorePage {
        let is_end = self.sessions.len() <= self.limit;
        if !is_end {
            self.sessions.pop_last();
        }
        let last = self.sessions.last_key_value().map(|(key, _)| key.0);
        // After an empty page, the next one begins at the same position.
        let last = last.or(self.before);
        let next = last.filter(|_| !is_end && self.query.order() == Order::NewestFirst);
        StorePage::new(
            self.sessions.into_values().collect(),
            next.map(|(begun_at, id)| Position::after_begun(begun_at, id)),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::record::{token::Verifier, version::Version};

    proptest! {
        #[test]
        fn the_pages_are_the_sorted_list_whatever_order_the_sessions_come_in(
            times in prop::collection::vec(0_u64..20, 0..60),
            limit in 1_usize..12,
        ) {
            let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
            let listed = |(number, time): (usize, &u64)| {
                let begun_at = Timestamp::from_millis(*time);
                let record = Arc::new(Record::new(verifier, Version::first(1), begun_at));
                let activity = Activity { last_seen_at: begun_at, expires_at: None };
                let id = Uuid::from_u128(number as u128 * 7919 % 61).into();
                Listed::new(id, record, activity)
            };
            let sessions: Vec<Listed> = times.iter().enumerate().map(listed).collect();
            let mut expected: Vec<Key> =
                sessions.iter().map(|it| (it.record.begun_at(), it.id)).collect();
            expected.sort_unstable_by(|a, b| b.cmp(a));

            let query = Query::default().newest_first();
            let (mut came, mut after) = (Vec::new(), None);
            loop {
                let mut top = Top::new(&query, after.as_ref(), limit).unwrap();
                for session in &sessions {
                    top.offer(session.id, &session.record, session.activity, || session.clone());
                }
                let page = top.into_page();
                prop_assert!(page.sessions.len() <= limit);
                came.extend(page.sessions.iter().map(|it| (it.record.begun_at(), it.id)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(came, expected);
        }
    }
}
