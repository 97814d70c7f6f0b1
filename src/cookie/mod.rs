//! Tokens in HTTP headers: the settings of the session cookie, other transports, the tokens of a request, and
//! `Set-Cookie`.
//!
//! Uses tokens. Knows neither sessions nor the layer.

mod check;
mod former;
mod presented;
mod set_cookie;
mod settings;
mod token_headers;
mod transport;

pub use self::{
    former::FormerCookie,
    settings::{CookiePrefix, SameSite, SessionCookie, SessionCookieBuilder},
    transport::{Transport, Transports},
};
pub(crate) use self::{
    presented::{Presented, PresentedToken, TransportIndex},
    set_cookie::has_header,
    token_headers::TokenHeaders,
};
