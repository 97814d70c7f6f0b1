#![cfg_attr(docsrs, feature(doc_cfg))]
//! Server-side HTTP sessions for tower and axum. The data stays on the server. The visitor gets a
//! cookie with a token that proves which session is theirs.
//!
//! [`SessionLayer`] gives every request of a service a session. In axum handlers, [`Session`] is an
//! argument. This program counts the visits of each visitor:
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # mod program {
//! use axum::{Router, routing::get};
//! use cloakroom::{Error, Session, SessionLayer};
//!
//! async fn counter(session: Session) -> Result<String, Error> {
//!     let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
//!     Ok(format!("visit {visits}"))
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let app = Router::new()
//!         .route("/", get(counter))
//!         .layer(SessionLayer::default());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).await
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! The [guide] begins there. It has a page for log-in, forms, JSON, WebSockets, concurrency,
//! production, operating, testing and security, each with a whole program.
//!
//! Services without axum find a [`SessionHandle`] in the request's extensions.
//!
//! | to | look at |
//! | --- | --- |
//! | read and change a session | [`Session`], [`Key`] |
//! | set timeouts and limits | [`SessionLayer`], [`Timeout`] |
//! | choose the cookie's name and attributes | [`SessionCookie`] |
//! | list, count and revoke sessions, limit them per user | [`Sessions`], [`SessionLayer::max_sessions_per_user`] |
//! | know the user, and send others to the log-in page | [`CurrentUser`], [`RequireUser`], [`ReturnTo`] |
//! | ask for the password again before a payment | [`RequireUser::fresh`], [`Session::confirm`] |
//! | log a user out everywhere when the password changes | [`SessionLayer::user_stamp`] |
//! | show a message once | [`Flash`] |
//! | warn before a session ends | [`TimeLeft`] |
//! | react to what happens to sessions, and count it | [`SessionLayer::on_event`], [`EventKind`], [`Stats`] |
//! | choose where sessions are stored | [`MemoryStore`], [`store::TieredStore`], [`SessionStore`] |
//! | close a socket when its session ends | [`Session::ended`], [`Session::touch`] |
//! | take tokens from headers: mobile apps, APIs | [`SessionLayer::transport`] |
//! | keep invented tokens from the store | [`SessionLayer::token_keys`] |
//! | make a copied cookie worthless | [`SessionLayer::renew_every`] |
//! | handle errors | [`Error`], [`ErrorKind`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `axum` | yes | the extractors `Session`, `Option<Session>`, `SessionData`, `SessionHandle`, `CurrentUser`, `ReturnTo`, `Flash`, `TimeLeft`; the layer `RequireUser`; [`Error`] as a response |
//! | `file` | no | `store::FileStore`: sessions in a directory, shared by the processes of one machine |
//! | `sqlite` | no | `SqliteStore`: sessions in a file that the processes of one machine share |
//! | `postgres` | no | `PostgresStore`: sessions in PostgreSQL, from version 12 on |
//! | `mysql` | no | `MySqlStore`: sessions in MySQL (from 8.0.1 on) or MariaDB (from 10.6 on) |
//! | `mysql-rsa` | no | `MySqlStore` on MySQL without TLS, where the server accepts passwords only with RSA encryption |
//! | `redis` | no | `store::RedisStore`: sessions in Redis or Valkey, on one server or in a cluster |
//! | `metrics` | no | the statistics as metrics, through the `metrics` facade: their names are in the docs of [`Stats`] |
//! | `testing` | no | the module `testing`: a conformance kit for stores, a clock, a store that fails on demand, and sessions for tests of handlers |
//!
//! # Rules
//!
//! `RULES.md` in the repository lists what the crate promises. Each rule is a test. The
//! documentation refers to rules by letter and number: T for tokens, C for the commit, M for
//! merging, L for lifetime, H for headers, F for failure, R for renewal, P for all sessions
//! together, U for users.

#[cfg(feature = "axum")]
mod auth;
mod breaker;
mod clock;
mod commit;
mod config;
mod cookie;
mod deadline;
mod error;
mod http;
pub mod import;
mod observe;
mod operator;
mod queue;
mod random;
mod record;
mod session;
mod shutdown;
mod state;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod throttle;

/// The commit's machines, for the model checker. No part of the API.
#[cfg(feature = "__model")]
#[doc(hidden)]
pub mod protocol {
    pub use crate::{
        commit::protocol::*,
        record::{
            lineage::{MoveKind, Origin, Successor},
            version::Wrote,
        },
    };
}

#[cfg(feature = "metrics")]
pub use self::observe::metrics::metric_buckets;
#[cfg(feature = "axum")]
pub use self::{
    auth::{
        current_user::CurrentUser,
        require_user::{RequireUser, RequireUserService},
        return_to::ReturnTo,
    },
    http::{
        extract::{SessionData, SessionValue},
        time_left::TimeLeft,
    },
};
pub use self::{
    breaker::CircuitBreaker,
    clock::{Clock, SystemClock, Timestamp},
    cookie::{
        CookiePrefix, FormerCookie, SameSite, SessionCookie, SessionCookieBuilder, Transport,
        Transports,
    },
    error::{ConfigError, Error, ErrorKind},
    http::{
        clear_site_data::ClearSiteData, future::ResponseFuture, layer::SessionLayer,
        service::SessionService,
    },
    observe::{
        event::{EndReason, Event, EventKind, Listener, Rejection, SessionEnd},
        stats::{CallStats, Stats},
        summary::SessionSummary,
    },
    operator::{
        count::SessionCount,
        filter::SessionFilter,
        paging::{Cursor, SessionPage},
        revoking::{RevokePreview, RevokeProgress},
        sessions::Sessions,
    },
    record::{
        Activity, Record,
        key::{Key, KeyName, ReadKey, WriteKey},
        timeout::Timeout,
        token::SessionId,
        token_keys::TokenKeys,
        user::UserId,
        version::Version,
    },
    session::{
        Session,
        flash::{Flash, FlashLevel, FlashMessage},
        handle::{PresentedId, SessionHandle},
    },
    shutdown::Shutdown,
    store::{MemoryStore, SessionStore, StoreCall, StoreError},
};

#[cfg(all(feature = "axum", any(doc, doctest)))]
pub mod guide {
    //! The guide: pages to read in order, each with a program that compiles.
    //!
    //! | page | what it covers |
    //! | --- | --- |
    //! | [`getting_started`] | install, a whole program, what the browser holds, the defaults |
    //! | [`log_in`] | log-in, pages for users, "remember me", log-out, a change of the password |
    //! | [`forms`] | flash messages, forms from other sites, double submission |
    //! | [`json_and_apps`] | `fetch`, CORS, 401 and 503, native clients |
    //! | [`web_sockets`] | the end of a session, activity, saving, shutdown |
    //! | [`concurrency`] | what merges, `update`, `try_update`, `claim`, and what belongs into a database |
    //! | [`production`] | stores, nodes, proxies, timeouts, restarts, capacity |
    //! | [`operating`] | statistics, lists, revoking, an audit log, privacy |
    //! | [`testing`] | tests of handlers, of failures, and of stores |
    //! | [`security`] | what the crate does against each attack, and what is yours to do |

    #[doc = include_str!("../docs/guide/concurrency.md")]
    pub mod concurrency {}
    #[doc = include_str!("../docs/guide/forms.md")]
    pub mod forms {}
    #[doc = include_str!("../docs/guide/getting-started.md")]
    pub mod getting_started {}
    #[doc = include_str!("../docs/guide/json-and-apps.md")]
    pub mod json_and_apps {}
    #[doc = include_str!("../docs/guide/log-in.md")]
    pub mod log_in {}
    #[doc = include_str!("../docs/guide/operating.md")]
    pub mod operating {}
    #[doc = include_str!("../docs/guide/production.md")]
    pub mod production {}
    #[doc = include_str!("../docs/guide/security.md")]
    pub mod security {}
    #[doc = include_str!("../docs/guide/testing.md")]
    pub mod testing {}
    #[doc = include_str!("../docs/guide/web-sockets.md")]
    pub mod web_sockets {}
}

/// The examples in the README, as doctests.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
