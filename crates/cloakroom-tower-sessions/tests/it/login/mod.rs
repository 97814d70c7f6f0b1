//! axum-login's examples, on cloakroom: the same handlers and backends, with a form and a page of plain text.

mod imported;
mod oauth2;
mod permissions;
mod sqlite;
mod users;

use std::time::Duration;

use axum::{
    Form, Router,
    extract::Query,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use axum_login::AuthManager;
use axum_messages::{Messages, MessagesManagerLayer};
use cloakroom::{SessionLayer, Sessions, store::SqliteStore};
use cloakroom_tower_sessions::TowerSessionsLayer;
use http::StatusCode;
use serde::Deserialize;
use tempfile::TempDir;
use tower::layer::layer_fn;

use self::users::{Backend, Credentials};
use crate::support::Browser;

type AuthSession = axum_login::AuthSession<Backend>;

#[derive(Deserialize)]
struct NextUrl {
    next: Option<String>,
}

/// The routes that the examples with a password have in common.
fn log_in_and_out() -> Router {
    let form = async |messages: Messages, Query(NextUrl { next }): Query<NextUrl>| {
        let messages: Vec<_> = messages.map(|message| message.to_string()).collect();
        format!("{} next={}", messages.join(", "), next.unwrap_or_default())
    };
    Router::new()
        .route("/login", get(form).post(log_in))
        .route("/logout", get(log_out))
}

async fn log_in(
    mut auth_session: AuthSession,
    messages: Messages,
    Form(creds): Form<Credentials>,
) -> Response {
    let user = match auth_session.authenticate(creds.clone()).await {
        Ok(Some(user)) => user,
        Ok(None) => {
            messages.error("Invalid credentials");
            let url = match creds.next {
                Some(next) => format!("/login?next={next}"),
                None => "/login".to_owned(),
            };
            return Redirect::to(&url).into_response();
        }
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    if auth_session.login(&user).await.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    messages.success(format!("Successfully logged in as {}", user.name));
    Redirect::to(creds.next.as_deref().unwrap_or("/")).into_response()
}

async fn log_out(mut auth_session: AuthSession) -> Response {
    match auth_session.logout().await {
        Ok(_) => Redirect::to("/login").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// An example that runs: users and sessions in one SQLite file.
struct Example {
    browser: Browser,
    backend: Backend,
    sessions: Sessions,
    _directory: TempDir,
}

impl Example {
    async fn new(routes: Router) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("example.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let store = SqliteStore::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let backend = Backend::new(store.pool().clone()).await;
        // Theirs: a day without activity, and a cookie that outlives the browser.
        let day = Duration::from_secs(24 * 60 * 60);
        let sessions = SessionLayer::new(store).idle_timeout(day).persistent(true);
        Self {
            browser: Browser::new(on_cloakroom(routes, &backend, &sessions)),
            backend,
            sessions: sessions.sessions(),
            _directory: directory,
        }
    }

    async fn log_in(&self, browser: &Browser, name: &str) {
        log_in_as(browser, name).await;
    }
}

async fn log_in_as(browser: &Browser, name: &str) {
    let form = format!("username={name}&password=hunter42");
    let reply = browser.post("/login", &form).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::SEE_OTHER, "/")
    );
}

/// `routes` with axum-login and axum-messages, on cloakroom.
fn on_cloakroom(routes: Router, backend: &Backend, sessions: &SessionLayer) -> Router {
    // What axum-login's `AuthManagerLayerBuilder` builds, without a `SessionManagerLayer`.
    let backend = backend.clone();
    let auth = layer_fn(move |inner| AuthManager::new(inner, backend.clone(), "axum-login.data"));
    let bridge = TowerSessionsLayer::new().user_from("axum-login.data", |data| {
        data.get("user_id")?.as_i64().map(|id| id.to_string())
    });
    routes
        .layer(MessagesManagerLayer)
        .layer(auth)
        .layer(bridge)
        .layer(sessions.clone())
}
