//! What carries a token: the session cookie with its settings, or another header; what a request presents, and
//! `Set-Cookie`.
//!
//! Uses tokens. Knows neither sessions nor the layer.

mod check;
mod former;
mod presented;
mod set_cookie;
mod settings;
mod transport;

pub use self::{
    former::FormerCookie,
    settings::{CookiePrefix, SameSite, SessionCookie, SessionCookieBuilder},
    transport::{Transport, Transports},
};
pub(crate) use self::{
    presented::{CookieHeaders, Presented, PresentedToken, TransportIndex},
    set_cookie::has_header,
    transport::Carriers,
};
