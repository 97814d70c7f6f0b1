use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{Created, EndedSink, Filter, MySqlStore, Reaped, StoreErrorKind, Touched, Updated},
    testing::Conformance,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _, mysql::MySqlPoolOptions, pool::PoolOptions};

use super::{
    load::Load,
    population, processes,
    server_faults::server_faults,
    sql::{Database, id, record, sql_store_tests, until},
};
use crate::support::{
    process::free_port,
    proxy::{Mode, Proxy},
    servers::MariaDb,
};

sql_store_tests!(MySqlStore);
server_faults!(MySqlStore, MariaDb);

async fn execute(store: &MySqlStore, sql: &str) -> u64 {
    let sql = AssertSqlSafe(sql.to_owned());
    let done = sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
    done.rows_affected()
}

async fn text(store: &MySqlStore, sql: &str) -> String {
    let sql = AssertSqlSafe(sql.to_owned());
    let rows = sqlx::raw_sql(sql).fetch_all(store.pool()).await.unwrap();
    let texts: Vec<String> = rows.iter().map(|row| row.get_unchecked(0)).collect();
    texts.join("\n")
}

async fn database() -> Database {
    Database {
        url: MariaDb::shared().database().await,
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
    let fill = "INSERT INTO sessions SELECT UNHEX(MD5(seq)), 1, 255, UNHEX(SHA2(seq, 256)), 1000, seq, seq, '{}' \
                FROM seq_1_to_20000";
    execute(&store, fill).await;
    execute(&store, "ANALYZE TABLE sessions").await;
    let pool = MySqlPoolOptions::new().max_connections(1);
    let store = MySqlStore::new(pool.connect(&database.url).await.unwrap());
    let rows = async || -> u64 {
        let rows = "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS \
                    WHERE VARIABLE_NAME = 'HANDLER_READ_RND_NEXT'";
        text(&store, rows).await.parse().unwrap()
    };
    let before = rows().await;
    let filter = Filter {
        user: Some("ann".to_owned()),
        ..Filter::default()
    };
    for turn in 0..3 {
        let fresh = record(json!({ "user": "ann", "authenticated_at": 1 }));
        store.create(id(turn), &fresh, until(100)).await.unwrap();
        store.load(id(turn)).await.unwrap();
        store
            .update(id(turn), &fresh, until(100), fresh.version())
            .await
            .unwrap();
        store
            .touch(id(turn), fresh.version(), until(100))
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
