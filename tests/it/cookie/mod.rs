//! The cookie: what opens a session, and what is sent back.

mod cookies;
mod former_names;
mod realms;
mod token_keys;
mod tokens;
mod transports;
