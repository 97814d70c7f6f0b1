//! What happened, and who is told: events, listeners, statistics and metrics.
//!
//! Uses records and the store's contract. Knows neither settings nor requests.

pub(crate) mod event;
pub(crate) mod metering;
pub(crate) mod moves;
pub(crate) mod population;
pub(crate) mod stats;
pub(crate) mod summary;
pub(crate) mod timed;
pub(crate) mod waiting;
