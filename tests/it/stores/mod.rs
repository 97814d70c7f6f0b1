//! The stores, each held to the contract, and what only it can get wrong.

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod load;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(
    feature = "file",
    feature = "mysql",
    feature = "postgres",
    feature = "sqlite"
))]
#[allow(dead_code)]
pub(crate) mod processes;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server_faults;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
