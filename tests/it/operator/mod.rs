//! All sessions from outside a request.

mod reaping;
mod sessions;
