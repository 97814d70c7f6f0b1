//! The program of the page "Moving from tower-sessions and axum-login".

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use axum_login::{
    AuthManager, AuthManagerLayerBuilder, login_required,
    tower_sessions::{Expiry, MemoryStore, SessionManagerLayer, cookie::time},
};
use axum_messages::MessagesManagerLayer;
use cloakroom::{SessionLayer, store::SqliteStore};
// Your own: the backend of axum-login, and pages.
use cloakroom_guide::moving::{Backend, auth, protected};
use cloakroom_tower_sessions::{
    TowerSessionsImport, TowerSessionsLayer, axum_login_user, delete_remaining,
};
use sqlx::SqlitePool;
use tower::layer::layer_fn;

fn before(old_store: MemoryStore, backend: Backend) -> Router {
    let session_layer = SessionManagerLayer::new(old_store)
        .with_expiry(Expiry::OnInactivity(time::Duration::days(1)));
    let auth_layer = AuthManagerLayerBuilder::new(backend, session_layer).build();
    Router::new()
        .route("/", get(protected))
        .route_layer(login_required!(Backend, login_url = "/login"))
        .merge(auth::router())
        .layer(MessagesManagerLayer)
        .layer(auth_layer)
}

async fn sessions(url: &str) -> Result<SessionLayer, Box<dyn Error>> {
    let store = SqliteStore::connect(url).await?;
    store.migrate().await?;
    Ok(SessionLayer::new(store)
        .idle_timeout(Duration::from_secs(24 * 60 * 60))
        .absolute_timeout(None)
        .persistent(true))
}

fn after(sessions: SessionLayer, backend: Backend) -> Router {
    Router::new()
        .route("/", get(protected))
        .route_layer(login_required!(Backend, login_url = "/login"))
        .merge(auth::router())
        .layer(MessagesManagerLayer)
        .layer(layer_fn(move |inner| {
            AuthManager::new(inner, backend.clone(), "axum-login.data")
        }))
        .layer(TowerSessionsLayer::new().user_from("axum-login.data", axum_login_user))
        .layer(sessions)
}

/// `old_store` is the store that `SessionManagerLayer` had.
fn with_import(sessions: SessionLayer, old_store: MemoryStore, date: SystemTime) -> SessionLayer {
    let import = TowerSessionsImport::new(old_store)
        // The argument of `with_name`, if there was one.
        .cookie("id")
        // The end of the import, see below.
        .until(date)
        .user_from("axum-login.data", axum_login_user)
        // As long as you may have to go back.
        .keep(true);
    sessions.import(import)
}

const BATCH: &str =
    "delete from tower_sessions where id in (select id from tower_sessions limit $1)";

async fn clean_up(pool: SqlitePool) -> sqlx::Result<()> {
    delete_remaining(1000, Duration::from_millis(100), async |batch| {
        let done = sqlx::query(BATCH).bind(i64::from(batch)).execute(&pool);
        Ok::<_, sqlx::Error>(done.await?.rows_affected())
    })
    .await?;
    Ok(())
}

#[cfg(test)]
#[path = "moving.rs"]
mod tests;
