//! The request's way in and the response's way out: the layer, its service and its
//! future, response headers, and axum's extractors.
//!
//! Uses everything below. Nothing but the tests' aids knows it.

#[cfg(feature = "axum")]
pub(crate) mod extract;
pub(crate) mod future;
pub(crate) mod headers;
pub(crate) mod layer;
pub(crate) mod service;
