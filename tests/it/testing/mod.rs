//! What the crate offers to tests.

mod conformance;
mod kit;
