//! What happened, and who is told.

mod events;
#[cfg(feature = "metrics")]
mod metering;
mod statistics;
