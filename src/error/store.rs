//! The error of a store: [`StoreError`].

use std::{error, fmt};

/// A failure of a store, with the backend's own error as its source.
///
/// A failed call may still have been applied, for example if its reply was lost or came too late. By default, an
/// error means that this is unknown. If the store knows that the call was not applied, it marks the error as
/// [`not_applied`](Self::not_applied).
///
/// ```
/// use std::net::TcpStream;
/// use cloakroom::store::{StoreError, StoreErrorKind};
///
/// fn connect() -> Result<TcpStream, StoreError> {
///     TcpStream::connect("127.0.0.1:1").map_err(|source| {
///         // Nothing was sent yet.
///         StoreError::new(StoreErrorKind::Unavailable, source).not_applied()
///     })
/// }
/// let error = connect().unwrap_err();
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// assert!(error.is_not_applied());
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    is_not_applied: bool,
    source: Box<dyn error::Error + Send + Sync>,
}

/// The kind of a [`StoreError`].
///
/// Handlers see it as the [`ErrorKind`](crate::ErrorKind) of the same name, which also names the status of the
/// response. `InvalidPosition` becomes [`BadCursor`](crate::ErrorKind::BadCursor).
///
/// ```
/// use std::io;
/// use cloakroom::store::{StoreError, StoreErrorKind};
///
/// fn store_error(error: io::Error) -> StoreError {
///     let kind = match error.kind() {
///         io::ErrorKind::TimedOut => StoreErrorKind::Timeout,
///         io::ErrorKind::InvalidData => StoreErrorKind::Corrupt,
///         _ => StoreErrorKind::Unavailable,
///     };
///     StoreError::new(kind, error)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The backend cannot be reached, or cannot work at the moment.
    Unavailable,
    /// The backend did not answer in time.
    Timeout,
    /// The store has no room for the session, and changed nothing. See
    /// [`WhenFull`](crate::store::WhenFull).
    Full,
    /// The stored bytes are not a record.
    Corrupt,
    /// The record has a newer format than this version of the crate knows.
    Incompatible,
    /// The store does not offer this operation, and changed nothing.
    Unsupported,
    /// The position does not come from a list of this store.
    InvalidPosition,
    /// Any other failure.
    Other,
}

impl StoreError {
    /// A failure of this kind, caused by `source`. The source is logged, so it must not contain stored data
    /// or a password.
    ///
    /// The call may have been applied, unless the kind is `Full`, `Unsupported` or `InvalidPosition`.
    pub fn new(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            is_not_applied: matches!(
                kind,
                StoreErrorKind::Full
                    | StoreErrorKind::Unsupported
                    | StoreErrorKind::InvalidPosition
            ),
            source: source.into(),
        }
    }

    /// The store does not offer `what`, such as "list sessions".
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        let source = format!("this store cannot {what}");
        Self::new(StoreErrorKind::Unsupported, source)
    }

    /// States that the call was not applied, and never will be.
    ///
    /// Call it only if that is certain: nothing was sent, or the backend refused the call or rolled it back.
    #[must_use]
    pub fn not_applied(self) -> Self {
        Self {
            is_not_applied: true,
            ..self
        }
    }

    /// Undoes [`not_applied`](Self::not_applied), because another part of the call may have been applied.
    #[allow(dead_code)] // Only some features need it.
    pub(crate) fn in_doubt(self) -> Self {
        Self {
            is_not_applied: false,
            ..self
        }
    }

    /// Whether the call was certainly not applied, and never will be.
    #[must_use]
    pub fn is_not_applied(&self) -> bool {
        self.is_not_applied
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the failure concerns the whole store, not a single session.
    pub(crate) fn is_of_store(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout | StoreErrorKind::Other
        )
    }

    /// Whether the failure concerns a single record, and the store works.
    pub(crate) fn is_of_record(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Corrupt | StoreErrorKind::Incompatible
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Unavailable => "the session store is unavailable",
            StoreErrorKind::Timeout => "the session store did not answer in time",
            StoreErrorKind::Full => "the session store is full",
            StoreErrorKind::Corrupt => "a stored session is corrupt",
            StoreErrorKind::Incompatible => "a stored session is of an unknown format",
            StoreErrorKind::Unsupported => "the session store does not support this",
            StoreErrorKind::InvalidPosition => "the position is not one of this session store",
            StoreErrorKind::Other => "the session store failed",
        };
        f.write_str(what)
    }
}

impl error::Error for StoreError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.source)
    }
}
