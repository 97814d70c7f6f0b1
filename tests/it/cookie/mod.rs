//! The cookie: what opens a session, and what is sent back.

mod cookies;
mod tokens;
