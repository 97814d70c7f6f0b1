use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{Created, EndedSink, Filter, MySqlStore, Reaped, StoreErrorKind, Updated},
    testing::Conformance,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    load::Load,
    processes,
    sql::{Database, id, record, server_faults, sql_store_tests, until},
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
