//! What can go wrong with a call of a store: [`Fault`].

use std::time::Duration;

use crate::{error::store::StoreErrorKind, record::token::SessionId, store::StoreCall};

/// What goes wrong with a call of a [`FaultyStore`](super::FaultyStore).
///
/// ```
/// use cloakroom::{StoreCall, store::StoreErrorKind, testing::{Fault, FaultyStore}};
///
/// let store = FaultyStore::in_memory();
/// // The store writes, but its reply is lost.
/// store.plan_for(StoreCall::Update, Fault::LoseReply(StoreErrorKind::Timeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// The call is not applied. Its error is marked as not applied.
    Refuse(StoreErrorKind),
    /// The call is not applied. Its error is not marked as not applied, unless
    /// the kind implies that.
    Fail(StoreErrorKind),
    /// The call is applied, but fails. Its error is not marked as not applied,
    /// whatever the kind: the first reply is lost, and a second attempt fails.
    LoseReply(StoreErrorKind),
    /// The call is applied twice, and the second reply is returned. A store that
    /// does so breaks the contract.
    HideRetry,
    /// The call is applied, but fails with an error that is marked as not
    /// applied. A store that does so breaks the contract.
    RefuseFalsely(StoreErrorKind),
    /// The call fails at once, and is applied this much later. Its error is not
    /// marked as not applied.
    FailThenApply(StoreErrorKind, Duration),
    /// The call is not applied, and never returns.
    Hang,
    /// The call never returns, and is applied this much later, even if the
    /// caller has given up.
    HangThenApply(Duration),
    /// The call is applied this much later, unless the caller gives up first.
    Delay(Duration),
    /// The call is applied at once, and returns this much later.
    DelayReply(Duration),
    /// The call panics.
    Panic,
    /// The call is applied, and lets other tasks run before and after.
    Yield,
}

/// One call that reaches a [`FaultyStore`](super::FaultyStore), for
/// [`plan_each`](super::FaultyStore::plan_each).
///
/// ```
/// use cloakroom::{StoreCall, store::StoreErrorKind, testing::{Fault, FaultyStore, Occurrence}};
///
/// let store = FaultyStore::in_memory();
/// // Loses the reply of every third update.
/// store.plan_each(|occurrence: Occurrence| match occurrence.call {
///     StoreCall::Update if occurrence.number % 3 == 0 => Fault::LoseReply(StoreErrorKind::Timeout),
///     _ => Fault::None,
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occurrence {
    /// Which method is called.
    pub call: StoreCall,
    /// The session of the call. `None` for a call about many sessions.
    pub id: Option<SessionId>,
    /// The number of this call among the calls of this method since the plan
    /// was made, beginning with 1.
    pub number: usize,
}
