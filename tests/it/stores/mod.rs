//! The stores, each held to the contract, and what only it can get wrong.

#[cfg(feature = "file")]
mod file;
#[cfg(feature = "redis")]
mod load;
#[cfg(any(feature = "file", feature = "redis"))]
#[allow(dead_code)]
pub(crate) mod processes;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_cluster;
mod sample;
mod tiered;
