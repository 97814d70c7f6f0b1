//! The verifiers that a record keeps beside the current one: [`Renewal`].

use crate::{clock::Timestamp, record::token::Verifier};

/// The verifiers of a session's other secrets. The module `renewal` explains their kinds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renewal {
    /// When the current one was issued. `None`: when the session began or its user logged in.
    pub(crate) issued_at: Option<Timestamp>,
    /// Each with the time when it was issued, in that order.
    pub(crate) pending: Vec<DatedVerifier>,
    /// Each with the time when it was replaced, in that order.
    pub(crate) former: Vec<DatedVerifier>,
    /// Those of log-ins that joined this session, each with that time. They count like the current one.
    pub(crate) joined: Vec<DatedVerifier>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DatedVerifier {
    pub(crate) verifier: Verifier,
    pub(crate) at: Timestamp,
}
