//! A page of a store's list: [`StorePage`], the [`Listed`] sessions in it, and the [`Position`] after it.

use std::{fmt, sync::Arc};

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Record, token::SessionId},
};

/// A session in a [`StorePage`].
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Activity, Record, SessionId, store::{Listed, StoreError}};
///
/// /// A row of a database.
/// fn listed(id: SessionId, record: &[u8], activity: Activity) -> Result<Listed, StoreError> {
///     Ok(Listed::new(id, Arc::new(Record::from_bytes(record)?), activity))
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The session's id.
    pub id: SessionId,
    /// The stored record.
    pub record: Arc<Record>,
    /// When it was last used, and when it expires.
    pub activity: Activity,
}

impl Listed {
    /// The session `id` with its record and activity.
    #[must_use]
    pub fn new(id: SessionId, record: Arc<Record>, activity: Activity) -> Self {
        Self {
            id,
            record,
            activity,
        }
    }
}

/// A page of a list that a store returns. [`Query`](super::Query#for-stores) has an example.
///
/// ```
/// use cloakroom::store::{Query, SessionStore, StoreError};
///
/// /// Reads a whole list, page by page.
/// async fn ids(store: &impl SessionStore) -> Result<Vec<cloakroom::SessionId>, StoreError> {
///     let (query, mut next, mut ids) = (Query::default(), None, Vec::new());
///     loop {
///         let page = store.list(&query, next.as_ref(), 100).await?;
///         ids.extend(page.sessions.iter().map(|listed| listed.id));
///         next = page.next;
///         if next.is_none() {
///             return Ok(ids);
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StorePage {
    /// The sessions, in the order of the query.
    pub sessions: Vec<Listed>,
    /// Where the next page begins. `None` at the end of the list.
    pub next: Option<Position>,
    /// In a list by id, how many sessions the store has left out of the page because a newer version of the crate wrote
    /// them: decoding them was an [`Incompatible`](StoreErrorKind::Incompatible) error. They may have expired, and a store
    /// need not check other conditions of the query than the user.
    pub incompatible: u64,
}

impl StorePage {
    /// Counts a session that the store leaves out of the page, because decoding its record was this `error`.
    ///
    /// ```
    /// use cloakroom::{Record, store::StorePage};
    ///
    /// let mut page = StorePage::default();
    /// if let Err(error) = Record::from_bytes(br#"{"format":99}"#) {
    ///     page.leave_out(&error);
    /// }
    /// assert_eq!(page.incompatible, 1);
    /// ```
    pub fn leave_out(&mut self, error: &StoreError) {
        self.incompatible += u64::from(error.kind() == StoreErrorKind::Incompatible);
    }

    /// A page of these sessions. The next one begins at `next`.
    #[must_use]
    pub fn new(sessions: Vec<Listed>, next: Option<Position>) -> Self {
        Self {
            sessions,
            next,
            incompatible: 0,
        }
    }
}

/// Where a page of a list ends and the next begins.
///
/// Only the store that returned a position knows the meaning of its bytes. Clients see the bytes in the text of a
/// [`Cursor`](crate::Cursor), so a position must not contain a secret, and a store must check positions that it
/// receives.
///
/// ```
/// use cloakroom::store::Position;
///
/// // A store of its own order may use any bytes.
/// let position = Position::new(*b"row 4711").expect("short enough");
/// assert_eq!(position.as_bytes(), b"row 4711");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position(Box<[u8]>);

impl Position {
    /// The greatest length of a position in bytes.
    pub const MAX_BYTES: usize = 512;

    /// A position with these bytes. `None` if there are more than [`MAX_BYTES`](Self::MAX_BYTES).
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= Self::MAX_BYTES).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The position after this id, in a list that is ordered by id.
    #[must_use]
    pub fn after(id: SessionId) -> Self {
        Self(Box::new(*id.as_bytes()))
    }

    /// The position after the session that got this id at `begun_at`, in a list of the newest first.
    #[must_use]
    pub fn after_begun(begun_at: Timestamp, id: SessionId) -> Self {
        let begun_at = begun_at.as_millis().to_be_bytes();
        Self([&begun_at[..], id.as_bytes()].concat().into())
    }

    /// The id that was given to [`after`](Self::after).
    ///
    /// # Errors
    ///
    /// `InvalidPosition` if the bytes are not an id.
    pub fn id(&self) -> Result<SessionId, StoreError> {
        let bytes: &[u8; 16] = (*self.0)
            .try_into()
            .map_err(|_| invalid("the position is not an id"))?;
        Ok(Uuid::from_bytes(*bytes).into())
    }

    /// The error for a position in a list that has no further pages.
    pub(crate) fn of_no_list() -> StoreError {
        invalid("this list has a single page")
    }

    /// The time and the id that were given to [`after_begun`](Self::after_begun).
    ///
    /// # Errors
    ///
    /// `InvalidPosition` if the bytes are not a time and an id.
    pub fn begun(&self) -> Result<(Timestamp, SessionId), StoreError> {
        let parts = self.0.split_first_chunk::<8>();
        let parts = parts.and_then(|(begun_at, id)| {
            let begun_at = Timestamp::from_millis(u64::from_be_bytes(*begun_at));
            let id: &[u8; 16] = id.try_into().ok()?;
            Some((begun_at, Uuid::from_bytes(*id).into()))
        });
        parts.ok_or_else(|| invalid("the position is not a time and an id"))
    }
}

fn invalid(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::InvalidPosition, what)
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Position")
            .field("bytes", &self.0.len())
            .finish_non_exhaustive()
    }
}
