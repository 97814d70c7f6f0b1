use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{
        Created, PendingMigration, PostgresStore, Query, Reaped, RemovalSink, StoreErrorKind,
        Touched, Updated,
    },
    testing::Conformance,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _, pool::PoolOptions, postgres::PgPoolOptions};

use super::{
    Database, ROWS, deep_pages, id, record, server_faults::server_faults, sql_store_tests, until,
};
use crate::support::{Log, former};
use crate::{
    store::{abandon, load::Load, population, processes},
    support::{
        process::free_port,
        proxy::{Mode, Proxy},
        servers::Postgres,
    },
};

sql_store_tests!(PostgresStore);
server_faults!(PostgresStore, Postgres);

const TITLE: &str = "PostgreSQL";

async fn database() -> Database {
    Database {
        url: Postgres::shared().database().await,
        _keep: None,
    }
}

fn literal(id: SessionId) -> String {
    format!("'{id}'")
}

async fn forbid(store: &PostgresStore) {
    let check = "ALTER TABLE sessions ADD CHECK (record NOT LIKE '%private%')";
    execute(store, check).await;
}

#[tokio::test]
async fn a_table_may_be_in_a_schema() {
    let (database, store) = empty().await;
    let store = store.table("app.Sessions").unwrap();
    let error = store.migrate().await.unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(
        cause.contains("there is no such schema: create it"),
        "{cause}"
    );
    execute(&store, "CREATE SCHEMA app").await;
    store.migrate().await.unwrap();
    store
        .create(id(1), &record(json!({})), until(None))
        .await
        .unwrap();
    assert_eq!(
        text(&store, r#"SELECT count(*) FROM app."Sessions""#).await,
        "1"
    );
    let again = PostgresStore::connect(&database.url).await.unwrap();
    again
        .table("app.Sessions")
        .unwrap()
        .migrate()
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_but_a_count_reads_the_whole_table() {
    let (database, store) = migrated().await;
    let fill = "INSERT INTO sessions (id, counter, writer, user_hash, created_at, last_seen_at, expires_at, record) \
                SELECT gen_random_uuid(), 1, 255, decode(md5(n::text), 'hex'), 1000, n, n, \
                '{}' FROM generate_series(1, 20000) n";
    execute(&store, fill).await;
    execute(&store, "ANALYZE sessions").await;
    let scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sessions'";
    store.pool().close().await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    let before = text(&store, scans).await;
    let filter = Query::default().with_user("ann");
    // More often than a prepared statement is planned anew.
    for turn in 0..10 {
        let fresh = record(json!({ "user": "ann", "authenticated_at": 1 }));
        store.create(id(turn), &fresh, until(100)).await.unwrap();
        store.load(id(turn)).await.unwrap();
        store
            .update(id(turn), &fresh, until(100), former(fresh.version()))
            .await
            .unwrap();
        store
            .touch(id(turn), former(fresh.version()), until(100))
            .await
            .unwrap();
        assert!(
            !store
                .list(&filter, None, 10)
                .await
                .unwrap()
                .sessions
                .is_empty()
        );
        store.delete(id(turn)).await.unwrap();
        let removed = store
            .delete_expired(Timestamp::from_millis(10 + turn as u64), 100)
            .await;
        assert!(removed.unwrap().removed > 0);
    }
    // A server process tells its statistics when it ends, at the latest.
    store.pool().close().await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    assert_eq!(text(&store, scans).await, before);
}

#[tokio::test]
async fn a_page_at_any_depth_is_found_by_an_index() {
    let (database, store) = migrated().await;
    let bytes = record(json!({})).to_bytes();
    let fill = format!(
        "INSERT INTO sessions (id, counter, writer, user_hash, created_at, begun_at, last_seen_at, record) \
         SELECT md5(n::text)::uuid, 1, 255, \
         CASE WHEN n % 1000 = 0 THEN sha256('ann') WHEN n % 2 = 0 THEN sha256(n::text::bytea) END, \
         n, n, n, '{}' FROM generate_series(1, {ROWS}) n",
        str::from_utf8(&bytes).unwrap()
    );
    execute(&store, &fill).await;
    execute(&store, "ANALYZE sessions").await;
    // The server sends the plan of each statement.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let explain = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; \
                               SET auto_explain.log_level = notice";
                sqlx::raw_sql(explain).execute(connection).await.map(drop)
            })
        });
    let store = PostgresStore::new(pool.connect(&database.url).await.unwrap());
    for page in deep_pages() {
        let log = Log::capture();
        let found = store.list(&page.query, Some(&page.after), 10).await;
        assert_eq!(found.unwrap().sessions.len(), 10, "{:?}", page.query);
        let plan = log.text();
        let index = format!("using sessions_{} on sessions", page.index);
        assert!(plan.contains(&index), "{index}: {plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
        // Within a window only its own rows are sorted.
        assert!(page.is_windowed || !plan.contains("Sort"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract_where_transactions_are_serializable() {
    let (database, store) = migrated().await;
    let name = database.url.rsplit('/').next().unwrap();
    let strict = format!("ALTER DATABASE {name} SET default_transaction_isolation = serializable");
    execute(&store, &strict).await;
    let store = PostgresStore::connect(&database.url).await.unwrap();
    assert_eq!(
        text(&store, "SHOW transaction_isolation").await,
        "serializable"
    );
    Conformance::new(async || store.clone()).run().await;
}

#[tokio::test]
async fn tls_that_the_driver_lacks_is_an_error_that_says_what_to_turn_on() {
    let url = database().await.url + "?sslmode=require";
    let error = PostgresStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let said = format!("{error} {error:?} {}", error.source().unwrap());
    let place = format!("127.0.0.1:{}", Postgres::shared().port());
    for part in [&*place, "sqlx's feature tls-rustls"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn an_error_of_a_failover_leaves_open_whether_the_call_was_applied() {
    let (_database, store) = migrated().await;
    for code in [
        "40003", "08007", "08006", "08003", "57P01", "57P02", "58000",
    ] {
        let function = format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'of the row' USING ERRCODE = '{code}'; END $$"
        );
        execute(&store, &function).await;
        let trigger = "CREATE OR REPLACE TRIGGER failing BEFORE INSERT ON sessions \
                       FOR EACH ROW EXECUTE FUNCTION fail()";
        execute(&store, trigger).await;
        let created = store.create(id(1), &record(json!({})), until(None)).await;
        let error = created.unwrap_err();
        assert!(!error.is_not_applied(), "{code}");
        assert!(!format!("{error:?}").contains("of the row"), "{error:?}");
        let is_known = code == "58000" || error.kind() == StoreErrorKind::Unavailable;
        assert!(is_known, "{code}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_row_that_is_locked_takes_no_other_sessions_connections() {
    let (database, store) = empty().await;
    store.migrate().await.unwrap();
    for number in [1, 2] {
        store
            .create(id(number), &record(json!({})), until(None))
            .await
            .unwrap();
    }
    let others = sqlx::PgPool::connect(&database.url).await.unwrap();
    let mut transaction = others.begin().await.unwrap();
    let lock = format!(
        "SELECT 1 FROM sessions WHERE id = {} FOR UPDATE",
        literal(id(1))
    );
    sqlx::query(AssertSqlSafe(lock))
        .execute(&mut *transaction)
        .await
        .unwrap();
    let version = record(json!({})).version();
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.touch(id(1), former(version), until(9_000 + n)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let load = tokio::time::timeout(Duration::from_secs(2), store.load(id(2)));
    let loaded = load.await;
    transaction.rollback().await.unwrap();
    for task in waiting {
        let _ = task.await;
    }
    assert!(
        loaded
            .expect("another session is loaded")
            .unwrap()
            .is_some()
    );
}
