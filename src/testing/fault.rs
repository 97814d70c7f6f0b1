//! What can go wrong with a call of a store: [`Fault`].

use std::time::Duration;

use crate::{error::store::StoreErrorKind, record::token::SessionId, store::StoreCall};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// The call is not applied, and fails with an error that says so.
    Refuse(StoreErrorKind),
    /// The call is not applied, and fails with an error that leaves it open,
    /// unless the kind never does.
    Fail(StoreErrorKind),
    /// The call is applied, and fails with an error that leaves it open,
    /// whatever its kind: the first reply is lost, and a second attempt fails.
    LoseReply(StoreErrorKind),
    /// The call is applied twice, and the second reply is returned. No sound
    /// store does that: it breaks the contract.
    HideRetry,
    /// The call is applied, and fails with an error that says it was not. No
    /// sound store does that: it breaks the contract.
    RefuseFalsely(StoreErrorKind),
    /// The call fails at once with an error that leaves it open, and is
    /// applied this much later.
    FailThenApply(StoreErrorKind, Duration),
    /// The call is not applied, and never returns.
    Hang,
    /// The call never returns, and is applied this much later, also where
    /// the caller has given up.
    HangThenApply(Duration),
    /// The call is applied this much later, unless the caller gives up before.
    Delay(Duration),
    /// The call is applied at once, and returns this much later.
    DelayReply(Duration),
    /// The call panics.
    Panic,
    /// The call is applied, and lets other tasks run before and after.
    Yield,
}

/// One call that reaches a [`FaultyStore`](super::FaultyStore).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occurrence {
    /// Which method is called.
    pub call: StoreCall,
    /// The session that the call is about; `None` for calls about many.
    pub id: Option<SessionId>,
    /// How often this method was called since the plan was made, this call
    /// included: the first call has number 1.
    pub number: usize,
}
