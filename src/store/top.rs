//! The first sessions of a list whose order its store has no index for: [`Top`].

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Record, token::SessionId},
    store::{Listed, Order, Position, Query, StorePage},
};

/// What a list is ordered by, the greatest first.
type Key = (Timestamp, SessionId);

/// Collects the first page of a list from sessions that come in any order. It never holds more than
/// that page.
pub(super) struct Top<'a> {
    query: &'a Query,
    before: Option<Key>,
    limit: usize,
    /// One more than the limit, which tells whether the list goes on.
    sessions: BTreeMap<Reverse<Key>, Listed>,
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
            (Order::LastSeenFirst, Some(after)) => return Err(after.of_no_list()),
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
        })
    }

    /// Takes the session if it is on the page as far as is known.
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
        let is_full = self.sessions.len() > self.limit;
        let last = self.sessions.last_key_value();
        let is_beyond = is_full && last.is_some_and(|(Reverse(last), _)| key < *last);
        if is_beyond || self.before.is_some_and(|before| key >= before) {
            return;
        }
        if self.query.unordered().admits(record, activity) {
            self.sessions.insert(Reverse(key), listed());
            if is_full {
                self.sessions.pop_last();
            }
        }
    }

    pub(super) fn into_page(mut self) -> StorePage {
        let is_end = self.sessions.len() <= self.limit;
        if !is_end {
            self.sessions.pop_last();
        }
        let last = self.sessions.last_key_value().map(|(key, _)| key.0);
        // A page of none goes on where it began.
        let last = last.or(self.before);
        let next = last.filter(|_| !is_end && self.query.order() == Order::NewestFirst);
        StorePage::new(
            self.sessions.into_values().collect(),
            next.map(|(begun_at, id)| Position::after_begun(begun_at, id)),
        )
    }
}
