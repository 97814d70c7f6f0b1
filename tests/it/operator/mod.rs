//! All sessions from outside a request.

mod desk;
mod others;
mod reaping;
mod sessions;
