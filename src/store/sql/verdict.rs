//! The meaning of a database's error for the call: [`Verdict`].

use crate::error::store::StoreErrorKind;

/// The meaning of a database's error for the call.
#[derive(Debug)]
pub enum Verdict {
    /// The row exists already.
    Duplicate,
    /// The connection is lost. The call may have been applied.
    Lost,
    /// The database rolled the call back in favour of another one. It can be retried.
    RolledBack,
    /// The table is missing, or has other columns.
    NoTable,
    /// The database refused the call or rolled it back. With what to do about it.
    Refused(StoreErrorKind, &'static str),
    /// Anything else. The call may have been applied. With what to do about it.
    Failed(StoreErrorKind, &'static str),
}
