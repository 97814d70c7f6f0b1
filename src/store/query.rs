//! Which sessions a store lists or counts, and in which order: [`Query`], and the [`Selection`] in it.

use std::fmt;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Record, user::UserId},
};

/// Which sessions a store lists or counts, and in which order.
///
/// The default matches all sessions, ordered by id.
///
/// # For stores
///
/// Later versions may add conditions and orders, which an older store must refuse. So a store reads the query
/// through methods that refuse what it does not know: [`ordered_by_id`](Self::ordered_by_id) in `list` and
/// [`unordered`](Self::unordered) in `count`. Both return the [`Selection`]. A store
/// that knows more orders asks for the [`order`](Self::order) first.
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

/// In which order a list has its sessions.
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
    /// By [`Record::begun_at`], the latest first; where that is equal, by id, the greatest first.
    /// Neither changes, so such a list is exact from page to page.
    NewestFirst,
    /// By [`Activity::last_seen_at`], the latest first; where that is equal, by id, the greatest
    /// first. This changes all the time, so such a list is one page of at most
    /// [`LAST_SEEN_LIMIT`](Self::LAST_SEEN_LIMIT) sessions, and goes on nowhere.
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

    /// Only the sessions that came to their id at this moment or later.
    #[must_use]
    pub fn with_begun_since(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.begun_since = Some(moment.into());
        self
    }

    /// Only the sessions that came to their id before this moment.
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

    /// `count` may stop here: the caller does not care how many more there are.
    #[must_use]
    pub fn counting_up_to(mut self, most: u64) -> Self {
        self.count_limit = Some(most);
        self
    }

    /// The order that a list has to have.
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

    /// Where a count may stop; `None`: it counts all.
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
/// A store can decide with [`admits`](Self::admits), which knows every condition, or translate the
/// [`conditions`](Self::conditions) for its backend. [`Query`] has an example.
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
/// A store that translates conditions returns [`Unsupported`](StoreError::unsupported) for one that it does not
/// know.
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
    /// The session came to its id at this moment or later.
    BegunSince(Timestamp),
    /// The session came to its id before this moment.
    BegunBefore(Timestamp),
    /// Whether the session has a user.
    LoggedIn(bool),
}

impl Selection {
    /// Whether a session with this record and activity matches.
    #[must_use]
    pub fn admits(&self, record: &Record, activity: Activity) -> bool {
        self.conditions().all(|condition| match condition {
            Condition::User(user) => record.user() == Some(user),
            Condition::LastSeenBefore(moment) => activity.last_seen_at < moment,
            Condition::CreatedBefore(moment) => record.created_at() < moment,
            Condition::BegunSince(moment) => record.begun_at() >= moment,
            Condition::BegunBefore(moment) => record.begun_at() < moment,
            Condition::LoggedIn(is_logged_in) => record.user().is_some() == is_logged_in,
        })
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

    /// The user whose sessions match, if the selection has such a condition. Use it to look into an index. The
    /// sessions found there must still be [admitted](Self::admits).
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(UserId::as_str)
    }

    /// The same, whenever the sessions came to their ids.
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
