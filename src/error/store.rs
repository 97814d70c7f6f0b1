//! What a store reports when it fails: [`StoreError`].

use std::{error, fmt};

/// A failure of a store, with the backend's own error as its source.
///
/// ```
/// use cloakroom::store::{StoreError, StoreErrorKind};
///
/// fn load() -> Result<Vec<u8>, StoreError> {
///     std::fs::read("/nowhere/at/all")
///         .map_err(|source| StoreError::new(StoreErrorKind::Unavailable, source))
/// }
/// assert_eq!(load().unwrap_err().kind(), StoreErrorKind::Unavailable);
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Box<dyn error::Error + Send + Sync>,
}

/// What kind of failure a [`StoreError`] is; it decides what the visitor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The backend cannot be reached, or refuses to work for now.
    Unavailable,
    /// The backend did not answer in time: what was asked may have happened.
    Timeout,
    /// There is no room for it, and nothing was changed; see [`WhenFull`](crate::store::WhenFull).
    Full,
    /// What is stored is not a record.
    Corrupt,
    /// What is stored is a record of another format.
    Incompatible,
    /// The store does not offer this operation.
    Unsupported,
    /// Anything else.
    Other,
}

impl StoreError {
    /// A failure of this kind, caused by `source`. It ends up in logs: it must
    /// not contain what is stored, nor a password.
    pub fn new(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// A store does not offer `what`.
    pub(crate) fn unsupported(what: &str) -> Self {
        let source = format!("this store cannot {what}");
        Self::new(StoreErrorKind::Unsupported, source)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the record is at fault, and the store in order.
    pub(crate) fn is_of_record(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Corrupt | StoreErrorKind::Incompatible
        )
    }

    pub(crate) fn is_ambiguous(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout
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
            StoreErrorKind::Incompatible => "a stored session is of another format",
            StoreErrorKind::Unsupported => "the session store does not support this",
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
