//! What is measured against which server.

use cloakroom::store::{MySqlStore, PostgresStore, RedisStore, SqliteStore};
use tower_sessions_redis_store::fred::prelude::{ClientLike as _, Config, Pool};
use tower_sessions_sqlx_store::sqlx as peer_sqlx;

use super::{
    CONNECTIONS, Payload,
    ours::Ours,
    peer::Peer,
    round::{Bench, Measured, Subject},
};

/// Cloakroom first, then its peers, all connected, with their sessions.
pub async fn open(url: &str, payload: Payload, tasks: usize) -> Vec<Box<dyn Measured>> {
    match url.split(':').next() {
        Some("postgres") => postgres(url, payload, tasks).await,
        Some("mysql") => mysql(url, payload, tasks).await,
        Some("sqlite") => sqlite(url, payload, tasks).await,
        Some("redis" | "redis-cluster") => redis(url, payload, tasks).await,
        _ => panic!("neither postgres, mysql, sqlite, redis nor redis-cluster"),
    }
}

const OURS: &str = "cloakroom";
const PEER: &str = "tower-sessions";
const NO_PING: &str = "tower-sessions, no ping";
const WAL: &str = "tower-sessions, WAL";
const WAL_NO_PING: &str = "tower-sessions, WAL, no ping";

async fn bench(name: &'static str, subject: impl Subject, tasks: usize) -> Box<dyn Measured> {
    Box::new(Bench::start(name, subject, tasks).await)
}

async fn postgres(url: &str, payload: Payload, tasks: usize) -> Vec<Box<dyn Measured>> {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false);
    let store = PostgresStore::new(pool.connect(url).await.expect("a server"));
    let store = store.table("cloakroom_bench").expect("a name");
    store.migrate().await.expect("a table");
    let mut all = vec![bench(OURS, Ours::new(store, payload), tasks).await];
    for (name, pings) in [(PEER, true), (NO_PING, false)] {
        let pool = peer_sqlx::postgres::PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(pings);
        let pool = pool.connect(url).await.expect("a server");
        let store = tower_sessions_sqlx_store::PostgresStore::new(pool);
        store.migrate().await.expect("a table");
        all.push(bench(name, Peer::new(store, payload), tasks).await);
    }
    all
}

async fn mysql(url: &str, payload: Payload, tasks: usize) -> Vec<Box<dyn Measured>> {
    let pool = sqlx::mysql::MySqlPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false);
    let store = MySqlStore::new(pool.connect(url).await.expect("a server"));
    let store = store.table("cloakroom_bench").expect("a name");
    store.migrate().await.expect("a table");
    let mut all = vec![bench(OURS, Ours::new(store, payload), tasks).await];
    for (name, pings) in [(PEER, true), (NO_PING, false)] {
        let pool = peer_sqlx::mysql::MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(pings);
        let pool = pool.connect(url).await.expect("a server");
        let store = tower_sessions_sqlx_store::MySqlStore::new(pool);
        store.migrate().await.expect("a table");
        all.push(bench(name, Peer::new(store, payload), tasks).await);
    }
    all
}

/// Each has a file of its own beside `url`'s: the peer's as sqlx makes it, and in WAL mode, as ours.
async fn sqlite(url: &str, payload: Payload, tasks: usize) -> Vec<Box<dyn Measured>> {
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false);
    let own = format!("{url}.cloakroom?mode=rwc");
    let store = SqliteStore::new(pool.connect(&own).await.expect("a file"));
    store.migrate().await.expect("a table");
    let mut all = vec![bench(OURS, Ours::new(store, payload), tasks).await];
    for (name, file, mode, pings) in [
        (PEER, "peer", "DELETE", true),
        (WAL, "wal", "WAL", true),
        (WAL_NO_PING, "wal", "WAL", false),
    ] {
        let pool = peer_sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(pings);
        let its = format!("{url}.{file}?mode=rwc");
        let pool = pool.connect(&its).await.expect("a file");
        let set = format!("PRAGMA journal_mode = {mode}");
        let set = peer_sqlx::query(&set).execute(&pool).await;
        set.expect("a journal");
        let store = tower_sessions_sqlx_store::SqliteStore::new(pool);
        store.migrate().await.expect("a table");
        all.push(bench(name, Peer::new(store, payload), tasks).await);
    }
    all
}

async fn redis(url: &str, payload: Payload, tasks: usize) -> Vec<Box<dyn Measured>> {
    let servers = url.split_once("://").map_or("", |(_, servers)| servers);
    let (store, config) = if url.starts_with("redis-cluster") {
        let servers: Vec<_> = servers.split(',').collect();
        let urls: Vec<_> = servers.iter().map(|at| format!("redis://{at}")).collect();
        let store = RedisStore::cluster(urls.iter().map(String::as_str)).await;
        let nodes: Vec<_> = servers.iter().map(|at| format!("node={at}")).collect();
        let url = format!("redis-cluster://{}?{}", servers[0], nodes.join("&"));
        (store, Config::from_url(&url))
    } else {
        (RedisStore::connect(url).await, Config::from_url(url))
    };
    let ours = Ours::new(store.expect("a server"), payload);
    let config = config.expect("a URL");
    let pool = Pool::new(config, None, None, None, CONNECTIONS as usize).expect("a pool");
    pool.init().await.expect("a server");
    let store = tower_sessions_redis_store::RedisStore::new(pool);
    vec![
        bench(OURS, ours, tasks).await,
        bench(PEER, Peer::new(store, payload), tasks).await,
    ]
}
