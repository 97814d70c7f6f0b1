//! The secrets that a record keeps beside the current one: [`Renewal`].

use crate::{clock::Timestamp, record::token::Verifier};

/// What a record keeps of a session's secrets beside the current one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renewal {
    /// When the current one was given out; `None`: with the session, or its log-in.
    pub(crate) issued_at: Option<Timestamp>,
    /// By when they were given out.
    pub(crate) pending: Vec<DatedVerifier>,
    /// By when they became former ones.
    pub(crate) former: Vec<DatedVerifier>,
    /// Those of log-ins that joined this one, by when they did: as good as the current one.
    pub(crate) joined: Vec<DatedVerifier>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DatedVerifier {
    pub(crate) verifier: Verifier,
    pub(crate) at: Timestamp,
}
