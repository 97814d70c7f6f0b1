//! The stores, each held to the contract, and what only it can get wrong.

#[cfg(feature = "file")]
#[allow(dead_code)]
pub(crate) mod processes;
