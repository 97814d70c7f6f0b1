//! The memory store.

mod counted;
mod listing;
mod model;
mod snapshots;
mod store;
