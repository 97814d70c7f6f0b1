//! What can be asked of a store, and what can go wrong with it: [`Call`], [`Fault`].

use std::time::Duration;

use crate::error::store::StoreErrorKind;

/// A call of the [`SessionStore`](crate::SessionStore) contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Call {
    Create,
    Load,
    LoadLatest,
    Update,
    Touch,
    Delete,
    DeleteExpired,
    List,
    Count,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing.
    None,
    /// It does not happen, and the reply is this error.
    Fail(StoreErrorKind),
    /// It happens, and the reply is this error.
    LoseReply(StoreErrorKind),
    /// It does not happen, and no reply ever comes.
    Hang,
    /// It happens this much later.
    Delay(Duration),
    /// It happens, and the reply comes this much later.
    DelayReply(Duration),
    /// It panics.
    Panic,
    /// It happens, and lets other tasks run before and after.
    Yield,
}
