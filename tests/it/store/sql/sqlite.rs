use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{
        Created, PendingMigration, Query, Reaped, RemovalSink, SqliteStore, StoreErrorKind, Updated,
    },
    testing::{Conformance, conformance},
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{Database, id, record, sql_store_tests, until};
use crate::{
    store::{population, processes},
    support::process::Directory,
};

sql_store_tests!(SqliteStore);

const TITLE: &str = "SQLite";

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
async fn only_a_migration_changes_the_mode_of_a_file() {
    let (_database, store) = empty().await;
    assert!(store.load(id(1)).await.is_err());
    store.pending_migration().await.unwrap();
    assert_eq!(text(&store, "PRAGMA journal_mode").await, "delete");
}

#[tokio::test]
async fn a_migration_switches_a_restored_copy_to_wal_though_its_tables_are_up_to_date() {
    let (database, store) = migrated().await;
    let copy = database.url.replace(".db", "-copy.db");
    let path = copy.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split('?').next().unwrap();
    execute(&store, &format!("VACUUM INTO '{path}'")).await;
    let restored = SqliteStore::connect(&copy).await.unwrap();
    assert_eq!(text(&restored, "PRAGMA journal_mode").await, "delete");
    restored.migrate().await.unwrap();
    // A connection that is open learns it when it reads the file next.
    let restored = SqliteStore::connect(&copy).await.unwrap();
    assert_eq!(text(&restored, "PRAGMA journal_mode").await, "wal");
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
async fn a_file_that_is_gone_is_unavailable_and_not_made_again() {
    let directory = Directory::new();
    let path = directory.path().join("sessions.db");
    let url = format!("sqlite://{}", path.display());
    let store = SqliteStore::connect(&url).await.unwrap();
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
    let error = store.load(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!path.exists());
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
    let store = SqliteStore::connect("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    conformance(async || store.clone()).await;
}

/// A store with a session, on so many connections, and how often one went back to the pool.
async fn counted(connections: u32) -> (Database, SqliteStore, Arc<AtomicUsize>) {
    let (database, first) = migrated().await;
    let created = first.create(id(1), &record(json!({})), until(None)).await;
    assert_eq!(created.unwrap(), Created::Yes);
    let returned = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&returned);
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .after_release(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(true) })
        });
    let pool = pool.connect(&database.url).await.unwrap();
    (database, SqliteStore::new(pool), returned)
}

async fn load(store: &SqliteStore, times: usize) {
    for _ in 0..times {
        assert!(store.load(id(1)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn calls_that_follow_each_other_take_the_same_connection_which_goes_back_soon() {
    let (_database, store, returned) = counted(4).await;
    load(&store, 1000).await;
    assert!(returned.load(Ordering::Relaxed) < 500);
    let idle = async {
        while store.pool().num_idle() < store.pool().size() as usize {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let idle = tokio::time::timeout(Duration::from_secs(60), idle).await;
    idle.expect("connections are given back");
    assert!(returned.load(Ordering::Relaxed) > 1000 / 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_calls_at_once_each_takes_the_connection_of_one_that_is_done() {
    let (_database, store, returned) = counted(2).await;
    let calls = (0..32).map(|_| load(&store, 50));
    futures::future::join_all(calls).await;
    assert!(returned.load(Ordering::Relaxed) < 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_application_that_waits_at_the_pool_has_its_turn() {
    let (_database, store, _) = counted(1).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { load(&store, usize::MAX).await })
        })
        .collect();
    for _ in 0..20 {
        let mut connection = store.pool().acquire().await.unwrap();
        sqlx::raw_sql("SELECT 1")
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    for call in calls {
        call.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_dropped_while_they_wait_keep_no_connection() {
    let (_database, store, _) = counted(2).await;
    for turn in 0..200 {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { load(&store, 3).await })
            })
            .collect();
        for _ in 0..turn % 20 {
            tokio::task::yield_now().await;
        }
        for call in calls.iter().step_by(2) {
            call.abort();
        }
        for call in calls {
            if let Err(error) = call.await {
                assert!(error.is_cancelled());
            }
        }
    }
    store.pool().close().await;
    assert_eq!(store.pool().size(), 0);
    let error = store.load(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

#[test]
fn a_runtime_that_ends_in_the_middle_of_calls_ends() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let (_database, store, _) = first.block_on(counted(4));
    for _ in 0..50 {
        let runtime = runtime();
        runtime.block_on(load(&store, 1));
        for _ in 0..8 {
            let store = store.clone();
            runtime.spawn(async move { load(&store, usize::MAX).await });
        }
        std::thread::sleep(Duration::from_millis(1));
        drop(runtime);
    }
    first.block_on(load(&store, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_given_up_cost_no_connections() {
    let (database, _store) = migrated().await;
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .after_connect(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        });
    let store = SqliteStore::new(pool.connect(&database.url).await.unwrap());
    // Given up at every stage: in the queue, while a connection is opened or checked, while the database works.
    for number in 0..2000 {
        let mut load = Box::pin(store.load(id(number)));
        for _ in 0..=number % 20 {
            if futures::poll!(&mut load).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert!(store.load(id(1)).await.unwrap().is_none());
    let made = made.load(Ordering::Relaxed);
    assert!(made <= 4, "{made} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_memory_lasts_as_long_as_its_store() {
    for url in [
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite:one-in-memory?mode=memory",
        "sqlite://another-in-memory?mode=memory&cache=shared",
    ] {
        let store = SqliteStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        let created = store.create(id(1), &record(json!({})), until(None)).await;
        assert_eq!(created.unwrap(), Created::Yes);
        // As the pool does with one that is idle, or old.
        let connection = store.pool().acquire().await.unwrap();
        connection.close().await.unwrap();
        assert!(store.load(id(1)).await.unwrap().is_some(), "{url}");
        assert_eq!(store.count(&Query::default()).await.unwrap(), 1);

        let pool = SqlitePoolOptions::new().idle_timeout(Duration::from_millis(1));
        let url = url
            .replace("sqlite:one", "sqlite:file:two")
            .replace("sqlite://another", "sqlite:file:third");
        let store = SqliteStore::new(pool.connect(&url).await.unwrap());
        store.migrate().await.unwrap();
        store
            .create(id(1), &record(json!({})), until(None))
            .await
            .unwrap();
        while store.pool().size() > 0 {
            let connection = store.pool().acquire().await.unwrap();
            connection.close().await.unwrap();
        }
        assert!(store.load(id(1)).await.unwrap().is_some(), "{url}");
    }
}

#[tokio::test]
async fn one_that_ends_with_each_connection_is_refused_unless_the_pool_keeps_its_only_one() {
    let private = || -> [SqliteConnectOptions; 5] {
        [
            SqliteConnectOptions::new(),
            SqliteConnectOptions::new().filename(":memory:"),
            SqliteConnectOptions::new().in_memory(true),
            "sqlite::memory:?cache=private".parse().unwrap(),
            "sqlite:by-name?mode=memory".parse().unwrap(),
        ]
    };
    for options in private() {
        let pool = SqlitePool::connect_lazy_with(options.clone());
        let error = SqliteStore::new(pool).migrate().await.unwrap_err();
        let cause = error.source().unwrap().to_string();
        for part in ["sqlite::memory:", "max_connections(1)"] {
            assert!(cause.contains(part), "{cause}");
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        let store = SqliteStore::new(pool.connect_lazy_with(options));
        store.migrate().await.unwrap();
        store
            .create(id(1), &record(json!({})), until(None))
            .await
            .unwrap();
    }
    let store = SqliteStore::connect("sqlite::memory:?cache=private")
        .await
        .unwrap();
    store.migrate().await.unwrap();
}
