//! What goes wrong with Redis, as the contract has it.

use ::redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::store::{StoreError, StoreErrorKind};

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
    match error.kind() {
        // Nothing but the operating system's words.
        ErrorKind::Io => StoreError::new(kind, error),
        ErrorKind::AuthenticationFailed => StoreError::new(
            StoreErrorKind::Unavailable,
            "Redis refuses user or password",
        ),
        other => StoreError::new(kind, format!("Redis: {other:?}")),
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
