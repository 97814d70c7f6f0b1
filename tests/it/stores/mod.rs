//! The stores, each held to the contract, and what only it can get wrong.

#[cfg(feature = "file")]
mod file;
#[cfg(feature = "file")]
pub(crate) mod processes;
