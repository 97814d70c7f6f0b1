use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{
        Created, MySqlStore, PendingMigration, Query, Reaped, RemovalSink, StoreErrorKind, Touched,
        Updated,
    },
    testing::Conformance,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _, mysql::MySqlPoolOptions, pool::PoolOptions};

use super::{
    Database, ROWS, deep_pages, id, record, server_faults::server_faults, sql_store_tests, until,
};
use crate::support::former;
use crate::{
    store::{abandon, load::Load, population, processes},
    support::{
        process::free_port,
        proxy::{Mode, Proxy},
        servers::MySql,
    },
};

sql_store_tests!(MySqlStore);
server_faults!(MySqlStore, MySql);

const TITLE: &str = "MySQL and MariaDB";

async fn database() -> Database {
    Database {
        url: MySql::shared().database().await,
        _keep: None,
    }
}

fn literal(id: SessionId) -> String {
    format!("x'{:032x}'", u128::from_be_bytes(*id.as_bytes()))
}

async fn forbid(store: &MySqlStore) {
    let check = "ALTER TABLE sessions ADD CHECK (record NOT LIKE '%private%')";
    execute(store, check).await;
}

#[tokio::test]
async fn nothing_but_a_count_reads_the_whole_table() {
    let (database, store) = migrated().await;
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 \
                  UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let fill = format!(
        "INSERT INTO sessions (id, counter, writer, user_hash, created_at, last_seen_at, expires_at, record) \
         SELECT UNHEX(LEFT(SHA2(n, 256), 32)), 1, 255, UNHEX(SHA2(n, 256)), 1000, n, n, '{{}}' \
         FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d + 1 n \
         FROM {digits} a, {digits} b, {digits} c, {digits} d, (SELECT 0 d UNION SELECT 1) e) numbers"
    );
    execute(&store, &fill).await;
    execute(&store, "ANALYZE TABLE sessions").await;
    let pool = MySqlPoolOptions::new().max_connections(1);
    let store = MySqlStore::new(pool.connect(&database.url).await.unwrap());
    let rows = async || -> u64 {
        let status = "SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'";
        let row = sqlx::raw_sql(status).fetch_one(store.pool()).await.unwrap();
        row.get_unchecked::<String, _>(1).parse().unwrap()
    };
    let before = rows().await;
    let filter = Query::default().with_user("ann");
    for turn in 0..3 {
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
    // The status itself is some hundred rows.
    assert!(rows().await - before < 10_000);
}

#[tokio::test]
async fn a_page_at_any_depth_is_found_by_an_index() {
    let (database, store) = migrated().await;
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 \
                  UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let bytes = record(json!({})).to_bytes();
    let fill = format!(
        "INSERT INTO sessions (id, counter, writer, user_hash, created_at, begun_at, last_seen_at, record) \
         SELECT UNHEX(LEFT(SHA2(n, 256), 32)), 1, 255, \
         CASE WHEN n % 1000 = 0 THEN UNHEX(SHA2('ann', 256)) WHEN n % 2 = 0 THEN UNHEX(SHA2(n, 256)) END, \
         n, n, n, '{}' FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d + 1 n \
         FROM {digits} a, {digits} b, {digits} c, {digits} d, {digits} e) numbers WHERE n <= {ROWS}",
        str::from_utf8(&bytes).unwrap()
    );
    execute(&store, &fill).await;
    execute(&store, "ANALYZE TABLE sessions").await;
    let pool = MySqlPoolOptions::new().max_connections(1);
    let store = MySqlStore::new(pool.connect(&database.url).await.unwrap());
    // How many rows this connection has read, by all ways, and how many it has sorted.
    let status = async |names: &str| -> u64 {
        let status = format!("SHOW SESSION STATUS LIKE '{names}'");
        let rows = sqlx::raw_sql(AssertSqlSafe(status)).fetch_all(store.pool());
        let rows = rows.await.unwrap();
        let values = rows.iter().map(|row| row.get_unchecked::<String, _>(1));
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    for page in deep_pages() {
        let before = (status("Handler_read%").await, status("Sort_rows").await);
        let found = store.list(&page.query, Some(&page.after), 10).await;
        assert_eq!(found.unwrap().sessions.len(), 10, "{:?}", page.query);
        let sorted = status("Sort_rows").await - before.1;
        let read = status("Handler_read%").await - before.0;
        // The status itself is some hundred rows, each time.
        let most = if page.is_windowed { 20_000 } else { 5_000 };
        assert!(read < most, "{}: {read} of {:?}", page.index, page.query);
        assert!(page.is_windowed || sorted == 0, "{}: {sorted}", page.index);
    }
}

#[tokio::test]
async fn tls_that_the_driver_lacks_is_an_error_that_says_what_to_turn_on() {
    let url = database().await.url + "?ssl-mode=required";
    let error = MySqlStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let said = format!("{error} {error:?} {}", error.source().unwrap());
    let place = format!("127.0.0.1:{}", MySql::shared().port());
    for part in [&*place, "sqlx's feature tls-rustls"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract_at_every_isolation_level() {
    for level in ["READ UNCOMMITTED", "READ COMMITTED", "SERIALIZABLE"] {
        let pool = MySqlPoolOptions::new().after_connect(move |connection, _| {
            Box::pin(async move {
                let set = format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}");
                let set = sqlx::raw_sql(AssertSqlSafe(set)).execute(connection).await;
                set.map(drop)
            })
        });
        let database = database().await;
        let store = MySqlStore::new(pool.connect(&database.url).await.unwrap());
        store.migrate().await.unwrap();
        Conformance::new(async || store.clone()).run().await;
    }
}

#[tokio::test]
async fn an_error_of_a_failover_leaves_open_whether_the_call_was_applied() {
    let (_database, store) = migrated().await;
    for code in [1047, 1053, 1105, 1927, 2006, 2013, 9001, 9006] {
        execute(&store, "DROP TRIGGER IF EXISTS failing").await;
        let trigger = format!(
            "CREATE TRIGGER failing BEFORE INSERT ON sessions FOR EACH ROW \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'of the row'"
        );
        execute(&store, &trigger).await;
        let created = store.create(id(1), &record(json!({})), until(None)).await;
        let error = created.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{code}");
        assert!(!error.is_not_applied(), "{code}");
        assert!(!format!("{error:?}").contains("of the row"), "{error:?}");
    }
}
