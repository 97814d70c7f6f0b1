//! The cookie: what opens a session, and what is sent back.

mod cookies;
mod former_names;
mod realms;
mod tokens;
