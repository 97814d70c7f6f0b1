use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{Created, EndedSink, Filter, Reaped, SqliteStore, StoreErrorKind, Updated},
    testing::{Conformance, conformance},
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{
    population, processes,
    sql::{Database, id, record, sql_store_tests, until},
};
use crate::support::process::Directory;

sql_store_tests!(SqliteStore);

async fn execute(store: &SqliteStore, sql: &str) -> u64 {
    let sql = AssertSqlSafe(sql.to_owned());
    let done = sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
    done.rows_affected()
}

async fn text(store: &SqliteStore, sql: &str) -> String {
    let sql = AssertSqlSafe(sql.to_owned());
    let rows = sqlx::raw_sql(sql).fetch_all(store.pool()).await.unwrap();
    let texts: Vec<String> = rows.iter().map(|row| row.get_unchecked(0)).collect();
    texts.join("\n")
}

async fn database() -> Database {
    let directory = Directory::new();
    Database {
        url: format!("sqlite://{}/sessions.db", directory.path().display()),
        _keep: Some(directory),
    }
}

fn literal(id: SessionId) -> String {
    format!("x'{:032x}'", u128::from_be_bytes(*id.as_bytes()))
}

async fn forbid(store: &SqliteStore) {
    let forbid = "CREATE TRIGGER forbid BEFORE INSERT ON sessions WHEN NEW.record LIKE '%private%' \
                  BEGIN SELECT RAISE(ABORT, 'of the row'); END";
    execute(store, forbid).await;
}

#[tokio::test]
async fn the_file_is_in_wal_mode_and_what_is_written_is_seen_by_all() {
    let (database, store) = migrated().await;
    assert_eq!(text(&store, "PRAGMA journal_mode").await, "wal");
    store
        .create(id(1), &record(json!({})), until(None))
        .await
        .unwrap();
    let other = SqlitePool::connect(&database.url).await.unwrap();
    let other = SqliteStore::new(other);
    other.migrate().await.unwrap();
    assert!(other.load(id(1)).await.unwrap().is_some());
    assert!(other.delete(id(1)).await.unwrap());
    assert!(store.load(id(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_pool_of_the_application_is_switched_to_wal() {
    let database = database().await;
    let pool = SqlitePool::connect(&format!("{}?mode=rwc", database.url))
        .await
        .unwrap();
    let store = SqliteStore::new(pool);
    assert_eq!(text(&store, "PRAGMA journal_mode").await, "delete");
    store.migrate().await.unwrap();
    // A connection that is open learns it when it reads the file next.
    let store = SqliteStore::new(SqlitePool::connect(&database.url).await.unwrap());
    assert_eq!(text(&store, "PRAGMA journal_mode").await, "wal");
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_an_error_at_once() {
    let error = SqliteStore::connect("sqlite:///no/such/folder/sessions.db")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let cause = error.source().unwrap().to_string();
    assert!(
        cause.starts_with("SQLite at /no/such/folder/sessions.db: the file cannot be opened"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_file_that_others_lock_for_too_long_is_unavailable() {
    let (database, store) = migrated().await;
    let impatient: SqliteConnectOptions = database.url.parse().unwrap();
    let impatient = impatient.busy_timeout(Duration::ZERO);
    let impatient = SqliteStore::new(SqlitePool::connect_with(impatient).await.unwrap());
    let mut others = store.pool().acquire().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut *others)
        .await
        .unwrap();
    let error = impatient
        .create(id(1), &record(json!({})), until(None))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    // Reading goes on.
    assert!(impatient.load(id(1)).await.unwrap().is_none());
    sqlx::raw_sql("COMMIT").execute(&mut *others).await.unwrap();
    impatient
        .create(id(1), &record(json!({})), until(None))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_is_in_memory_keeps_the_contract() {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let store = SqliteStore::new(pool.connect("sqlite::memory:").await.unwrap());
    store.migrate().await.unwrap();
    conformance(async || store.clone()).await;
}
