#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod changes;
mod clock;
mod commit;
mod cookie;
mod data;
mod deadline;
mod encoding;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod handle;
mod headers;
mod key;
mod layer;
mod lifetime;
mod queue;
mod reaper;
mod record;
mod service;
mod session;
mod state;
pub mod store;
mod swap;
mod token;
mod upkeep;
mod version;

#[cfg(feature = "axum")]
pub use self::extract::{SessionData, SessionValue};
pub use self::{
    clock::{Clock, SystemClock, Timestamp},
    cookie::{CookiePrefix, SameSite, SessionCookie, SessionCookieBuilder},
    error::{ConfigError, Error, ErrorKind},
    future::ResponseFuture,
    handle::SessionHandle,
    key::{Key, KeyName, ReadKey, WriteKey},
    layer::SessionLayer,
    lifetime::Timeout,
    record::{Activity, Record},
    service::SessionService,
    session::Session,
    store::{MemoryStore, SessionStore, StoreError},
    token::SessionId,
    version::Version,
};
