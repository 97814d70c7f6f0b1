//! Lists of sessions, a page at a time: [`SessionPage`], [`Cursor`].

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    error::{Error, ErrorKind},
    observe::summary::SessionSummary,
    operator::filter::SessionFilter,
    store::Position,
};

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
    /// The sessions, in the filter's order. A page may be empty even if there is a `next` page.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page begins. `None` if this is the last page.
    pub next: Option<Cursor>,
}

/// Where a page of a list begins, for [`Sessions::list`](crate::Sessions::list).
///
/// It belongs to the filter of its list. Its string (`Display`, `FromStr`) needs no escaping in a URL. It
/// does not open a session.
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
                "the cursor belongs to a list with another filter",
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
