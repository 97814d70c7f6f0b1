//! What goes wrong with Redis, as the contract has it.

use ::redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::error::store::{StoreError, StoreErrorKind};

/// A failure on the way to the server or in its reply.
pub(super) fn failed(error: RedisError) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::Io if error.is_timeout() => StoreErrorKind::Timeout,
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => StoreErrorKind::Unavailable,
        _ => match error.clone().into_server_errors() {
            Some(errors) => match errors.first() {
                Some((_, error)) => return refused(error),
                None => StoreErrorKind::Other,
            },
            None => StoreErrorKind::Other,
        },
    };
    const REFUSED: &str = "Redis refuses user or password";
    match (error.kind(), error.detail()) {
        // Nothing but the operating system's words.
        (ErrorKind::Io, None) => StoreError::new(kind, error),
        // With what each node said, which may be anything.
        (ErrorKind::Io, Some(said)) => {
            let is_refused = said.contains("AuthenticationFailed");
            let none = "no node of the cluster can be reached";
            StoreError::new(kind, if is_refused { REFUSED } else { none })
        }
        (ErrorKind::AuthenticationFailed, _) => {
            StoreError::new(StoreErrorKind::Unavailable, REFUSED)
        }
        (other, _) => StoreError::new(kind, format!("Redis: {other:?}")),
    }
}

/// An error that the server replied. Its text may repeat what was sent: the code alone is kept.
pub(super) fn refused(error: &ServerError) -> StoreError {
    let code = error.code();
    let kind = match (error.kind(), code) {
        (_, "WRONGTYPE") => StoreErrorKind::Corrupt,
        (
            Some(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ),
            _,
        )
        | (_, "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED") => {
            StoreErrorKind::Unavailable
        }
        _ => StoreErrorKind::Other,
    };
    StoreError::new(kind, format!("Redis answered {code}"))
}

/// What is stored is nothing this store wrote.
pub(super) fn corrupt(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}

/// A reply that no command of ours has. Says its type alone.
pub(super) fn unexpected(reply: &Value) -> StoreError {
    match reply {
        Value::ServerError(error) => refused(error),
        _ => StoreError::new(StoreErrorKind::Other, "Redis gave a reply of another type"),
    }
}
