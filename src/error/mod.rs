//! What can go wrong: [`Error`] for handlers, [`ConfigError`] at start-up.
//!
//! What a store reports is a [`StoreError`], which becomes an [`Error`] of the same kind.

pub(crate) mod store;

use std::{error, fmt, sync::Arc};

use crate::error::store::{StoreError, StoreErrorKind};

/// Why an operation on a session failed.
///
/// Opaque, and cheap to clone: ask [`kind`](Self::kind) what it was and
/// [`source`](error::Error::source) for the cause. Neither its `Display` nor
/// its `Debug` shows a token or a value of the session (rule T3).
///
/// With the feature `axum` it is a response: 503 with `Retry-After` where the
/// same request may succeed later, 400 for a bad cursor, 500 otherwise.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, or refuses to work. 503.
    Unavailable,
    /// The store did not answer within `store_timeout`, or other requests
    /// kept changing the session for that long. 503.
    Timeout,
    /// The store has no room for the session, and evicts none of the others. 503.
    Full,
    /// The record in the store does not decode. 500.
    Corrupt,
    /// The record is of a format this version does not know. 503: a node that knows it may answer.
    Incompatible,
    /// The store does not offer this operation. 500.
    Unsupported,
    /// A value does not serialize to JSON. 500.
    Serialize,
    /// A value is not of the type asked for; it is still there. 500.
    Deserialize,
    /// The session's data would exceed `max_data_bytes`. 500; where the commit
    /// finds so after merging, 503 as for every commit that fails.
    TooLarge,
    /// The response head is gone, and with it the way to hand out a token. 500.
    TooLate,
    /// The session has ended: destroyed, moved or expired. 500.
    Ended,
    /// A `try_update` refused the fresher value that another request had
    /// saved meanwhile; nothing of this request was saved. 503.
    Refused,
    /// There is no `SessionLayer` around the handler. 500.
    MissingLayer,
    /// The session is not stored, or nobody has logged in. 500.
    NoUser,
    /// A cursor that this crate never gave, or one of another filter. 400.
    BadCursor,
    /// Any other failure: of the store, of the system's random source, or of an
    /// `update` whose closure changes the session so that it never comes to an end. 500.
    Other,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            source: None,
        }))
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
        }))
    }

    pub(crate) fn ended() -> Self {
        Self::new(ErrorKind::Ended, "the session has ended")
    }

    pub(crate) fn panicked() -> Self {
        let what = "a panic in the store, or in what was to be saved";
        Self::new(ErrorKind::Unavailable, what)
    }

    /// What the closure of an `update` does, for ever.
    pub(crate) fn endless(what: &str) -> Self {
        Self::new(
            ErrorKind::Other,
            format!("the update was given up: the closure {what}"),
        )
    }

    pub(crate) fn too_late(what: &str) -> Self {
        Self::new(
            ErrorKind::TooLate,
            format!("too late for {what}: the response head, and with it the cookie, is gone"),
        )
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether it leaves open what the store has done.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let source = self.0.source.as_deref();
        match source.and_then(|source| source.downcast_ref::<StoreError>()) {
            Some(error) => error.is_ambiguous(),
            None => matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        }
    }

    /// Whether the same request may succeed later: these are answered with 503.
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

/// A configuration that cannot work: which part, and what to do about it.
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
