use std::{error::Error as _, sync::Arc};

use cloakroom::{
    SessionId, SessionStore, Timestamp, Version,
    store::{Created, EndedSink, Filter, Reaped, SqliteStore, StoreErrorKind, Updated},
    testing::Conformance,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    processes,
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
