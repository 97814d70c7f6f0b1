//! The stores, each held to the contract, and what only it can get wrong.

#[cfg(feature = "file")]
mod file;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod load;
#[cfg(feature = "mysql")]
mod mysql;
pub(crate) mod population;
#[cfg(feature = "postgres")]
mod postgres;
#[allow(dead_code)] // Each store uses its part.
pub(crate) mod processes;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_cluster;
mod sample;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server_faults;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tiered;
