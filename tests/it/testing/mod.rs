//! The feature `testing`.

mod conformance;
mod kit;
