//! The conditions and the order of a store's list or count: [`Query`], and the [`Selection`] in it.

use std::fmt;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Record, user::UserId},
};

/// The conditions and the order of a store's list or count.
///
/// The default matches all sessions, ordered by id.
///
/// # For stores
///
/// Later versions may add conditions and orders, which an older store must reject. Read the query with
/// [`ordered_by_id`](Self::ordered_by_id) in `list`, which rejects other orders, and with
/// [`unordered`](Self::unordered) in `count`. Both return the [`Selection`]. If your store knows more orders, match on
/// [`order`](Self::order) first.
///
/// ```
/// use cloakroom::store::{Listed, Position, Query, StoreError, StorePage};
///
/// fn list(rows: &[Listed], query: &Query, after: Option<&Position>, limit: usize) -> Result<StorePage, StoreError> {
///     let selection = query.ordered_by_id()?;
///     let after = after.map(Position::id).transpose()?;
///     let mut found: Vec<Listed> = rows
///         .iter()
///         .filter(|row| after.is_none_or(|after| row.id > after))
///         .filter(|row| selection.admits(&row.record, row.activity))
///         .cloned()
///         .collect();
///     found.sort_by_key(|row| row.id);
///     let is_last = found.len() <= limit;
///     found.truncate(limit);
///     let next = found.last().filter(|_| !is_last).map(|row| Position::after(row.id));
///     Ok(StorePage::new(found, next))
/// }
/// # assert!(list(&[], &Query::default(), None, 10)?.sessions.is_empty());
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    selection: Selection,
    order: Order,
    count_limit: Option<u64>,
}

/// The order of a list.
///
/// ```
/// use cloakroom::store::{Order, Query, Selection, StoreError};
///
/// fn statement(query: &Query) -> Result<&'static str, StoreError> {
///     match query.order() {
///         Order::Id => Ok("SELECT * FROM sessions ORDER BY id"),
///         Order::NewestFirst => Ok("SELECT * FROM sessions ORDER BY begun_at DESC, id DESC"),
///         _ => Err(query.unknown_order()),
///     }
/// }
/// # assert!(statement(&Query::default().newest_first()).is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// By the bytes of the ids.
    #[default]
    Id,
    /// By [`Record::begun_at`], the latest first. Sessions with the same time are ordered by id, the
    /// greatest first. Neither changes, so such a list is exact from page to page.
    NewestFirst,
    /// By [`Activity::last_seen_at`], the latest first. Sessions with the same time are ordered by id,
    /// the greatest first. The times change with each request, so such a list is a single page of at most
    /// [`LAST_SEEN_LIMIT`](Self::LAST_SEEN_LIMIT) sessions.
    LastSeenFirst,
}

impl Order {
    /// How many sessions a list in the order [`LastSeenFirst`](Self::LastSeenFirst) has at most.
    pub const LAST_SEEN_LIMIT: usize = 1000;
}

impl Query {
    /// Only the sessions of this user, compared byte by byte.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<UserId>) -> Self {
        self.selection.user = Some(user.into());
        self
    }

    /// Only the sessions that were last used before this time.
    #[must_use]
    pub fn with_last_seen_before(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.last_seen_before = Some(moment.into());
        self
    }

    /// Only the sessions that were created before this time.
    #[must_use]
    pub fn with_created_before(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.created_before = Some(moment.into());
        self
    }

    /// Only the sessions that got their id at this time or later.
    #[must_use]
    pub fn with_begun_since(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.begun_since = Some(moment.into());
        self
    }

    /// Only the sessions that got their id before this time.
    #[must_use]
    pub fn with_begun_before(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.begun_before = Some(moment.into());
        self
    }

    /// Only the sessions with a user, or only those without.
    #[must_use]
    pub fn with_logged_in(mut self, is_logged_in: bool) -> Self {
        self.selection.is_logged_in = Some(is_logged_in);
        self
    }

    /// In the order [`NewestFirst`](Order::NewestFirst).
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.order = Order::NewestFirst;
        self
    }

    /// In the order [`Id`](Order::Id), which is the default.
    #[must_use]
    pub fn by_id(mut self) -> Self {
        self.order = Order::Id;
        self
    }

    /// In the order [`LastSeenFirst`](Order::LastSeenFirst).
    #[must_use]
    pub fn last_seen_first(mut self) -> Self {
        self.order = Order::LastSeenFirst;
        self
    }

    /// Lets `count` stop at this number.
    #[must_use]
    pub fn counting_up_to(mut self, most: u64) -> Self {
        self.count_limit = Some(most);
        self
    }

    /// The order of the list.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// The conditions of a query that is ordered by id, byte by byte.
    ///
    /// # Errors
    ///
    /// `Unsupported` for any other order.
    pub fn ordered_by_id(&self) -> Result<&Selection, StoreError> {
        match self.order {
            Order::Id => Ok(&self.selection),
            Order::NewestFirst | Order::LastSeenFirst => Err(self.unknown_order()),
        }
    }

    /// The error of a store that does not know the [`order`](Self::order).
    #[must_use]
    pub fn unknown_order(&self) -> StoreError {
        StoreError::unsupported(match self.order {
            Order::Id => "list sessions by id",
            Order::NewestFirst => "list the newest sessions first",
            Order::LastSeenFirst => "list the sessions last seen",
        })
    }

    /// The number at which a count may stop. `None`: it counts all sessions.
    #[must_use]
    pub fn count_limit(&self) -> Option<u64> {
        self.count_limit
    }

    /// The conditions of a query whose order does not matter.
    #[must_use]
    pub fn unordered(&self) -> &Selection {
        &self.selection
    }
}

/// The conditions of a [`Query`].
///
/// A store can call [`admits`](Self::admits) for each session, which checks every condition, or translate the
/// [`conditions`](Self::conditions) for its backend. [`Query`] and [`Condition`] have more examples.
///
/// ```
/// use cloakroom::store::{Listed, Selection};
///
/// fn count(sessions: &[Listed], selection: &Selection) -> usize {
///     sessions.iter().filter(|listed| selection.admits(&listed.record, listed.activity)).count()
/// }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    user: Option<UserId>,
    is_logged_in: Option<bool>,
    last_seen_before: Option<Timestamp>,
    created_before: Option<Timestamp>,
    begun_since: Option<Timestamp>,
    begun_before: Option<Timestamp>,
}

/// A condition of a [`Selection`].
///
/// A store that translates conditions returns [`Unsupported`](StoreError::unsupported) for an unknown one.
///
/// ```
/// use cloakroom::store::{Condition, Selection, StoreError};
///
/// /// The `WHERE` of a statement.
/// fn condition(selection: &Selection) -> Result<String, StoreError> {
///     let mut sql = "TRUE".to_owned();
///     for condition in selection.conditions() {
///         sql += match condition {
///             Condition::User(_) => " AND user_id = ?",
///             Condition::LastSeenBefore(_) => " AND last_seen_at < ?",
///             _ => return Err(StoreError::unsupported("this condition")),
///         };
///     }
///     Ok(sql)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Condition<'a> {
    /// The session belongs to this user, compared byte by byte.
    User(&'a str),
    /// The session was last used before this time.
    LastSeenBefore(Timestamp),
    /// The session was created before this time.
    CreatedBefore(Timestamp),
    /// The session got its id at this time or later.
    BegunSince(Timestamp),
    /// The session got its id before this time.
    BegunBefore(Timestamp),
    /// Whether the session has a user.
    LoggedIn(bool),
}

impl Selection {
    /// Whether a session with this record and activity matches.
    #[must_use]
    pub fn admits(&self, record: &Record, activity: Activity) -> bool {
        // Not by way of `conditions`, which costs more than the rest where a million sessions are looked at.
        self.last_seen_before
            .is_none_or(|moment| activity.last_seen_at < moment)
            && self
                .created_before
                .is_none_or(|moment| record.created_at() < moment)
            && (self.begun_since.is_none() && self.begun_before.is_none()
                || self.admits_begun(record.begun_at()))
            && self
                .is_logged_in
                .is_none_or(|is_logged_in| record.user().is_some() == is_logged_in)
            && self.user().is_none_or(|user| record.user() == Some(user))
    }

    fn admits_begun(&self, begun_at: Timestamp) -> bool {
        self.begun_since.is_none_or(|moment| begun_at >= moment)
            && self.begun_before.is_none_or(|moment| begun_at < moment)
    }

    /// Whether [`admits`](Self::admits) looks at the record, and not only at the activity.
    pub(crate) fn reads_records(&self) -> bool {
        self.conditions()
            .any(|condition| !matches!(condition, Condition::LastSeenBefore(_)))
    }

    /// The conditions. A session must meet all of them.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        let user = self.user().map(Condition::User);
        let seen = self.last_seen_before.map(Condition::LastSeenBefore);
        let created = self.created_before.map(Condition::CreatedBefore);
        let since = self.begun_since.map(Condition::BegunSince);
        let before = self.begun_before.map(Condition::BegunBefore);
        let logged_in = self.is_logged_in.map(Condition::LoggedIn);
        let conditions = [user, logged_in, seen, created, since, before];
        conditions.into_iter().flatten()
    }

    /// The user, if the selection has such a condition. Use it to search an index. The sessions found there must
    /// still be [admitted](Self::admits).
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(UserId::as_str)
    }

    /// The same conditions without those about the time when a session got its id.
    pub(crate) fn whenever_begun(&self) -> Self {
        Self {
            begun_since: None,
            begun_before: None,
            ..self.clone()
        }
    }

    /// Whether all sessions match.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.conditions().next().is_none()
    }
}

/// Does not show the user.
impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.conditions()).finish()
    }
}

/// Does not show the user.
impl fmt::Debug for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(_) => f.write_str("User"),
            Self::LastSeenBefore(moment) => f.debug_tuple("LastSeenBefore").field(moment).finish(),
            Self::CreatedBefore(moment) => f.debug_tuple("CreatedBefore").field(moment).finish(),
            Self::BegunSince(moment) => f.debug_tuple("BegunSince").field(moment).finish(),
            Self::BegunBefore(moment) => f.debug_tuple("BegunBefore").field(moment).finish(),
            Self::LoggedIn(is_so) => f.debug_tuple("LoggedIn").field(is_so).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Login, token::Verifier, version::Version};

    fn holds(condition: Condition<'_>, record: &Record, activity: Activity) -> bool {
        match condition {
            Condition::User(user) => record.user() == Some(user),
            Condition::LastSeenBefore(moment) => activity.last_seen_at < moment,
            Condition::CreatedBefore(moment) => record.created_at() < moment,
            Condition::BegunSince(moment) => record.begun_at() >= moment,
            Condition::BegunBefore(moment) => record.begun_at() < moment,
            Condition::LoggedIn(is_logged_in) => record.user().is_some() == is_logged_in,
        }
    }

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of((0_u64..4).prop_map(Timestamp::from_millis))
    }

    fn user() -> impl Strategy<Value = Option<UserId>> {
        prop::option::of(prop_oneof![Just(UserId::from("ann")), Just("bob".into())])
    }

    proptest! {
        #[test]
        fn a_selection_admits_what_meets_each_of_its_conditions(
            (user, is_logged_in) in (user(), prop::option::of(any::<bool>())),
            (last_seen_before, created_before) in (time(), time()),
            (begun_since, begun_before) in (time(), time()),
            (whose, created, logged_in, seen) in (user(), 0_u64..4, 0_u64..4, 0_u64..4),
        ) {
            let selection = Selection {
                user, is_logged_in, last_seen_before, created_before, begun_since, begun_before,
            };
            let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
            let mut record =
                Record::new(verifier, Version::first(1), Timestamp::from_millis(created));
            if let Some(user) = &whose {
                let at = Timestamp::from_millis(logged_in);
                record = record.with_login(Some(Login { user: user.as_str().into(), at }));
            }
            let activity =
                Activity { last_seen_at: Timestamp::from_millis(seen), expires_at: None };
            let meets_all = selection.conditions().all(|it| holds(it, &record, activity));
            prop_assert_eq!(selection.admits(&record, activity), meets_all);
        }
    }
}
