//! Pages for users, with axum: the current user, the redirect to the log-in page, and the page to return to.
//!
//! Uses the extractors and everything below them.

mod challenge;
pub(crate) mod current_user;
pub(crate) mod require_user;
pub(crate) mod return_to;

use axum::extract::OriginalUri;
use http::{Uri, request::Parts};

/// The URI of the client's request. Nested routers see only a part of it.
fn original_uri(parts: &Parts) -> &Uri {
    let original = parts.extensions.get::<OriginalUri>();
    original.map_or(&parts.uri, |original| &original.0)
}
