//! Lists of sessions, a page at a time: [`SessionFilter`], [`SessionPage`], [`Cursor`].

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Timestamp,
    error::{Error, ErrorKind},
    observe::summary::SessionSummary,
    record::user::UserId,
    store::{Position, Query},
};

/// Which sessions [`Sessions::list`](crate::Sessions::list) returns. The default matches all of them.
///
/// A session must match every condition that is set.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::SessionFilter;
///
/// let filter = SessionFilter::default()
///     .user("ann")
///     .idle_for(Duration::from_secs(600));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    user: Option<UserId>,
    idle_for: Option<Duration>,
    created_before: Option<Timestamp>,
}

impl SessionFilter {
    /// Only sessions of this user, compared byte by byte.
    #[must_use]
    pub fn user(self, user: impl Into<UserId>) -> Self {
        let user = Some(user.into());
        Self { user, ..self }
    }

    /// Only sessions that no request has used for longer than this, in whole milliseconds.
    ///
    /// A session's last use may be up to the layer's
    /// [`touch_after`](crate::SessionLayer::touch_after) later than the store knows.
    #[must_use]
    pub fn idle_for(self, longer_than: Duration) -> Self {
        let idle_for = Some(longer_than);
        Self { idle_for, ..self }
    }

    /// Only sessions that were created before this moment, in whole milliseconds.
    #[must_use]
    pub fn created_before(self, moment: SystemTime) -> Self {
        let created_before = Some(moment.into());
        Self {
            created_before,
            ..self
        }
    }

    /// What the store is asked for at `now`.
    pub(crate) fn at(&self, now: Timestamp) -> Query {
        let mut query = Query::default();
        if let Some(user) = &self.user {
            query = query.with_user(user);
        }
        if let Some(idle) = self.idle_for {
            query = query.with_last_seen_before(now.saturating_sub(idle));
        }
        if let Some(moment) = self.created_before {
            query = query.with_created_before(moment);
        }
        query
    }

    fn fingerprint(&self) -> [u8; 7] {
        let number = |number: Option<u128>| {
            let mut bytes = [u8::from(number.is_some()); 17];
            bytes[1..].copy_from_slice(&number.unwrap_or_default().to_be_bytes());
            bytes
        };
        let created_before = self.created_before.map(Timestamp::as_millis);
        let mut hash = Sha256::new();
        hash.update(b"cloakroom cursor 1");
        hash.update(number(self.idle_for.map(|idle| idle.as_millis())));
        hash.update(number(created_before.map(u128::from)));
        hash.update([u8::from(self.user.is_some())]);
        hash.update(self.user.as_ref().map_or("", UserId::as_str));
        std::array::from_fn({
            let hash = hash.finalize();
            move |index| hash[index]
        })
    }
}

/// Does not show the user.
impl fmt::Debug for SessionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFilter")
            .field("has_user", &self.user.is_some())
            .field("idle_for", &self.idle_for)
            .field("created_before", &self.created_before)
            .finish()
    }
}

/// A page of a list of sessions. [`Sessions::list`](crate::Sessions::list) returns it.
///
/// ```
/// use cloakroom::{Cursor, Error, SessionFilter, SessionPage, Sessions};
///
/// /// A user's devices: the first page, and the cursor for a link to the next one.
/// async fn devices(sessions: &Sessions, user: &str) -> Result<(SessionPage, String), Error> {
///     let filter = SessionFilter::default().user(user);
///     let page = sessions.list(&filter, None, 20).await?;
///     let next = page.next.as_ref().map_or_else(String::new, Cursor::to_string);
///     Ok((page, next))
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, ordered by id. There may be none although there is a `next` page.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page begins. `None` if this is the last page.
    pub next: Option<Cursor>,
}

/// Where a page of a list begins, for [`Sessions::list`](crate::Sessions::list).
///
/// It belongs to the filter of its list. As a string (`Display`, `FromStr`) it is fit for a URL. It
/// opens no session.
///
/// ```
/// use cloakroom::{Cursor, ErrorKind};
///
/// let error = "not a cursor".parse::<Cursor>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::BadCursor); // as a response: 400
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    after: Position,
    fingerprint: [u8; 7],
}

/// The first byte of a cursor's text. Another layout gets another one.
const FORMAT: u8 = 1;

impl Cursor {
    pub(crate) fn new(filter: &SessionFilter, after: Position) -> Self {
        Self {
            after,
            fingerprint: filter.fingerprint(),
        }
    }

    /// Where the page begins. An error if this belongs to another filter.
    pub(crate) fn after(&self, filter: &SessionFilter) -> Result<&Position, Error> {
        if self.fingerprint == filter.fingerprint() {
            Ok(&self.after)
        } else {
            Err(Error::new(
                ErrorKind::BadCursor,
                "the cursor is of a list with another filter",
            ))
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[FORMAT], self.after.as_bytes(), &self.fingerprint].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let parts = bytes.strip_prefix(&[FORMAT]);
        let parts = parts.and_then(<[u8]>::split_last_chunk);
        let cursor = parts.and_then(|(after, fingerprint)| {
            Some(Self {
                after: Position::new(after)?,
                fingerprint: *fingerprint,
            })
        });
        cursor.ok_or_else(|| Error::new(ErrorKind::BadCursor, "this is not a cursor"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}
