//! Pages for users, with axum: who is asking, who is sent to the log-in page, and where they go from there.
//!
//! Uses the extractors and everything below them. Only the testing kit stands above.

mod challenge;
pub(crate) mod current_user;
pub(crate) mod require_user;
pub(crate) mod return_to;

use axum::extract::OriginalUri;
use http::{Uri, request::Parts};

/// What the client has asked for: nested routers see a part of it.
fn original_uri(parts: &Parts) -> &Uri {
    let original = parts.extensions.get::<OriginalUri>();
    original.map_or(&parts.uri, |original| &original.0)
}
