//! Counts, lists and ends sessions from outside of a request. The reaper deletes expired ones.
//!
//! Uses sessions, commits, observers and the store. Knows nothing of HTTP.

pub(crate) mod count;
pub(crate) mod filter;
pub(crate) mod paging;
pub(crate) mod reaper;
pub(crate) mod revoking;
pub(crate) mod sessions;
