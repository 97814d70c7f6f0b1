//! All sessions, from outside of a request: counting, listing and ending them, and
//! deleting what has expired.
//!
//! Uses commits, observers and the store. Knows nothing of HTTP.

pub(crate) mod paging;
pub(crate) mod reaper;
pub(crate) mod sessions;
