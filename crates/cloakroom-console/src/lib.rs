//! An operator's page for the sessions of [cloakroom]: live numbers, lists, searches and details of a
//! session. Operators can end one or many sessions, after a preview.
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
//! Only operators that `access` admits. It decides for each request, and returns the operator's name. The
//! events of sessions that the operator ends contain the [name](cloakroom::Event::operator). See [`Access`].
//!
//! # In the browser
//!
//! The pages work without JavaScript. With JavaScript, numbers arrive every two seconds by server-sent
//! events. The pages load nothing from other hosts. A strict `Content-Security-Policy` forbids inline
//! scripts and styles, forms from other sites are refused, and nothing is cached. The access key `/` focuses
//! the search, and `n` opens the next page (with Alt, Alt and Shift, or Control and Option, as the browser has it).
//!
//! # As JSON
//!
//! With `Accept: application/json` the same addresses answer with JSON:
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | the statistics of this process, and how many sessions the store has |
//! | `GET /sessions?user=ann&begun=1h` | `{"sessions": […], "next": "…", "order": "newest"}`; the parameters are those of the page's address. The order is `id` if the store has no other |
//! | `GET /sessions/ID` | one session, or 404 |
//! | `GET /user?name=ann` | the sessions of a user, as above |
//! | `DELETE /sessions/ID` | `{"ended": 1}`, or 404 |
//! | `POST /revoke` with `kind=anonymous&begun=1h` | a preview: `{"count": 12, "is_exact": true, "sessions": […]}` |
//! | `POST /revoke` with `kind=anonymous&begun=1h&sure=yes` | `{"ended": 12}`; 202 with a `job` after five seconds |
//! | `GET /revoke?job=JOB` | how far this work is |
//!
//! Errors are `{"error": "…"}` with the status of their kind: 400 for a bad filter or cursor, 403 without
//! access, 501 if the store cannot do it, 503 if it does not answer.

mod access;
mod answer;
mod app;
mod charts;
mod console;
mod counts;
mod filter;
mod format;
mod jobs;
mod live;
mod pages;
mod revoke;
mod sample;
mod text;

pub use self::{
    access::{Access, Loopback, loopback},
    console::{Console, console},
};

/// The example in the README, as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
