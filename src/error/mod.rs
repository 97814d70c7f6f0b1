//! Errors: [`Error`] for handlers, [`ConfigError`] at start-up.
//!
//! A store returns a [`StoreError`], which becomes an [`Error`] of the same kind.

pub(crate) mod store;

use std::{error, fmt, sync::Arc};

#[cfg(feature = "axum")]
use http::HeaderValue;

use crate::error::store::{StoreError, StoreErrorKind};

/// Why an operation on a session failed.
///
/// [`kind`](Self::kind) tells failures apart, and [`source`](error::Error::source) has the cause. The error
/// is cheap to clone. Neither `Display` nor `Debug` shows a token or a value of the session.
///
/// With the feature `axum` it is a response, so that a handler can return it with `?`: a 503 with
/// `Retry-After` if the same request may succeed later, a 401 if a user must log in, a 400 for an invalid cursor
/// or filter, and a 500 otherwise.
///
/// ```
/// use cloakroom::{Error, ErrorKind, Session};
///
/// /// Ignores a value that an older version of the application has stored with another type.
/// fn theme(session: &Session) -> Result<Option<u8>, Error> {
///     match session.get("theme") {
///         Err(error) if error.kind() == ErrorKind::Deserialize => Ok(None),
///         read => read,
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
    /// How a client may authenticate, for a 401.
    #[cfg(feature = "axum")]
    challenges: Vec<HeaderValue>,
}

/// The kind of an [`Error`]. Each variant names the status of its response.
///
/// ```
/// use cloakroom::{Error, ErrorKind, Session};
///
/// async fn keep(session: &Session, note: String) -> Result<&'static str, Error> {
///     match session.insert("note", note) {
///         Err(error) if error.kind() == ErrorKind::TooLarge => Ok("The note is too long."),
///         result => result.map(|()| "The note is saved."),
///     }
/// }
/// ```
///
/// A store reports its failures with a [`StoreErrorKind`](crate::store::StoreErrorKind) of its own. Those become
/// kinds of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, or cannot work at the moment. 503.
    Unavailable,
    /// The store did not answer within [`store_timeout`](crate::SessionLayer::store_timeout), or other
    /// requests kept changing the session for that long. 503.
    Timeout,
    /// The store is full, and its settings forbid eviction. 503.
    Full,
    /// The stored bytes are not a record. 500, and the response removes the cookie.
    Corrupt,
    /// The record has a newer format than this version of the crate knows. 503, because another node may know
    /// it.
    Incompatible,
    /// The store does not offer this operation. 500.
    Unsupported,
    /// A value does not serialize to JSON, or has a number that is NaN or infinite. 500.
    Serialize,
    /// A value, or the user's id, does not have the requested type. The value stays. 500.
    Deserialize,
    /// The session's data would exceed [`max_data_bytes`](crate::SessionLayer::max_data_bytes). 500, or 503 if
    /// the data is too large only after the merge with another request.
    TooLarge,
    /// The response head was sent already: a new cookie can no longer be set. 500.
    TooLate,
    /// The session has ended: it was destroyed or revoked, moved to another id, or expired. 500.
    Ended,
    /// A [`try_update`](crate::Session::try_update) refused the value that another request has saved
    /// meanwhile. No change of this request was saved. 503.
    Refused,
    /// There is no [`SessionLayer`](crate::SessionLayer) around the handler. 500.
    MissingLayer,
    /// A route needs a user, and nobody has logged in. 401.
    Unauthenticated,
    /// A method needs a user, and nobody has logged in, or the session is not stored yet. 500.
    NoUser,
    /// The cursor is not valid, or belongs to another filter. 400.
    BadCursor,
    /// The filter for [`revoke_matching`](crate::Sessions::revoke_matching) has no condition. 400.
    EmptyFilter,
    /// Any other failure: of the store, of the operating system's random number generator, or of an
    /// [`update`](crate::Session::update) whose closure keeps changing the session. 500.
    Other,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            source: None,
            #[cfg(feature = "axum")]
            challenges: Vec::new(),
        }))
    }

    /// Nobody has logged in. The challenges say how.
    #[cfg(feature = "axum")]
    pub(crate) fn unauthenticated(challenges: Vec<HeaderValue>) -> Self {
        Self(Arc::new(Inner {
            kind: ErrorKind::Unauthenticated,
            what: "nobody has logged in".to_owned(),
            source: None,
            challenges,
        }))
    }

    #[cfg(feature = "axum")]
    pub(crate) fn challenges(&self) -> &[HeaderValue] {
        &self.0.challenges
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            source: Some(source.into()),
            #[cfg(feature = "axum")]
            challenges: Vec::new(),
        }))
    }

    pub(crate) fn ended() -> Self {
        Self::new(ErrorKind::Ended, "the session has ended")
    }

    pub(crate) fn panicked() -> Self {
        let what = "the store panicked, or a value's serialization, or an update's closure";
        Self::new(ErrorKind::Unavailable, what)
    }

    /// The closure of an `update` keeps doing `what`.
    pub(crate) fn endless(what: &str) -> Self {
        Self::new(
            ErrorKind::Other,
            format!("the update was given up, because the closure {what}"),
        )
    }

    pub(crate) fn too_late(what: &str) -> Self {
        Self::new(
            ErrorKind::TooLate,
            format!(
                "too late for {what}: the response head was already sent, and no cookie can follow"
            ),
        )
    }

    /// Whether both are the same failure.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed later. If so, the response is a 503.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::Full
                | ErrorKind::Incompatible
                | ErrorKind::Refused
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("what", &self.0.what)
            .field("source", &self.0.source)
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn error::Error + 'static))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::Unavailable => ErrorKind::Unavailable,
            StoreErrorKind::Timeout => ErrorKind::Timeout,
            StoreErrorKind::Full => ErrorKind::Full,
            StoreErrorKind::Corrupt => ErrorKind::Corrupt,
            StoreErrorKind::Incompatible => ErrorKind::Incompatible,
            StoreErrorKind::Unsupported => ErrorKind::Unsupported,
            StoreErrorKind::InvalidPosition => ErrorKind::BadCursor,
            StoreErrorKind::Other => ErrorKind::Other,
        };
        Self::caused(kind, "the session store failed", error)
    }
}

/// A setting that cannot work. The message says which one, and what to do.
///
/// ```
/// use cloakroom::SessionCookie;
///
/// let error = SessionCookie::new("my shop").build().unwrap_err();
/// println!("{error}"); // names the attribute
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for ConfigError {}
