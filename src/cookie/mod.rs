//! The session cookie: its settings, the tokens that a request presents, and `Set-Cookie`.
//!
//! Uses tokens. Knows neither sessions nor the layer.

mod check;
mod former;
mod presented;
mod set_cookie;
mod settings;

pub use self::{
    former::FormerCookie,
    settings::{CookiePrefix, SameSite, SessionCookie, SessionCookieBuilder},
};
pub(crate) use self::{
    presented::{CookieHeaders, Presented},
    set_cookie::has_header,
};
