//! Which sessions a store lists or counts: [`Query`], and the [`Selection`] in it.

use std::fmt;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Record},
};

/// Which sessions a store lists or counts, and in which order.
///
/// The default matches all sessions, ordered by id.
///
/// # For stores
///
/// Later versions may add conditions and orders, which an older store must refuse. So a store reads the query
/// through methods that refuse what it does not know: [`ordered_by_id`](Self::ordered_by_id) in `list` and
/// [`unordered`](Self::unordered) in `count`. Both return the [`Selection`].
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
}

impl Query {
    /// Only the sessions of this user, compared byte by byte.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.selection.user = Some(user.into());
        self
    }

    /// Only the sessions that were last used before this time.
    #[must_use]
    pub fn with_last_seen_before(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.last_seen_before = Some(moment.into());
        self
    }

    /// Only the sessions that began before this time.
    #[must_use]
    pub fn with_created_before(mut self, moment: impl Into<Timestamp>) -> Self {
        self.selection.created_before = Some(moment.into());
        self
    }

    /// The conditions of a query that is ordered by id, byte by byte.
    ///
    /// # Errors
    ///
    /// `Unsupported` for any other order. There is none yet.
    pub fn ordered_by_id(&self) -> Result<&Selection, StoreError> {
        Ok(&self.selection)
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
    user: Option<String>,
    last_seen_before: Option<Timestamp>,
    created_before: Option<Timestamp>,
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
    /// The session began before this time.
    CreatedBefore(Timestamp),
}

impl Selection {
    /// Whether a session with this record and activity matches.
    #[must_use]
    pub fn admits(&self, record: &Record, activity: Activity) -> bool {
        self.conditions().all(|condition| match condition {
            Condition::User(user) => record.user() == Some(user),
            Condition::LastSeenBefore(moment) => activity.last_seen_at < moment,
            Condition::CreatedBefore(moment) => record.created_at() < moment,
        })
    }

    /// The conditions. A session must meet all of them.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        let user = self.user.as_deref().map(Condition::User);
        let seen = self.last_seen_before.map(Condition::LastSeenBefore);
        let created = self.created_before.map(Condition::CreatedBefore);
        [user, seen, created].into_iter().flatten()
    }

    /// The user whose sessions match, if the selection has such a condition. Use it to look into an index. The
    /// sessions found there must still be [admitted](Self::admits).
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
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
        }
    }
}
