//! Redis, one server: what only this store can get wrong, and a server or a wire that fails.

use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    Activity, Record, SessionId, SessionStore, Timestamp, Version,
    store::{Created, Filter, RedisStore, StoreErrorKind, Touched, Updated},
    testing::Conformance,
};
use serde_json::json;
use uuid::Uuid;

use super::{load::Load, processes};
use crate::support::{
    process::free_port,
    proxy::{Mode, Proxy},
    servers::{
        Redis,
        redis::{eventually, unique_prefix},
    },
};

pub(super) const HOUR: u64 = 60 * 60 * 1000;

pub(super) fn id(number: u128) -> SessionId {
    Uuid::from_u128(number).into()
}

pub(super) fn version(counter: u64) -> Version {
    Version {
        counter,
        writer: u64::MAX - counter,
    }
}

/// A record of this version, and perhaps of a user.
pub(super) fn record(counter: u64, user: Option<&str>) -> Arc<Record> {
    let mut object = json!({
        "format": 1,
        "version": version(counter).to_string(),
        "verifier": "A".repeat(43),
        "created_at": 1,
        "data": {},
    });
    if let Some(user) = user {
        object["user"] = json!(user);
    }
    Arc::new(Record::from_bytes(object.to_string().as_bytes()).unwrap())
}

pub(super) fn now() -> u64 {
    Timestamp::from(std::time::SystemTime::now()).as_millis()
}

pub(super) fn until(expires_at: Option<u64>) -> Activity {
    Activity {
        last_seen_at: Timestamp::from_millis(now()),
        expires_at: expires_at.map(Timestamp::from_millis),
    }
}

pub(super) fn of(user: &str) -> Filter {
    Filter {
        user: Some(user.to_owned()),
        ..Filter::default()
    }
}

pub(super) async fn ids(store: &RedisStore, filter: &Filter) -> Vec<SessionId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(filter, after, 100).await.unwrap();
        ids.extend(page.sessions.iter().map(|listed| listed.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

/// A store on the server that all share, and the prefix of its keys.
async fn fresh() -> (RedisStore, String) {
    let prefix = unique_prefix();
    let store = RedisStore::connect(&Redis::shared().url()).await.unwrap();
    (store.prefix(&prefix), prefix)
}

fn session_key(prefix: &str, id: SessionId) -> String {
    let id = id.to_string();
    format!("{prefix}{{{}}}{id}", &id[..2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_keeps_the_contract() {
    let prefix = unique_prefix();
    let damaged = prefix.clone();
    Conformance::new(async || {
        let store = RedisStore::connect(&Redis::shared().url()).await.unwrap();
        store.prefix(&prefix)
    })
    .damage(move |_, id, bytes| {
        let key = session_key(&damaged, id);
        async move {
            let bytes = String::from_utf8(bytes).unwrap();
            let server = Redis::shared();
            // What Redis has seen out already cannot be damaged.
            if server.ask(&["EXISTS", &key]) == "1" {
                server.ask(&["HSET", &key, "r", &bytes]);
            }
        }
    })
    .run()
    .await;
}
