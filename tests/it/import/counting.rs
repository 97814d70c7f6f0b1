//! What is counted after an import: the session, and not its ledger entry.

use std::time::SystemTime;

#[cfg(any(feature = "file", feature = "redis", feature = "sqlite"))]
use cloakroom::store;
use cloakroom::{MemoryStore, SessionFilter, SessionLayer, SessionStore};

use super::{ANN, IMPORTED, Other};
#[cfg(any(feature = "file", feature = "sqlite"))]
use crate::support::process::Directory;
#[cfg(feature = "redis")]
use crate::support::servers::{Redis, redis::unique_prefix};
use crate::support::{
    Visitor,
    acts::{id, live, seen},
    fixture::{DAY, HOUR},
};

/// Imports Ann's session into `store`, and counts. Servers have a clock of their own, so this uses the system's.
async fn one_session_is_counted(store: impl SessionStore) {
    let other = Other::of_ann(|ann| ann);
    other.0.lock().until = Some(SystemTime::now() + 30 * DAY);
    let layer = SessionLayer::new(store).reap_every(None).import(other);
    let visitor = Visitor::new(&layer);
    visitor.set_cookie(Some(format!("old={ANN}")));
    assert_eq!(seen(&visitor).await, IMPORTED);
    let sessions = layer.sessions();
    assert_eq!(sessions.count().await.unwrap(), 1);
    let all = SessionFilter::default;
    let later = SystemTime::now() + HOUR;
    for (filter, expected) in [
        (all(), 1),
        (all().user("ann"), 1),
        (all().logged_in(), 1),
        (all().anonymous(), 0),
        (all().created_before(later), 1),
        (all().begun_within(..later), 1),
        (all().begun_within(SystemTime::UNIX_EPOCH..), 1),
    ] {
        let count = sessions.count_matching(&filter).await.unwrap();
        assert_eq!(
            (count.sessions, count.is_exact),
            (expected, true),
            "{filter:?}"
        );
    }
    assert_eq!(live(&sessions, None).await, [id(&visitor)]);
}

#[tokio::test]
async fn i9_a_count_leaves_out_the_ledger_entry_in_memory() {
    one_session_is_counted(MemoryStore::default()).await;
}

#[cfg(feature = "file")]
#[tokio::test]
async fn i9_a_count_leaves_out_the_ledger_entry_in_files() {
    let directory = Directory::new();
    let store = store::FileStore::open(directory.path().join("sessions")).unwrap();
    one_session_is_counted(store).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn i9_a_count_leaves_out_the_ledger_entry_in_sqlite() {
    let directory = Directory::new();
    let url = format!("sqlite://{}/sessions.db", directory.path().display());
    let store = store::SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    one_session_is_counted(store).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn i9_a_count_leaves_out_the_ledger_entry_in_redis() {
    let url = Redis::shared().url();
    for keeps_begun in [false, true] {
        let store = store::RedisStore::connect(&url).await.unwrap();
        let store = store.prefix(unique_prefix()).unwrap();
        let store = if keeps_begun {
            store.index_begun()
        } else {
            store
        };
        one_session_is_counted(store).await;
    }
}
