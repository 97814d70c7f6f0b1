//! Events, listeners, statistics and metrics.

#[cfg(feature = "metrics")]
mod alerts;
mod circuit;
mod contexts;
#[cfg(feature = "metrics")]
mod dashboard;
mod event_faults;
mod events;
#[cfg(feature = "metrics")]
mod metering;
mod move_table;
mod shared_observers;
mod statistics;
