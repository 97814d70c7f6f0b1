//! A node with tower-sessions, and one with cloakroom, over the servers of the tests.

use std::time::{Duration, SystemTime};

use axum::{Router, extract::Path, routing::get};
use cloakroom::{
    SessionLayer, SessionStore,
    store::{PostgresStore, RedisStore},
};
use cloakroom_tower_sessions::{
    Core014, TowerSessionsImport, TowerSessionsLayer, Until, axum_login_user,
};
use serde_json::json;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore as OldStore};
use tower_sessions_redis_store::{
    RedisStore as OldRedisStore,
    fred::{
        clients::Client,
        prelude::{Builder, ClientLike as _, Config},
    },
};
use tower_sessions_sqlx_store::{PostgresStore as OldPostgresStore, sqlx::PgPool};

use crate::support::{Postgres, Redis};

/// What both kinds of nodes serve.
pub(crate) fn routes() -> Router {
    let user = async |session: Session| {
        let data: Option<serde_json::Value> = session.get("axum-login.data").await.unwrap();
        let user = data.map(|data| data["user_id"].to_string());
        user.unwrap_or_else(|| "nobody".to_owned())
    };
    let log_in = async |Path(user): Path<u64>, session: Session| {
        session.cycle_id().await.unwrap();
        let data = json!({ "user_id": user, "auth_hash": [1, 2, 3] });
        session.insert("axum-login.data", data).await.unwrap();
    };
    let count = async |session: Session| {
        let count = session.get::<u64>("count").await.unwrap().unwrap_or(0) + 1;
        session.insert("count", count).await.unwrap();
        count.to_string()
    };
    Router::new()
        .route("/user", get(user))
        .route("/log_in/{user}", get(log_in))
        .route("/log_out", get(async |session: Session| session.flush().await.unwrap()))
        .route("/count", get(count))
}

/// A node with tower-sessions.
pub(crate) fn old_node(store: &(impl OldStore + Clone)) -> Router {
    let expiry = Expiry::OnInactivity(time::Duration::days(1));
    routes().layer(SessionManagerLayer::new(store.clone()).with_expiry(expiry))
}

pub(crate) type Import<S> = TowerSessionsImport<S, Core014, Until>;

pub(crate) fn import<S: OldStore + Clone>(store: &S) -> Import<S> {
    TowerSessionsImport::new(store.clone())
        .cookie("id")
        .until(SystemTime::now() + Duration::from_secs(24 * 60 * 60))
        .user_from("axum-login.data", axum_login_user)
}

/// cloakroom's layer, which imports.
pub(crate) fn new_layer<S: OldStore>(
    store: impl SessionStore,
    import: Import<S>,
) -> SessionLayer {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    SessionLayer::new(store)
        .idle_timeout(week)
        .absolute_timeout(week)
        .persistent(true)
        .import(import)
}

/// A node with cloakroom.
pub(crate) fn new_node(layer: &SessionLayer) -> Router {
    let ours = async |session: cloakroom::Session| {
        format!(
            "user={:?} authenticated={}",
            session.user(),
            session.authenticated_at().is_some()
        )
    };
    let bridge = TowerSessionsLayer::new().user_from("axum-login.data", axum_login_user);
    routes()
        .route("/ours", get(ours))
        .layer(bridge)
        .layer(layer.clone())
}

/// A database with tower-sessions' table and cloakroom's.
pub(crate) async fn postgres() -> (PgPool, OldPostgresStore, PostgresStore) {
    let url = Postgres::shared().database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    let old = OldPostgresStore::new(pool.clone());
    old.migrate().await.unwrap();
    let new = PostgresStore::connect(&url).await.unwrap();
    new.migrate().await.unwrap();
    (pool, old, new)
}

/// tower-sessions' store and cloakroom's on one Redis server.
pub(crate) async fn redis() -> (OldRedisStore<Client>, RedisStore) {
    let url = Redis::shared().url();
    let client = Builder::from_config(Config::from_url(&url).unwrap());
    let client = client.build().unwrap();
    client.init().await.unwrap();
    let new = RedisStore::connect(&url).await.unwrap();
    (OldRedisStore::new(client), new)
}

/// How many records tower-sessions has in PostgreSQL.
pub(crate) async fn old_records(pool: &PgPool) -> i64 {
    let count = "select count(*) from tower_sessions.session";
    tower_sessions_sqlx_store::sqlx::query_scalar(count)
        .fetch_one(pool)
        .await
        .unwrap()
}
