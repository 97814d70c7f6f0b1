//! Errors of the databases without data and passwords.

use std::{error, fmt, io};

use super::{
    driver::{Driver, Options},
    table::TableName,
    verdict::Verdict,
};
use crate::error::store::{StoreError, StoreErrorKind};

/// An error that names the place, the error's code and what to do.
///
/// The driver's own error is not kept: it repeats values of rows and names of users.
#[derive(Debug)]
struct Failure {
    what: String,
    source: Option<io::Error>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

pub(super) fn failure(kind: StoreErrorKind, what: impl Into<String>) -> StoreError {
    caused(kind, what, None)
}

fn caused(kind: StoreErrorKind, what: impl Into<String>, source: Option<io::Error>) -> StoreError {
    let what = what.into();
    StoreError::new(kind, Failure { what, source })
}

pub(super) fn verdict<D: Driver>(error: &sqlx::Error) -> Verdict {
    use sqlx::Error::{
        Configuration, Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed,
    };
    match error {
        Database(error) => D::judge(&**error),
        Io(_) | Protocol(_) | WorkerCrashed => Verdict::Lost,
        PoolTimedOut => Verdict::Refused(
            StoreErrorKind::Unavailable,
            "no connection within the pool's acquire_timeout: it cannot be reached, \
             or the pool has too few connections",
        ),
        PoolClosed => Verdict::Refused(StoreErrorKind::Unavailable, "the pool is closed"),
        Tls(_) => Verdict::Refused(
            StoreErrorKind::Unavailable,
            "no TLS: turn on sqlx's feature tls-rustls or tls-native-tls, \
             and look whether each side accepts the other's certificate",
        ),
        Configuration(_) => Verdict::Refused(StoreErrorKind::Unavailable, D::NO_LOG_IN),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Verdict::Failed(
            StoreErrorKind::Corrupt,
            "a column is not of the type that migrate() gave it",
        ),
        sqlx::Error::Encode(_) => {
            Verdict::Refused(StoreErrorKind::Other, "the driver refuses a value")
        }
        _ => Verdict::Failed(StoreErrorKind::Other, "the driver refuses the call"),
    }
}

/// The error of a call.
pub(super) fn store_error<D: Driver>(
    error: sqlx::Error,
    options: &Options<D>,
    table: &TableName,
) -> StoreError {
    let place = format!("{} at {}", D::TITLE, D::place(options));
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code
        .map(|code| format!(" (error {code})"))
        .unwrap_or_default();
    match verdict::<D>(&error) {
        Verdict::NoTable => failure(
            StoreErrorKind::Other,
            format!(
                "{place} has no table {table} as this version needs it{code}: \
                 call migrate() before the first request"
            ),
        )
        .not_applied(),
        Verdict::Lost => {
            let (what, source) = match error {
                sqlx::Error::Io(error) => (error.to_string(), Some(error)),
                _ => ("the connection broke off".to_owned(), None),
            };
            let what = format!("{place} cannot be reached{code}: {what}");
            caused(StoreErrorKind::Unavailable, what, source)
        }
        Verdict::RolledBack => failure(
            StoreErrorKind::Unavailable,
            format!("{place}: other calls were in the way{code}"),
        )
        .not_applied(),
        Verdict::Duplicate => failure(
            StoreErrorKind::Other,
            format!("{place}: an index that is not the store's forbids this row of {table}{code}"),
        )
        .not_applied(),
        Verdict::Refused(kind, what) => {
            failure(kind, format!("{place}: {what}{code}")).not_applied()
        }
        Verdict::Failed(kind, what) => failure(kind, format!("{place}: {what}{code}")),
    }
}

#[cfg(all(test, feature = "mysql"))]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_password_that_mysql_takes_over_tls_or_by_rsa_alone_says_what_to_turn_on() {
        let options: Options<sqlx::MySql> =
            "mysql://bob:hunter2@db.example:3307/app".parse().unwrap();
        let error = sqlx::Error::Configuration("RSA auth backend disabled".into());
        let error = store_error::<sqlx::MySql>(error, &options, &TableName::default());
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        let said = error.source().unwrap().to_string();
        for part in ["db.example:3307", "tls-rustls", "cloakroom's mysql-rsa"] {
            assert!(said.contains(part), "{said}");
        }
        let said = format!("{error:?}");
        assert!(!said.contains("hunter2") && !said.contains("bob"), "{said}");
    }
}
