//! Cookies and tokens, in requests and responses.

mod cookies;
mod former_names;
mod realms;
mod reference;
mod token_keys;
mod tokens;
mod transports;
