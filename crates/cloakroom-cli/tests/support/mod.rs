//! The servers of cloakroom's own tests.
#![allow(dead_code, unused_imports)] // The tests of the stores use the rest.

#[path = "../../../../tests/it/support/process.rs"]
pub(crate) mod process;
#[path = "../../../../tests/it/support/servers/mod.rs"]
pub(crate) mod servers;
