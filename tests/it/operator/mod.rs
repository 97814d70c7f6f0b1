//! All sessions from outside a request.

mod others;
mod reaping;
mod sessions;
