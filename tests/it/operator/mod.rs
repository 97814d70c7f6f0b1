//! All sessions from outside a request.

mod filters;
mod others;
mod reaping;
mod sessions;
