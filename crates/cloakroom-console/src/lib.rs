//! An operator's page for the sessions of [cloakroom]: live numbers, lists and searches, a session's
//! details, and ending sessions, one or many, with a preview first.
//!
//! ```
//! use axum::Router;
//! use cloakroom::SessionLayer;
//! use cloakroom_console::{console, loopback};
//!
//! let layer = SessionLayer::default();
//! let app: Router = Router::new()
//!     // …the application's routes…
//!     .nest("/console", console(layer.sessions(), loopback()))
//!     .layer(layer);
//! ```
//!
//! # Who may use it
//!
//! Nobody, unless `access` says so: it decides for each request, and gives the operator's name, which
//! the events of the sessions that they end [have](cloakroom::Event::operator). See [`Access`].
//!
//! # In the browser
//!
//! The pages work without JavaScript, and better with it: numbers then arrive every two seconds by
//! server-sent events. They need nothing from other hosts. A strict `Content-Security-Policy` allows no
//! inline script or style, forms of other sites are refused, and nothing is cached. `/` goes to the
//! search, `n` to the next page.
//!
//! # As JSON
//!
//! With `Accept: application/json` the same addresses answer with JSON:
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | the statistics of this process, and how many sessions the store has |
//! | `GET /sessions?user=ann&begun=1h` | `{"sessions": […], "next": "…"}`; the parameters are those of the page's address |
//! | `GET /sessions/ID` | one session, or 404 |
//! | `DELETE /sessions/ID` | `{"ended": 1}`, or 404 |
//! | `POST /revoke` with `kind=anonymous&begun=1h` | a preview: `{"count": 12, "is_exact": true, "sessions": […]}` |
//! | `POST /revoke` with `kind=anonymous&begun=1h&sure=yes` | `{"ended": 12}` |
//!
//! Errors are `{"error": "…"}` with the status of their kind: 400 for a bad filter or cursor, 403 without
//! access, 501 if the store cannot do it, 503 if it does not answer.

mod access;
mod answer;
mod charts;
mod console;
mod filter;
mod format;
mod live;
mod pages;
mod revoke;
mod sample;

pub use self::{
    access::{Access, Loopback, loopback},
    console::{Console, console},
};
