#![cfg_attr(docsrs, feature(doc_cfg))]
//! Server-side HTTP sessions for tower and axum. The data stays on the server. The visitor gets a
//! cookie with a token that proves which session is theirs.
//!
//! [`SessionLayer`] gives every request of a service a session. In axum handlers, [`Session`] is an
//! argument. With the dependencies `axum`, `cloakroom` and `tokio` (feature `full`), this program counts the visits of each visitor:
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
//! Start it with `cargo run`, open `http://localhost:3000` and reload the page. What the browser holds, and every default, is in
//! [Getting started](guide::getting_started). To log users in, these are the parts:
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # mod program {
//! use axum::{Router, response::Redirect, routing::{get, post}};
//! use cloakroom::{CurrentUser, Error, Flash, RequireUser, ReturnTo, Session, SessionLayer};
//!
//! async fn log_in(session: Session, flash: Flash, to: ReturnTo) -> Result<Redirect, Error> {
//!     // After you have checked the password. The session gets a new id, and keeps its values.
//!     session.log_in("ann")?;
//!     flash.success("Welcome!")?;
//!     Ok(Redirect::to(to.or("/account")))
//! }
//!
//! async fn log_out(session: Session) -> Redirect {
//!     session.destroy();
//!     Redirect::to("/")
//! }
//!
//! async fn account(CurrentUser(name): CurrentUser) -> String {
//!     format!("Hello, {name}")
//! }
//!
//! # pub fn app() -> Router {
//! let app = Router::new()
//!     .route("/account", get(account))
//!     .route_layer(RequireUser::new()) // redirects visitors to /login?next=%2Faccount
//!     .route("/login", post(log_in))
//!     .route("/logout", post(log_out))
//!     .layer(SessionLayer::default().log_in_page("/login"));
//! # app
//! # }
//! # }
//! # fn main() {}
//! ```
//!
//! A page of another site can send a form too. Refuse that with tower-http's `CsrfLayer`, as in [forms](guide::forms).
//!
//! The [guide] has a page for each of these, with a whole program: [a log-in with a database](guide::log_in),
//! [OpenID Connect](guide::openid_connect), [forms](guide::forms), [JSON and native apps](guide::json_and_apps),
//! [WebSockets](guide::web_sockets), [concurrency](guide::concurrency), [production](guide::production),
//! [operating](guide::operating), [testing](guide::testing) and [security](guide::security). If you come from another library,
//! [here are the counterparts](guide::if_you_know).
//!
//! Services without axum find a [`SessionHandle`] in the request's extensions.
//!
//! | to | look at |
//! | --- | --- |
//! | read and change a session | [`Session`], [`Key`], [`SessionData`] |
//! | change a value that others change too; use a value once | [`Session::update`], [`Session::claim`] |
//! | set timeouts and limits | [`SessionLayer`], [`Timeout`] |
//! | choose the cookie's name and attributes | [`SessionCookie`] |
//! | list, count and revoke sessions, limit them per user | [`Sessions`], [`SessionLayer::max_sessions_per_user`] |
//! | log a user in, and remember them | [`Session::log_in`], [`Session::remember_for`] |
//! | get the user, and redirect visitors to the log-in page | [`CurrentUser`], [`RequireUser`], [`ReturnTo`] |
//! | ask for the password again before a payment | [`RequireUser::fresh`], [`Session::confirm`] |
//! | log a user out everywhere when the password changes | [`SessionLayer::user_stamp`], [`Sessions::revoke_others`] |
//! | show a user's devices by name | [`SessionLayer::label_user_agent`], [`SessionLayer::label`], [`SessionSummary::label`] |
//! | log out, keep some values, and clear the browser's caches | [`Session::destroy`], [`Session::destroy_except`], [`SessionLayer::clear_site_data`], [`SessionLayer::no_store_for_users`] |
//! | show a message once | [`Flash`] |
//! | warn before a session ends | [`TimeLeft`] |
//! | call code when a session begins, changes or ends; count sessions | [`SessionLayer::on_event`], [`EventKind`], [`Stats`] |
//! | choose where sessions are stored | [`MemoryStore`], [`store::TieredStore`], [`SessionStore`] |
//! | close a socket when its session ends | [`Session::ended`], [`Session::touch`], [`Session::save`] |
//! | shut down with open sockets and running commits | [`Shutdown`] |
//! | answer at once while the store is down | [`SessionLayer::circuit_breaker`], [`CircuitBreaker`] |
//! | take tokens from headers: mobile apps, APIs | [`SessionLayer::transport`] |
//! | reject forged tokens without asking the store | [`SessionLayer::token_keys`] |
//! | make copied cookies worthless | [`SessionLayer::renew_every`] |
//! | run several applications on one store | [`SessionLayer::realm`], [`SessionCookie`] |
//! | continue sessions of another library | [`SessionLayer::import`], [the guide](guide::moving_from_tower_sessions) |
//! | give operators a page or a command | the packages `cloakroom-console` and `cloakroom-cli`: [the guide](guide::operators) |
//! | test handlers and stores | the feature `testing`: [the guide](guide::testing) |
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
//! `RULES.md` in the repository lists what the crate promises. Each rule has tests. The
//! documentation refers to rules by letter and number: T for tokens, C for the commit, M for
//! merging, L for lifetime, H for headers, F for failure, R for renewal, P for all sessions
//! together, U for users, I for imports.

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
    shutdown::{Shutdown, TrackedTask},
    store::{MemoryStore, SessionStore, StoreCall, StoreError},
};

#[cfg(all(feature = "axum", any(doc, doctest)))]
pub mod guide {
    //! The guide: pages to read in order, each with a program that is tested.
    //!
    //! | page | what it covers |
    //! | --- | --- |
    //! | [`getting_started`] | install, a whole program, what the browser holds, the defaults |
    //! | [`log_in`] | sign-up and log-in with a database, pages for users, roles, a change of the password, "remember me", devices |
    //! | [`openid_connect`] | log in with another site's account |
    //! | [`forms`] | flash messages, forms from other sites, double submission |
    //! | [`json_and_apps`] | `fetch`, CORS, 401 and 503, native clients with tokens in headers |
    //! | [`web_sockets`] | the end of a session, activity, saving, shutdown |
    //! | [`concurrency`] | what merges, `update`, `try_update`, `claim`, and what belongs in a database |
    //! | [`production`] | stores, timeouts, nodes, Kubernetes, proxies, capacity, backups |
    //! | [`operating`] | statistics, lists, revoking, an audit log, privacy |
    //! | [`operators`] | the operator's page, the command line, and their counterparts elsewhere |
    //! | [`testing`] | tests of handlers, of failures, and of stores |
    //! | [`security`] | what the crate does against each attack, and what is yours to do |
    //! | [`moving_from_tower_sessions`] | axum-login and axum-messages unchanged, import of live sessions, and how to go back |
    //! | [`if_you_know`] | axum-login, axum_session, actix-session, express-session, Spring Session, Django: where things are here |

    // Links on the pages lead to files, in the repository. Of two definitions of a link, the first counts: that of
    // `guide_links.md`, which leads to a module here. Most programs are examples of `cloakroom-guide`, where tests run them. Their pages are
    // not doctests here.
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[doc = include_str!("../docs/guide/concurrency.md")]
    pub mod concurrency {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/forms.md"))]
    pub mod forms {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/getting-started.md"))]
    pub mod getting_started {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/if-you-know.md"))]
    pub mod if_you_know {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/json-and-apps.md"))]
    pub mod json_and_apps {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/log-in.md"))]
    pub mod log_in {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/moving-from-tower-sessions.md"))]
    pub mod moving_from_tower_sessions {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/openid-connect.md"))]
    pub mod openid_connect {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/operating.md"))]
    pub mod operating {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/operators.md"))]
    pub mod operators {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/production.md"))]
    pub mod production {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/security.md"))]
    pub mod security {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/testing.md"))]
    pub mod testing {}
    #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
    #[cfg_attr(not(doctest), doc = include_str!("../docs/guide/web-sockets.md"))]
    pub mod web_sockets {}
}

/// The examples in the README, as doctests.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
