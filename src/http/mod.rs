//! The request's way in and the response's way out: the layer, its service and its future,
//! response headers, and axum's extractors.
//!
//! A request goes from `service` to the handler, and its response from `future` to `headers`.

pub(crate) mod clear_site_data;
#[cfg(feature = "axum")]
pub(crate) mod extract;
pub(crate) mod future;
pub(crate) mod headers;
pub(crate) mod layer;
#[cfg(feature = "axum")]
pub(crate) mod local_path;
mod plain;
pub(crate) mod service;
mod setup;
#[cfg(feature = "axum")]
pub(crate) mod time_left;
mod user_settings;
