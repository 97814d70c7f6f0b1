//! The stores: the contract, and the tests of each store.

#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod abandon;
#[cfg(feature = "file")]
mod file;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod load;
mod memory;
pub(crate) mod population;
#[allow(dead_code)] // Each store uses its part.
pub(crate) mod processes;
mod questions;
#[cfg(feature = "redis")]
mod redis;
mod sample;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
mod tiered;
