//! What can be wrong with a session's file: [`FileError`].

use std::io::{self, ErrorKind};

use crate::error::store::{StoreError, StoreErrorKind};

#[derive(Debug)]
pub(super) enum FileError {
    Io(io::Error),
    /// A checksum is wrong, or something is missing.
    Damaged,
    /// The file has this format, which is newer.
    Newer(u32),
    /// The record is of a format that this version does not know.
    Incompatible(StoreError),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// From decoding a record.
impl From<StoreError> for FileError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Incompatible => Self::Incompatible(error),
            _ => Self::Damaged,
        }
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => Self::new(kind(&error), error),
            FileError::Damaged => Self::new(
                StoreErrorKind::Corrupt,
                "the session's file is damaged, and was set aside",
            ),
            FileError::Newer(format) => Self::new(
                StoreErrorKind::Incompatible,
                format!(
                    "the session's file is of format {format}, which this version of cloakroom does not know"
                ),
            ),
            FileError::Incompatible(error) => error,
        }
    }
}

/// Whether the call found a lock that another process holds, before it changed anything.
pub(super) fn is_locked(error: &StoreError) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The error of a call that has waited too long for such a lock.
pub(super) fn locked_for_long() -> StoreError {
    let what = "another process has held the lock of the session's folder for long";
    StoreError::new(StoreErrorKind::Unavailable, what).not_applied()
}

/// `Unavailable` for a full, failing or read-only disk, which may work later. `Other` for an error that stays.
fn kind(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::TimedOut => StoreErrorKind::Timeout,
        ErrorKind::InvalidInput
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::Unsupported => StoreErrorKind::Other,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_or_fails_is_unavailable_and_keeps_its_error() {
        const ENOSPC: i32 = 28;
        const EIO: i32 = 5;
        for code in [ENOSPC, EIO] {
            let error: StoreError = FileError::from(io::Error::from_raw_os_error(code)).into();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            let source = std::error::Error::source(&error).unwrap();
            let source: &io::Error = source.downcast_ref().unwrap();
            assert_eq!(source.raw_os_error(), Some(code));
        }
        let error = io::Error::from(ErrorKind::TimedOut);
        assert_eq!(
            StoreError::from(FileError::from(error)).kind(),
            StoreErrorKind::Timeout
        );
    }
}
