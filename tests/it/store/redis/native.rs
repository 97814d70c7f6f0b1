//! `SET … IFEQ` in place of the script: on servers that have it, that lack it, and that change.
//!
//! The installed server may lack it, so a proxy plays it.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Activity, Record, SessionId, SessionLayer, SessionStore as _, Timestamp,
    store::{Created, Former, Query, RedisStore, StoreErrorKind, Touched, Updated},
    testing::Conformance,
};
use serde_json::json;

use super::single::{HOUR, id, ids, now, of, record, session_key, until, version};
use crate::{
    store::{load::Load, processes},
    support::{
        Visitor, former,
        proxy::{Mode, Proxy},
        servers::{
            Dialect, Redis, RedisCluster,
            redis::{eventually, unique_prefix},
        },
    },
};

/// A store on the server that all share, as if that were newer, and the prefix of its keys.
async fn newer() -> (Dialect, RedisStore, String) {
    let (dialect, prefix) = (Dialect::newer(Redis::shared().port()), unique_prefix());
    let store = RedisStore::connect(&dialect.url()).await.unwrap();
    (dialect, store.prefix(&prefix).unwrap(), prefix)
}

/// A record with a value of so many bytes.
fn sized(counter: u64, length: usize) -> Arc<Record> {
    let record = json!({
        "format": 1,
        "version": version(counter).to_string(),
        "verifier": "A".repeat(43),
        "created_at": 1,
        "data": { "value": "x".repeat(length) },
    });
    Arc::new(Record::from_bytes(record.to_string().as_bytes()).unwrap())
}

async fn stored(store: &RedisStore, id: SessionId) -> (Arc<Record>, Activity) {
    store.load(id).await.unwrap().unwrap()
}

/// Updates what was read of `id` to `next`.
async fn update(
    store: &RedisStore,
    id: SessionId,
    (former, seen): &(Arc<Record>, Activity),
    next: &Arc<Record>,
) -> Updated {
    let former = Former::new(former, *seen);
    let updated = store.update(id, next, until(Some(now() + HOUR)), former);
    updated.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_with_the_command_keeps_the_contract() {
    let dialect = Dialect::newer(Redis::shared().port());
    let prefix = unique_prefix();
    let damaged = prefix.clone();
    Conformance::new(async || {
        let store = RedisStore::connect(&dialect.url()).await.unwrap();
        store.prefix(&prefix).unwrap().index_begun()
    })
    .damage(move |_, id, bytes| {
        let key = session_key(&damaged, id);
        async move {
            let server = Redis::shared();
            if server.ask(&["EXISTS", &key]) == "1" {
                let head = server.ask(&["GETRANGE", &key, "0", "103"]);
                let damaged = [head.as_bytes(), b"\n", &bytes].concat();
                server.ask_bytes(&[b"SET", key.as_bytes(), &damaged, b"KEEPTTL"]);
            }
        }
    })
    .run()
    .await;
    let (swaps, _) = dialect.asked();
    assert!(swaps > 100, "{swaps}");
}

#[tokio::test]
async fn an_update_of_what_is_stored_is_one_command() {
    let (dialect, store, prefix) = newer().await;
    for user in [None, Some("ann")] {
        let id = id(user.map_or(1, |_| 2));
        for (counter, deadline) in [(1, None), (2, Some(now() + HOUR)), (3, None), (4, None)] {
            let next = record(counter, user);
            if counter == 1 {
                let created = store.create(id, &next, until(None)).await;
                assert_eq!(created.unwrap(), Created::Yes);
                dialect.asked();
                continue;
            }
            let (former, seen) = stored(&store, id).await;
            let former = Former::new(&former, seen);
            let updated = store.update(id, &next, until(deadline), former).await;
            assert_eq!(updated.unwrap(), Updated::Saved);
            assert_eq!(dialect.asked(), (1, 0));
            let expires = Redis::shared().ask(&["PEXPIRETIME", &session_key(&prefix, id)]);
            assert_eq!(expires == "-1", deadline.is_none(), "{expires}");
            let (kept, seen) = stored(&store, id).await;
            assert_eq!(kept.to_bytes(), next.to_bytes());
            assert_eq!(seen.expires_at.map(Timestamp::as_millis), deadline);
        }
    }
}

#[tokio::test]
async fn what_is_not_stored_as_it_was_read_is_for_the_script() {
    let (dialect, store, prefix) = newer().await;
    let (first, second) = (record(1, None), record(2, None));
    store.create(id(1), &first, until(None)).await.unwrap();
    let read = stored(&store, id(1)).await;
    dialect.asked();

    // A touch came between.
    let later = until(Some(now() + HOUR));
    store.touch(id(1), former(version(1)), later).await.unwrap();
    dialect.asked();
    assert_eq!(update(&store, id(1), &read, &second).await, Updated::Saved);
    assert_eq!(dialect.asked(), (1, 1));

    // The same write again, and a write by somebody who has missed it.
    assert_eq!(update(&store, id(1), &read, &second).await, Updated::Saved);
    assert_eq!(dialect.asked(), (1, 1));
    let other = sized(2, 10);
    let other = {
        let mut fields: serde_json::Value = serde_json::from_slice(&other.to_bytes()).unwrap();
        fields["version"] = json!("2-0000000000000001");
        Arc::new(Record::from_bytes(fields.to_string().as_bytes()).unwrap())
    };
    assert_eq!(
        update(&store, id(1), &read, &other).await,
        Updated::Conflict
    );
    assert_eq!(dialect.asked(), (1, 1));

    // Another order of the fields, as another version of the crate may write them.
    let read = stored(&store, id(1)).await;
    let key = session_key(&prefix, id(1));
    let head = Redis::shared().ask(&["GETRANGE", &key, "0", "104"]);
    let fields: serde_json::Value = serde_json::from_slice(&read.0.to_bytes()).unwrap();
    let mut reversed: Vec<String> = fields
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    reversed.reverse();
    let reversed = format!("{head}{{{}}}", reversed.join(","));
    Redis::shared().ask(&["SET", &key, &reversed]);
    let third = record(3, None);
    assert_eq!(update(&store, id(1), &read, &third).await, Updated::Saved);
    assert_eq!(dialect.asked(), (1, 1));
    assert_eq!(stored(&store, id(1)).await.0.version(), version(3));

    // Nothing is stored.
    assert!(store.delete(id(1)).await.unwrap());
    let read = (third, until(None));
    dialect.asked();
    let fourth = record(4, None);
    assert_eq!(
        update(&store, id(1), &read, &fourth).await,
        Updated::Missing
    );
    assert_eq!(dialect.asked(), (1, 1));
}

#[tokio::test]
async fn a_touch_of_what_is_stored_is_one_command() {
    let (dialect, store, prefix) = newer().await;
    let key = session_key(&prefix, id(1));
    let ann = record(1, Some("ann"));
    let at = |seen: u64, deadline: Option<u64>| {
        let deadline = deadline.map(Timestamp::from_millis);
        Activity::new(Timestamp::from_millis(seen), deadline)
    };
    let start = now();
    let first = at(start, Some(start + HOUR));
    store.create(id(1), &ann, first).await.unwrap();
    let mut kept = first;
    // Each time moves forward alone, and never back. `None` is never.
    for (touch, then) in [
        (
            at(start + 1, Some(start)),
            at(start + 1, Some(start + HOUR)),
        ),
        (
            at(start, Some(start + HOUR + 9)),
            at(start + 1, Some(start + HOUR + 9)),
        ),
        (
            at(start, Some(start)),
            at(start + 1, Some(start + HOUR + 9)),
        ),
        (at(start + 2, None), at(start + 2, None)),
        (at(start + 3, Some(start + HOUR)), at(start + 3, None)),
    ] {
        dialect.asked();
        let touched = store.touch(id(1), Former::new(&ann, kept), touch).await;
        assert_eq!(touched.unwrap(), Touched::Yes);
        assert_eq!(dialect.asked(), (1, 0));
        let (record, seen) = stored(&store, id(1)).await;
        assert_eq!((record.to_bytes(), seen), (ann.to_bytes(), then));
        let expires = Redis::shared().ask(&["PEXPIRETIME", &key]);
        assert_eq!(expires == "-1", then.expires_at.is_none(), "{expires}");
        kept = then;
    }
    // Another touch came first, and the session was written since.
    let touched = store
        .touch(id(1), Former::new(&ann, first), at(start + 4, None))
        .await;
    assert_eq!(touched.unwrap(), Touched::Yes);
    assert_eq!(dialect.asked(), (1, 1));
    let read = stored(&store, id(1)).await;
    assert_eq!(read.1, at(start + 4, None));
    let next = record(2, Some("ann"));
    assert_eq!(update(&store, id(1), &read, &next).await, Updated::Saved);
    dialect.asked();
    let touched = store
        .touch(id(1), Former::new(&ann, read.1), at(start + 5, None))
        .await;
    assert_eq!(touched.unwrap(), Touched::Stale);
    assert!(store.delete(id(1)).await.unwrap());
    let touched = store
        .touch(id(1), Former::new(&ann, read.1), at(start + 5, None))
        .await;
    assert_eq!(touched.unwrap(), Touched::Missing);
    assert_eq!(ids(&store, &of("ann")).await, []);
}

#[tokio::test]
async fn a_session_without_a_user_is_created_without_a_script() {
    let (dialect, store, prefix) = newer().await;
    let store = store.index_begun();
    let created = store.create(id(1), &record(1, None), until(None)).await;
    assert_eq!(created.unwrap(), Created::Yes);
    let created = store.create(id(1), &sized(1, 9), until(None)).await;
    assert_eq!(created.unwrap(), Created::Exists);
    assert_eq!(dialect.asked(), (0, 0));
    assert_eq!(
        stored(&store, id(1)).await.0.to_bytes(),
        record(1, None).to_bytes()
    );
    assert_eq!(ids(&store, &Query::default()).await, [id(1)]);
    assert_eq!(ids(&store, &Query::default().newest_first()).await, [id(1)]);
    // What others have put in the place of an index.
    let bucket = format!("{prefix}{{00}}");
    Redis::shared().ask(&["SET", &bucket, "no index"]);
    let refused = store.create(id(2), &record(1, None), until(None)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Corrupt);
    assert!(refused.is_not_applied());
    assert!(store.load(id(2)).await.unwrap().is_none());
}

#[tokio::test]
async fn another_user_and_much_data_are_for_the_script_at_once() {
    let (dialect, store, _) = newer().await;
    store
        .create(id(1), &sized(1, 5000), until(None))
        .await
        .unwrap();
    let read = stored(&store, id(1)).await;
    dialect.asked();
    assert_eq!(
        update(&store, id(1), &read, &record(2, None)).await,
        Updated::Saved
    );
    assert_eq!(dialect.asked(), (0, 1));
    let read = stored(&store, id(1)).await;
    let ann = record(3, Some("ann"));
    assert_eq!(update(&store, id(1), &read, &ann).await, Updated::Saved);
    assert_eq!(dialect.asked(), (0, 1));
    assert_eq!(ids(&store, &of("ann")).await, [id(1)]);
    let read = stored(&store, id(1)).await;
    dialect.asked();
    assert_eq!(
        update(&store, id(1), &read, &record(4, None)).await,
        Updated::Saved
    );
    assert_eq!(dialect.asked(), (0, 1));
    assert!(ids(&store, &of("ann")).await.is_empty());
}

#[tokio::test]
async fn a_server_without_the_command_is_found_out_by_its_answer() {
    let (dialect, store, _) = newer().await;
    store
        .create(id(1), &record(1, None), until(None))
        .await
        .unwrap();
    dialect.asked();
    let mut expected = vec![(1, 0), (1, 0)];
    // An older server takes over. It is not asked again for a while.
    expected.extend([(1, 1), (0, 1), (0, 1)]);
    for (turn, expected) in expected.into_iter().enumerate() {
        dialect.set_old(turn >= 2);
        let read = stored(&store, id(1)).await;
        let next = record(turn as u64 + 2, None);
        assert_eq!(update(&store, id(1), &read, &next).await, Updated::Saved);
        assert_eq!(dialect.asked(), expected, "{turn}");
    }
}

#[tokio::test]
async fn m5_a_swap_whose_reply_was_lost_is_known_by_its_version() {
    let (dialect, store, prefix) = newer().await;
    let proxy = Proxy::before(dialect.address());
    let wired = RedisStore::connect(&format!("redis://{}", proxy.address())).await;
    let wired = wired.unwrap().prefix(prefix).unwrap();
    store
        .create(id(1), &record(1, None), until(None))
        .await
        .unwrap();
    let (former, seen) = stored(&store, id(1)).await;
    let former = Former::new(&former, seen);
    dialect.asked();
    let next = record(2, None);
    let update = || wired.update(id(1), &next, until(None), former);
    proxy.set(Mode::LoseOneReply);
    let error = update().await.unwrap_err();
    assert!(!error.is_not_applied(), "{error:?}");
    assert_eq!(dialect.asked(), (1, 0));
    assert_eq!(stored(&store, id(1)).await.0.version(), version(2));
    assert_eq!(update().await.unwrap(), Updated::Saved);
    assert_eq!(dialect.asked(), (1, 1));
    assert_eq!(proxy.lost_replies(), 1);
}

#[tokio::test]
async fn a_swap_that_is_refused_was_certainly_not_applied() {
    let server = Redis::start();
    let dialect = Dialect::newer(server.port());
    let store = RedisStore::connect(&dialect.url()).await.unwrap();
    store
        .create(id(1), &record(1, None), until(None))
        .await
        .unwrap();
    let (former, seen) = stored(&store, id(1)).await;
    let next = record(2, None);
    let update = || store.update(id(1), &next, until(None), Former::new(&former, seen));
    for (name, refused) in [("maxmemory", "1"), ("min-replicas-to-write", "1")] {
        server.ask(&["CONFIG", "SET", name, refused]);
        let error = update().await.unwrap_err();
        assert!(error.is_not_applied(), "{error:?}");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        server.ask(&["CONFIG", "SET", name, "0"]);
    }
    assert_eq!(update().await.unwrap(), Updated::Saved);
}

#[tokio::test]
async fn a_swap_waits_for_replicas_too() {
    let master = Redis::start();
    let replica = Redis::replica_of(&master);
    let dialect = Dialect::newer(master.port());
    let store = RedisStore::connect(&dialect.url()).await.unwrap();
    store
        .create(id(1), &record(1, None), until(None))
        .await
        .unwrap();
    let patient = store.clone().wait_replicas(1, Duration::from_secs(30));
    let read = stored(&store, id(1)).await;
    dialect.asked();
    assert_eq!(
        update(&patient, id(1), &read, &record(2, None)).await,
        Updated::Saved
    );
    assert_eq!(dialect.asked(), (1, 0));
    let key = session_key("cloakroom:", id(1));
    let kept = replica.ask(&["GET", &key]);
    assert!(kept.contains(&version(2).to_string()), "{kept}");

    replica.signal("STOP");
    let hasty = store.clone().wait_replicas(1, Duration::from_millis(100));
    let (former, seen) = stored(&store, id(1)).await;
    let next = record(3, None);
    let updated = hasty.update(id(1), &next, until(None), Former::new(&former, seen));
    let error = updated.await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    assert!(!error.is_not_applied());
    replica.signal("CONT");
    let updated = patient.update(id(1), &next, until(None), Former::new(&former, seen));
    assert_eq!(updated.await.unwrap(), Updated::Saved);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_breaks_and_loses_replies_neither_loses_nor_repeats_a_swap() {
    let (dialect, _, prefix) = newer().await;
    let proxy = Proxy::before(dialect.address());
    let store = RedisStore::connect(&format!("redis://{}", proxy.address())).await;
    let load = Load::on(store.unwrap().prefix(prefix).unwrap()).await;
    for turn in 0..60 {
        load.answered(5).await;
        // A server of another version may take over at any time.
        dialect.set_old(turn % 20 > 15);
        proxy.set(if turn % 6 == 0 {
            Mode::Cut
        } else {
            Mode::LoseOneReply
        });
        if proxy.mode() == Mode::Cut {
            proxy.set(Mode::Pass);
        }
    }
    proxy.set(Mode::Pass);
    assert!(proxy.lost_replies() > 10);
    load.answered(100).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_of_four_processes_add_up() {
    let (dialect, store, prefix) = newer().await;
    let place = format!("{} {prefix}", dialect.url());
    processes::add_up("store::redis::single::worker", &place, store).await;
}

/// A cluster whose first three nodes, the masters, have the command, and whose others do not.
struct Mixed {
    cluster: RedisCluster,
    dialects: Vec<Dialect>,
}

impl Mixed {
    fn start() -> Self {
        let cluster = RedisCluster::start();
        let fronted = |(place, node): (usize, &Redis)| {
            let dialect = if place < 3 {
                Dialect::newer(node.port())
            } else {
                Dialect::older(node.port())
            };
            let port = dialect.address().port().to_string();
            let set = ["CONFIG", "SET", "cluster-announce-port", &port];
            assert_eq!(node.ask(&set), "OK");
            dialect
        };
        let dialects: Vec<Dialect> = cluster.nodes().iter().enumerate().map(fronted).collect();
        eventually("all nodes name the proxies", || {
            cluster.nodes().iter().all(|node| {
                let known = node.ask(&["CLUSTER", "NODES"]);
                let names = |dialect: &Dialect| known.contains(&format!("{}@", dialect.address()));
                dialects.iter().all(names)
            })
        });
        Self { cluster, dialects }
    }

    async fn store(&self) -> RedisStore {
        let urls: Vec<String> = self.dialects.iter().map(Dialect::url).collect();
        RedisStore::cluster(urls.iter().map(String::as_str))
            .await
            .unwrap()
    }

    /// Has the node at this place take over from its master.
    fn fail_over(&self, place: usize) {
        let node = &self.cluster.nodes()[place];
        eventually("the replica follows", || {
            node.ask(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        assert_eq!(node.ask(&["CLUSTER", "FAILOVER"]), "OK");
        eventually("the replica takes over", || node.is_master());
        self.cluster.settle();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_of_a_cluster_with_and_without_the_command_take_over_from_each_other() {
    let mixed = Mixed::start();
    let store = mixed.store().await;
    let load = Load::on(store.clone()).await;
    load.answered(100).await;
    for dialect in &mixed.dialects[..3] {
        dialect.asked();
    }
    // The keys of the first third go to a node without it, and the rest stay.
    tokio::task::block_in_place(|| mixed.fail_over(3));
    load.answered(200).await;
    let asked: Vec<usize> = mixed
        .dialects
        .iter()
        .map(|dialect| dialect.asked().0)
        .collect();
    assert!(asked[1] + asked[2] > 0, "{asked:?}");
    tokio::task::block_in_place(|| mixed.fail_over(0));
    load.answered(200).await;
    load.finish().await;
    // In every slot.
    for number in 0..512_u128 {
        let id = id((number % 256) << 120 | 1);
        let next = record(number as u64 / 256 + 1, None);
        if number < 256 {
            store.create(id, &next, until(None)).await.unwrap();
            continue;
        }
        let read = stored(&store, id).await;
        assert_eq!(update(&store, id, &read, &next).await, Updated::Saved);
    }
}

/// What the layer itself writes is encoded again to the same bytes, so that no write needs the script.
#[tokio::test]
async fn what_the_layer_has_written_is_swapped() {
    let (dialect, store, _) = newer().await;
    let layer = SessionLayer::new(store.clone()).reap_every(None);
    let visitor = Visitor::new(&layer);
    let insert = async |visitor: &Visitor, value: u64| {
        let reply = visitor.visit(move |session| async move {
            session.insert("n", value).unwrap();
            String::new()
        });
        assert_eq!(reply.await.status, 200);
    };
    insert(&visitor, 0).await;
    dialect.asked();
    insert(&visitor, 1).await;
    assert_eq!(dialect.asked(), (1, 0));
    let prepare = visitor.visit(|session| async move {
        session.log_in_with_stamp("ann", b"stamp").unwrap();
        session.set_label("device", "a phone, \u{1F4F1}").unwrap();
        session.remember_for(Duration::from_secs(30 * 24 * 60 * 60));
        session.insert("text", "line\n\"quoted\" \u{e9}").unwrap();
        session.insert("numbers", [1.5, -0.0, 1e300]).unwrap();
        String::new()
    });
    assert_eq!(prepare.await.status, 200);
    insert(&visitor, 2).await;
    let cycle = visitor.visit(|session| async move {
        session.cycle_id().unwrap();
        session.confirm().unwrap();
        String::new()
    });
    assert_eq!(cycle.await.status, 200);
    dialect.asked();
    for value in 3..8 {
        insert(&visitor, value).await;
        assert_eq!(dialect.asked(), (1, 0), "{value}");
    }
}
