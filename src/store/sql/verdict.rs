//! What an error of a database means for the call: [`Verdict`].

use crate::error::store::StoreErrorKind;

/// What an error of a database means for the call.
#[derive(Debug)]
pub enum Verdict {
    /// The row is there already.
    Duplicate,
    /// The connection is gone; whether the call happened is open.
    Lost,
    /// The call was undone in favour of another: it may be asked again.
    Undone,
    /// The table is not there, or has another shape.
    NoTable,
    /// The database refused the call or rolled it back, and what to do about it.
    Refused(StoreErrorKind, &'static str),
    /// Anything else, and what to do about it: whether the call happened is open.
    Failed(StoreErrorKind, &'static str),
}
