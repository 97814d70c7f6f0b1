//! The conditions and the order of a list, a count or a revocation: [`SessionFilter`].

use std::{
    fmt,
    ops::{Bound, RangeBounds},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use crate::{clock::Timestamp, record::user::UserId, store::Query};

/// The sessions that [`Sessions`](crate::Sessions) lists, counts or ends, and the order of a list.
///
/// The default matches all sessions, ordered by id. A session must match every condition that is set.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cloakroom::SessionFilter;
///
/// let filter = SessionFilter::default()
///     .user("ann")
///     .idle_for(Duration::from_secs(600));
///
/// let hour_ago = SystemTime::now() - Duration::from_secs(3600);
/// let new_visitors = SessionFilter::default()
///     .anonymous()
///     .begun_within(hour_ago..)
///     .newest_first();
/// ```
///
/// # What it costs
///
/// - **SQL stores** use an index for lists by id, for the newest sessions, and for a user. For other
///   conditions they look at 2,000 sessions at most in each call, so a page may have fewer sessions than
///   its limit.
/// - **A memory store** looks at all sessions to find the newest: about 40 ms for a million, in slices
///   that let other tasks run.
/// - **Redis** needs [`index_begun`](crate::store::RedisStore::index_begun) to list the newest sessions.
/// - **A file store** reads every session to find the newest.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    user: Option<UserId>,
    is_logged_in: Option<bool>,
    idle_for: Option<Duration>,
    created_before: Option<Timestamp>,
    begun_since: Option<Timestamp>,
    begun_before: Option<Timestamp>,
    is_newest_first: bool,
}

impl SessionFilter {
    /// Only sessions of this user, compared byte by byte.
    #[must_use]
    pub fn user(self, user: impl Into<UserId>) -> Self {
        let user = Some(user.into());
        Self { user, ..self }
    }

    /// Only sessions with a user.
    #[must_use]
    pub fn logged_in(self) -> Self {
        let is_logged_in = Some(true);
        Self {
            is_logged_in,
            ..self
        }
    }

    /// Only sessions of visitors who have not logged in.
    #[must_use]
    pub fn anonymous(self) -> Self {
        let is_logged_in = Some(false);
        Self {
            is_logged_in,
            ..self
        }
    }

    /// Only sessions that no request has used for longer than this, in whole milliseconds.
    ///
    /// The stored time of the last use may be too early by up to the layer's
    /// [`touch_after`](crate::SessionLayer::touch_after).
    #[must_use]
    pub fn idle_for(self, longer_than: Duration) -> Self {
        let idle_for = Some(longer_than);
        Self { idle_for, ..self }
    }

    /// Only sessions that were created before this moment, in whole milliseconds. Log-ins and cycles do
    /// not change that time.
    #[must_use]
    pub fn created_before(self, moment: SystemTime) -> Self {
        let created_before = Some(moment.into());
        Self {
            created_before,
            ..self
        }
    }

    /// Only sessions that got their id within this time, in whole milliseconds. A session gets an id by
    /// its creation, a log-in or a cycle.
    ///
    /// It takes any range: `from..to`, `from..`, `..to`.
    #[must_use]
    pub fn begun_within(self, moments: impl RangeBounds<SystemTime>) -> Self {
        let next = |moment: SystemTime| Timestamp::from(moment).saturating_add(MILLISECOND);
        let begun_since = match moments.start_bound() {
            Bound::Unbounded => None,
            Bound::Included(moment) => Some((*moment).into()),
            Bound::Excluded(moment) => Some(next(*moment)),
        };
        let begun_before = match moments.end_bound() {
            Bound::Unbounded => None,
            Bound::Excluded(moment) => Some((*moment).into()),
            Bound::Included(moment) => Some(next(*moment)),
        };
        Self {
            begun_since,
            begun_before,
            ..self
        }
    }

    /// Lists the newest sessions first, instead of by id. The newest session is the one that got its id
    /// last.
    ///
    /// That time does not change while a session has the id, so such a list is exact from page to page.
    #[must_use]
    pub fn newest_first(self) -> Self {
        Self {
            is_newest_first: true,
            ..self
        }
    }

    /// Whether it has no condition, so that every session matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.at(Timestamp::EPOCH).unordered().is_everything()
    }

    /// What the store is asked for at `now`.
    pub(crate) fn at(&self, now: Timestamp) -> Query {
        let mut query = Query::default();
        if let Some(user) = &self.user {
            query = query.with_user(user);
        }
        if let Some(is_logged_in) = self.is_logged_in {
            query = query.with_logged_in(is_logged_in);
        }
        if let Some(idle) = self.idle_for {
            query = query.with_last_seen_before(now.saturating_sub(idle));
        }
        if let Some(moment) = self.created_before {
            query = query.with_created_before(moment);
        }
        if let Some(moment) = self.begun_since {
            query = query.with_begun_since(moment);
        }
        if let Some(moment) = self.begun_before {
            query = query.with_begun_before(moment);
        }
        if self.is_newest_first {
            query = query.newest_first();
        }
        query
    }

    /// Of what a cursor belongs to.
    pub(crate) fn fingerprint(&self) -> [u8; 7] {
        let mut hash = Sha256::new();
        hash.update(b"cloakroom cursor 2");
        let times = [self.created_before, self.begun_since, self.begun_before];
        let times = times.map(|time| time.map(|time| u128::from(time.as_millis())));
        let numbers = [
            self.idle_for.map(|idle| idle.as_millis()),
            self.is_logged_in.map(u128::from),
            self.is_newest_first.then_some(0),
        ];
        for number in times.into_iter().chain(numbers) {
            hash.update([u8::from(number.is_some())]);
            hash.update(number.unwrap_or_default().to_be_bytes());
        }
        hash.update([u8::from(self.user.is_some())]);
        hash.update(self.user.as_ref().map_or("", UserId::as_str));
        let hash = hash.finalize();
        std::array::from_fn(|index| hash[index])
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Does not show the user.
impl fmt::Debug for SessionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFilter")
            .field("has_user", &self.user.is_some())
            .field("is_logged_in", &self.is_logged_in)
            .field("idle_for", &self.idle_for)
            .field("created_before", &self.created_before)
            .field("begun_since", &self.begun_since)
            .field("begun_before", &self.begun_before)
            .field("is_newest_first", &self.is_newest_first)
            .finish()
    }
}
