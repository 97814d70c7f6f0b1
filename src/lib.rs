#![cfg_attr(docsrs, feature(doc_cfg))]
//! Server-side HTTP sessions for tower and axum. You hand in your coat, you
//! get a ticket: the data stays on the server, the visitor gets a cookie, and
//! the room is kept safe, bounded and clean.
//!
//! A [`SessionLayer`] around a service gives every request a session. With
//! axum, handlers take it as an argument:
//!
//! ```
//! use cloakroom::{Error, Session, SessionLayer};
//!
//! async fn counter(session: Session) -> Result<String, Error> {
//!     let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
//!     Ok(format!("visit {visits}"))
//! }
//!
//! // Router::new().route("/", get(counter)).layer(layer)
//! let layer = SessionLayer::default();
//! ```
//!
//! Elsewhere they find a [`SessionHandle`] in the request's extensions.
//!
//! | to | look at |
//! | --- | --- |
//! | read and change a session | [`Session`], [`Key`] |
//! | set timeouts and limits | [`SessionLayer`], [`Timeout`] |
//! | name the cookie and set its attributes | [`SessionCookie`] |
//! | list, count and revoke sessions, limit them per user | [`Sessions`], [`SessionLayer::max_sessions_per_user`] |
//! | hear what happens to sessions, and count it | [`SessionLayer::on_event`], [`EventKind`], [`Stats`] |
//! | choose where sessions are kept | [`MemoryStore`], [`store::TieredStore`], [`SessionStore`] |
//! | close a socket when its session ends | [`Session::ended`], [`Session::touch`] |
//! | make a copied cookie worthless | [`SessionLayer::renew_every`] |
//! | tell failures apart | [`Error`], [`ErrorKind`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `axum` | yes | the extractors `Session`, `Option<Session>`, `SessionData`, `SessionHandle`; [`Error`] as a response |
//! | `file` | no | `store::FileStore`: sessions in a directory, shared by the processes of one machine |
//! | `sqlite` | no | `SqliteStore`: sessions in a file that the processes of one machine share |
//! | `postgres` | no | `PostgresStore`: sessions in PostgreSQL, from version 12 on |
//! | `mysql` | no | `MySqlStore`: sessions in MySQL (from 8.0.1 on) or MariaDB (from 10.6 on) |
//! | `mysql-rsa` | no | `MySqlStore` on MySQL without TLS, which takes a password by RSA alone then |
//! | `redis` | no | `store::RedisStore`: sessions in Redis or Valkey, on one server or in a cluster |
//! | `metrics` | no | the statistics as metrics, through the `metrics` facade: their names are in the docs of [`Stats`] |
//! | `testing` | no | the module `testing`: a conformance kit for stores, and aids for tests of handlers |
//!
//! # Rules
//!
//! What the crate promises is written down as rules, and each is a test. The
//! documentation names them by letter and number: T for tokens, C for the
//! commit, M for merging, L for lifetime, H for headers, F for failure, P for
//! all sessions together, R for renewal. They are all in `RULES.md`.

// From top to bottom: a module uses only what stands below it.
#[cfg(feature = "testing")]
pub mod testing;

mod http;

mod operator;

mod session;

mod commit;

mod state;

mod config;

mod cookie;

mod observe;

pub mod store;

mod record;

mod clock;
mod deadline;
mod error;
mod queue;
mod random;

#[cfg(feature = "axum")]
pub use self::http::extract::{SessionData, SessionValue};
pub use self::{
    clock::{Clock, SystemClock, Timestamp},
    cookie::{CookiePrefix, SameSite, SessionCookie, SessionCookieBuilder},
    error::{ConfigError, Error, ErrorKind},
    http::{future::ResponseFuture, layer::SessionLayer, service::SessionService},
    observe::{
        event::{EndReason, Event, EventKind, Listener, Rejection},
        stats::{CallStats, Stats},
        summary::SessionSummary,
    },
    operator::{
        paging::{Cursor, SessionFilter, SessionPage},
        sessions::Sessions,
    },
    record::{
        Activity, Record,
        key::{Key, KeyName, ReadKey, WriteKey},
        lifetime::Timeout,
        token::SessionId,
        version::Version,
    },
    session::{Session, ended::SessionEnd, handle::SessionHandle},
    store::{MemoryStore, SessionStore, StoreCall, StoreError},
};

/// Compiles the example in the README.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
