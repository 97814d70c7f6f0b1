//! What happened, and who is told.

mod bounded;
mod events;
mod honest_events;

#[cfg(feature = "metrics")]
mod metering;
mod shared_observers;
mod statistics;
