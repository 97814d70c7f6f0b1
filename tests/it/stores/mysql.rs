use std::{error::Error as _, sync::Arc};

use cloakroom::{
    SessionStore, Timestamp, Version,
    store::{Created, EndedSink, Filter, MySqlStore, Reaped, StoreErrorKind, Updated},
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    processes,
    sql::{Database, id, record, sql_store_tests, until},
};
use crate::support::servers::MariaDb;

sql_store_tests!(MySqlStore);

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
