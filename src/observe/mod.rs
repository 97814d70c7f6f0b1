//! Events, listeners, statistics, metrics, and a wrapper that times the calls of the store.
//!
//! An event goes to [`observers::Observers`], which passes it on to the counters, to the tasks that
//! wait for a session's end, and to the listeners. Uses records and the store's contract. Knows
//! neither settings nor requests.

pub(crate) mod context;
mod counters;
pub(crate) mod event;
mod latency;
pub(crate) mod metrics;
mod minutes;
pub(crate) mod observers;
pub(crate) mod removals;
pub(crate) mod stats;
pub(crate) mod summary;
pub(crate) mod timed;
pub(crate) mod waiters;
