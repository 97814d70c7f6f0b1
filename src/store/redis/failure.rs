//! Turns errors of Redis and its driver into those of the store contract.

use ::redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::error::store::{StoreError, StoreErrorKind};

/// The error of one command that was sent once.
pub(super) fn failed(error: RedisError) -> StoreError {
    // Both come from making the connection, before the command is sent.
    let is_unsent =
        error.is_connection_refusal() || error.kind() == ErrorKind::AuthenticationFailed;
    let failed = translated(error);
    if is_unsent {
        failed.not_applied()
    } else {
        failed
    }
}

fn translated(error: RedisError) -> StoreError {
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
        // Its text comes from the operating system only.
        (ErrorKind::Io, None) => StoreError::new(kind, error),
        // Its text repeats what each node said, which may be anything.
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

/// An error reply of the server. Only its code is kept, because its text may repeat the command.
pub(super) fn refused(error: &ServerError) -> StoreError {
    let code = error.code();
    let kind = match (error.kind(), code) {
        (_, "WRONGTYPE") => StoreErrorKind::Corrupt,
        // The commands are well formed, so the server is too old for an option.
        (_, "ERR") if error.details() == Some("syntax error") => StoreErrorKind::Unsupported,
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
    let refused = StoreError::new(kind, format!("Redis answered {code}"));
    if is_certain(error) {
        refused.not_applied()
    } else {
        refused
    }
}

/// Whether the command was refused before it changed anything.
fn is_certain(error: &ServerError) -> bool {
    match error.code() {
        // Within a script these are checked before its first write.
        "OOM" | "READONLY" | "MISCONF" | "NOREPLICAS" => true,
        // The primary ended a waiting command. A `WAIT` comes after a write.
        "UNBLOCKED" => false,
        // A script that fails keeps what it has written before.
        _ => !error
            .details()
            .is_some_and(|details| details.contains("user_script") || details.contains("script:")),
    }
}

/// The stored bytes do not come from this store.
pub(super) fn corrupt(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what)
}

/// A reply that no command here has. The error names its type only.
pub(super) fn unexpected(reply: &Value) -> StoreError {
    match reply {
        Value::ServerError(error) => refused(error),
        _ => StoreError::new(StoreErrorKind::Other, "Redis gave a reply of another type"),
    }
}
