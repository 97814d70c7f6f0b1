//! The memory store.

mod counted;
mod listing;
mod markers;
mod model;
mod snapshots;
mod store;
