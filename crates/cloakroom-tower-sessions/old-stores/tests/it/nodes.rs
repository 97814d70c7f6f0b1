//! A node with tower-sessions, and one with cloakroom, over the servers of the tests. Both have axum-login.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use axum::{Router, extract::Path, routing::get};
use axum_login::{AuthManager, AuthManagerLayerBuilder, AuthUser, AuthnBackend};
use cloakroom::{
    SessionLayer, SessionStore,
    store::{PostgresStore, RedisStore},
};
use cloakroom_tower_sessions::{
    Core014, TowerSessionsImport, TowerSessionsLayer, Until, axum_login_user,
};
use tower::layer::layer_fn;
use tower_sessions::{
    Expiry, Session, SessionManagerLayer, SessionStore as OldStore, service::CookieController,
};
use tower_sessions_redis_store::{
    RedisStore as OldRedisStore,
    fred::{
        clients::Client,
        prelude::{Builder, ClientLike as _, Config},
    },
};
use tower_sessions_sqlx_store::{PostgresStore as OldPostgresStore, sqlx::PgPool};

use crate::support::{Postgres, Redis};

/// A user whom every node knows.
#[derive(Clone, Debug)]
struct User(u64);

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0
    }

    fn session_auth_hash(&self) -> &[u8] {
        &[1, 2, 3]
    }
}

#[derive(Clone)]
struct Backend;

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = u64;
    type Error = Infallible;

    async fn authenticate(&self, user: u64) -> Result<Option<User>, Infallible> {
        Ok(Some(User(user)))
    }

    async fn get_user(&self, user: &u64) -> Result<Option<User>, Infallible> {
        Ok(Some(User(*user)))
    }
}

type AuthSession = axum_login::AuthSession<Backend>;

/// What both kinds of nodes serve.
fn routes() -> Router {
    let user = async |auth: AuthSession| match auth.user {
        Some(user) => user.0.to_string(),
        None => "nobody".to_owned(),
    };
    let log_in = async |Path(user): Path<u64>, mut auth: AuthSession| {
        let user = auth.authenticate(user).await.unwrap().unwrap();
        auth.login(&user).await.unwrap();
    };
    let log_out = async |mut auth: AuthSession| {
        auth.logout().await.unwrap();
    };
    let count = async |session: Session| {
        let count = session.get::<u64>("count").await.unwrap().unwrap_or(0) + 1;
        session.insert("count", count).await.unwrap();
        count.to_string()
    };
    Router::new()
        .route("/user", get(user))
        .route("/log_in/{user}", get(log_in))
        .route("/log_out", get(log_out))
        .route("/count", get(count))
}

/// A node with tower-sessions.
pub(crate) fn old_node(store: &(impl OldStore + Clone)) -> Router {
    let expiry = Expiry::OnInactivity(time::Duration::days(1));
    old_node_of(SessionManagerLayer::new(store.clone()).with_expiry(expiry))
}

/// A node with this layer of tower-sessions.
pub(crate) fn old_node_of<S, C>(layer: SessionManagerLayer<S, C>) -> Router
where
    S: OldStore + Clone,
    C: CookieController + Sync,
{
    routes().layer(AuthManagerLayerBuilder::new(Backend, layer).build())
}

pub(crate) type Import<S> = TowerSessionsImport<S, Core014, Until>;

pub(crate) fn import<S: OldStore + Clone>(store: &S) -> Import<S> {
    TowerSessionsImport::new(store.clone())
        .cookie("id")
        .until(SystemTime::now() + Duration::from_secs(24 * 60 * 60))
        .user_from("axum-login.data", axum_login_user)
}

/// cloakroom's layer, which imports.
pub(crate) fn new_layer<S: OldStore>(store: impl SessionStore, import: Import<S>) -> SessionLayer {
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
        .layer(layer_fn(|inner| {
            AuthManager::new(inner, Backend, "axum-login.data")
        }))
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
