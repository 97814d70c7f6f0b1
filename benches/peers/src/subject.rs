//! What is measured: the same router and the same handlers over each [`Subject`].

use std::{hint::black_box, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderMap, Request, header},
    routing::{MethodRouter, get},
};
use axum_session::SessionNullPool;
use tower_layer::layer_fn;
use tower_service::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Bare,
    PassThrough,
    Extension,
    TowerSessions,
    AxumSession,
    Cloakroom,
}

impl Subject {
    pub const ALL: [Self; 6] = [
        Self::Bare,
        Self::PassThrough,
        Self::Extension,
        Self::TowerSessions,
        Self::AxumSession,
        Self::Cloakroom,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::PassThrough => "pass-through",
            Self::Extension => "Extension",
            Self::TowerSessions => "tower-sessions",
            Self::AxumSession => "axum_session",
            Self::Cloakroom => "cloakroom",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    pub fn has_sessions(self) -> bool {
        matches!(
            self,
            Self::TowerSessions | Self::AxumSession | Self::Cloakroom
        )
    }

    /// Every route under its layer, over an empty store of its own.
    pub async fn router(self) -> Router {
        match self {
            Self::Bare => routes(get(unused), get(unused), get(unused)),
            Self::PassThrough => {
                routes(get(unused), get(unused), get(unused)).layer(layer_fn(PassThrough))
            }
            Self::Extension => {
                routes(get(unused), get(unused), get(unused)).layer(Extension(Arc::new(0_u64)))
            }
            Self::TowerSessions => routes(
                get(tower_sessions_read),
                get(tower_sessions_write),
                get(tower_sessions_create),
            )
            .layer(tower_sessions::SessionManagerLayer::new(
                tower_sessions::MemoryStore::default(),
            )),
            Self::AxumSession => {
                let config = axum_session::SessionConfig::default();
                let store = axum_session::SessionStore::<SessionNullPool>::new(None, config)
                    .await
                    .expect("a store without a database");
                routes(
                    get(axum_session_read),
                    get(axum_session_write),
                    get(axum_session_create),
                )
                .layer(axum_session::SessionLayer::new(store))
            }
            Self::Cloakroom => routes(
                get(cloakroom_read),
                get(cloakroom_write),
                get(cloakroom_create),
            )
            .layer(cloakroom::SessionLayer::default()),
        }
    }
}

fn routes(read: MethodRouter, write: MethodRouter, create: MethodRouter) -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/read", read)
        .route("/write", write)
        .route("/create", create)
}

#[derive(Clone)]
struct PassThrough<S>(S);

impl<S: Service<Request<Body>>> Service<Request<Body>> for PassThrough<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}

const KEY: &str = "n";
const OK: &str = "ok";

async fn unused() -> &'static str {
    OK
}

async fn tower_sessions_read(session: tower_sessions::Session) -> &'static str {
    let n: Option<u64> = session.get(KEY).await.expect("a number");
    assert!(black_box(n).is_some());
    OK
}

async fn tower_sessions_write(session: tower_sessions::Session) -> &'static str {
    let n: Option<u64> = session.get(KEY).await.expect("a number");
    let n = n.expect("a session") + 1;
    session.insert(KEY, n).await.expect("a number");
    OK
}

async fn tower_sessions_create(session: tower_sessions::Session) -> &'static str {
    session.insert(KEY, 1_u64).await.expect("a number");
    OK
}

async fn axum_session_read(session: axum_session::Session<SessionNullPool>) -> &'static str {
    let n: Option<u64> = session.get(KEY);
    assert!(black_box(n).is_some());
    OK
}

async fn axum_session_write(session: axum_session::Session<SessionNullPool>) -> &'static str {
    let n: Option<u64> = session.get(KEY);
    session.set(KEY, n.expect("a session") + 1);
    OK
}

async fn axum_session_create(session: axum_session::Session<SessionNullPool>) -> &'static str {
    session.set(KEY, 1_u64);
    OK
}

async fn cloakroom_read(session: cloakroom::Session) -> &'static str {
    let n: Option<u64> = session.get(KEY).expect("a number");
    assert!(black_box(n).is_some());
    OK
}

async fn cloakroom_write(session: cloakroom::Session) -> &'static str {
    let n = session.update(KEY, |n: Option<u64>| n.expect("a session") + 1);
    assert!(n.is_ok());
    OK
}

async fn cloakroom_create(session: cloakroom::Session) -> &'static str {
    session.insert(KEY, 1_u64).expect("a number");
    OK
}

/// The `Cookie` that answers the `Set-Cookie`s among `headers`.
pub fn cookie(headers: &HeaderMap) -> String {
    let pairs: Vec<_> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .collect();
    pairs.join("; ")
}
