//! Redis, one server: what only this store can get wrong, and a server or a wire that fails.

use std::{error::Error as _, sync::Arc, time::Duration};

use cloakroom::{
    Activity, Record, SessionId, SessionStore, Timestamp, Version,
    store::{Created, Query, RedisStore, StoreErrorKind, Touched, Updated},
    testing::Conformance,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::former;
use crate::{
    store::{abandon, load::Load, population, processes},
    support::{
        process::free_port,
        proxy::{Mode, Proxy},
        servers::{Redis, redis::unique_prefix},
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

pub(super) fn of(user: &str) -> Query {
    Query::default().with_user(user)
}

pub(super) async fn ids(store: &RedisStore, filter: &Query) -> Vec<SessionId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(filter, after.as_ref(), 100).await.unwrap();
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
    (store.prefix(&prefix).unwrap(), prefix)
}

pub(super) fn session_key(prefix: &str, id: SessionId) -> String {
    let id = id.to_string();
    format!("{prefix}{{{}}}{id}", &id[..2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_p3_ending_sessions_and_their_limit_hold_among_nodes() {
    let (here, prefix) = fresh().await;
    let there = RedisStore::connect(&Redis::shared().url()).await.unwrap();
    population::is_kept_by(vec![here, there.prefix(&prefix).unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_keeps_the_contract() {
    let prefix = unique_prefix();
    let damaged = prefix.clone();
    Conformance::new(async || {
        let store = RedisStore::connect(&Redis::shared().url()).await.unwrap();
        store.prefix(&prefix).unwrap().index_begun()
    })
    .damage(move |_, id, bytes| {
        let key = session_key(&damaged, id);
        async move {
            let bytes = String::from_utf8(bytes).unwrap();
            let server = Redis::shared();
            // What Redis has seen out already cannot be damaged.
            if server.ask(&["EXISTS", &key]) == "1" {
                let head = server.ask(&["GETRANGE", &key, "0", "103"]);
                server.ask(&["SET", &key, &format!("{head}\n{bytes}"), "KEEPTTL"]);
            }
        }
    })
    .run()
    .await;
}

#[tokio::test]
async fn without_its_index_the_newest_are_listed_of_a_user_alone() {
    let (store, _) = fresh().await;
    let user = record(1, Some("ann"));
    store.create(id(1), &user, until(None)).await.unwrap();
    let newest = Query::default().newest_first();
    let error = store.list(&newest, None, 10).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    assert_eq!(ids(&store, &of("ann").newest_first()).await, [id(1)]);
    let last_seen = of("ann").last_seen_first();
    let error = store.list(&last_seen, None, 10).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsupported);
}

#[tokio::test]
async fn the_index_of_the_newest_forgets_sessions_that_are_gone() {
    let (store, prefix) = fresh().await;
    let store = store.index_begun();
    let members = |first: &str| {
        let key = format!("{prefix}{{{first}}}begun");
        Redis::shared().ask(&["ZCARD", &key])
    };
    for number in 1..=4 {
        let record = record(1, (number > 2).then_some("ann"));
        store
            .create(id(number), &record, until(None))
            .await
            .unwrap();
    }
    assert_eq!(members("00"), "4");
    // Deleted by the store; one with a user leaves its entry in the bucket.
    assert!(store.delete(id(1)).await.unwrap() && store.delete(id(3)).await.unwrap());
    assert_eq!(members("00"), "2");
    // Deleted by the server: a list finds out, and so does the sweep.
    Redis::shared().ask(&["DEL", &session_key(&prefix, id(2))]);
    assert_eq!(ids(&store, &Query::default().newest_first()).await, [id(4)]);
    assert_eq!(members("00"), "1");
    Redis::shared().ask(&["DEL", &session_key(&prefix, id(4))]);
    for _ in 0..20 {
        store.delete_expired(Timestamp::EPOCH, 100).await.unwrap();
    }
    assert_eq!(members("00"), "0");
}

#[tokio::test]
async fn the_newest_are_listed_though_thousands_began_in_one_millisecond() {
    let (store, _) = fresh().await;
    let store = store.index_begun();
    // All of them in one bucket.
    for number in 1..=300 {
        store
            .create(id(number), &record(1, None), until(None))
            .await
            .unwrap();
    }
    let newest = ids(&store, &Query::default().newest_first()).await;
    let expected: Vec<SessionId> = (1..=300).rev().map(id).collect();
    assert_eq!(newest, expected);
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let (store, _) = fresh().await;
    let forget = || Redis::shared().ask(&["SCRIPT", "FLUSH"]);
    forget();
    let created = store
        .create(id(1), &record(1, Some("ann")), until(None))
        .await;
    assert_eq!(created.unwrap(), Created::Yes);
    forget();
    let next = record(2, Some("ann"));
    let updated = store
        .update(id(1), &next, until(None), former(version(1)))
        .await;
    assert_eq!(updated.unwrap(), Updated::Saved);
    forget();
    let touched = store.touch(id(1), former(version(2)), until(None)).await;
    assert_eq!(touched.unwrap(), Touched::Yes);
    forget();
    assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
    forget();
    assert!(store.delete(id(1)).await.unwrap());
}

#[tokio::test]
async fn redis_expires_a_session_five_minutes_past_its_deadline_and_never_means_never() {
    const GRACE: u64 = 5 * 60 * 1000;
    let (store, prefix) = fresh().await;
    let key = session_key(&prefix, id(1));
    let expires = || Redis::shared().ask(&["PEXPIRETIME", &key]);
    let deadline = now() + HOUR;

    store
        .create(id(1), &record(1, None), until(Some(deadline)))
        .await
        .unwrap();
    assert_eq!(expires(), (deadline + GRACE).to_string());
    // Touched forward only.
    store
        .touch(id(1), former(version(1)), until(Some(deadline - 1)))
        .await
        .unwrap();
    assert_eq!(expires(), (deadline + GRACE).to_string());
    store
        .touch(id(1), former(version(1)), until(Some(deadline + 1)))
        .await
        .unwrap();
    assert_eq!(expires(), (deadline + 1 + GRACE).to_string());
    store
        .touch(id(1), former(version(1)), until(None))
        .await
        .unwrap();
    assert_eq!(expires(), "-1");
    store
        .touch(id(1), former(version(1)), until(Some(deadline)))
        .await
        .unwrap();
    assert_eq!(expires(), "-1");
    // An update sets what it says.
    store
        .update(
            id(1),
            &record(2, None),
            until(Some(deadline)),
            former(version(1)),
        )
        .await
        .unwrap();
    assert_eq!(expires(), (deadline + GRACE).to_string());
    store
        .update(id(1), &record(3, None), until(None), former(version(2)))
        .await
        .unwrap();
    assert_eq!(expires(), "-1");
    let last = Timestamp::MAX.as_millis();
    store
        .update(
            id(1),
            &record(4, None),
            until(Some(last)),
            former(version(3)),
        )
        .await
        .unwrap();
    assert_eq!(expires(), (last + GRACE).to_string());
}

#[tokio::test]
async fn m5_a_command_whose_reply_was_lost_is_known_by_its_version() {
    let (store, prefix) = fresh().await;
    let proxy = Proxy::before(([127, 0, 0, 1], Redis::shared().port()).into());
    let url = format!("redis://{}", proxy.address());
    let wired = RedisStore::connect(&url).await.unwrap();
    let wired = wired.prefix(prefix).unwrap();
    let lose = || proxy.set(Mode::LoseOneReply);
    let first = record(1, Some("ann"));

    lose();
    let error = wired.create(id(1), &first, until(None)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!error.is_not_applied());
    let again = wired.create(id(1), &first, until(None)).await.unwrap();
    assert_eq!(again, Created::Exists);
    let (kept, _) = wired.load_latest(id(1)).await.unwrap().unwrap();
    assert_eq!(kept.version(), first.version());

    lose();
    let next = record(2, Some("bob"));
    wired
        .update(id(1), &next, until(None), former(version(1)))
        .await
        .unwrap_err();
    let again = wired
        .update(id(1), &next, until(None), former(version(1)))
        .await;
    assert_eq!(again.unwrap(), Updated::Saved);
    let (kept, _) = wired.load_latest(id(1)).await.unwrap().unwrap();
    assert_eq!(kept.version(), next.version());
    // The other user is indexed all the same.
    assert_eq!(ids(&store, &of("bob")).await, [id(1)]);
    assert!(ids(&store, &of("ann")).await.is_empty());

    lose();
    wired.delete(id(1)).await.unwrap_err();
    assert!(!wired.delete(id(1)).await.unwrap());
    assert_eq!(proxy.lost_replies(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_reply_is_not_denied() {
    let (_, prefix) = fresh().await;
    let proxy = Proxy::before(([127, 0, 0, 1], Redis::shared().port()).into());
    let url = format!("redis://{}", proxy.address());
    let wired = RedisStore::connect(&url).await.unwrap();
    let wired = wired.prefix(prefix).unwrap();
    let proxy = Arc::new(proxy);
    Conformance::new(async || wired.clone())
        .lose_reply(move |_: Arc<RedisStore>| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.set(Mode::LoseOneReply) }
        })
        .only("reply")
        .run()
        .await;
}

#[tokio::test]
async fn what_redis_refuses_is_certainly_not_applied() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let create = || async {
        let created = store.create(id(1), &record(1, None), until(None)).await;
        created.unwrap_err()
    };
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = create().await;
    assert!(full.is_not_applied(), "{full:?}");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let alone = create().await;
    assert!(alone.is_not_applied(), "{alone:?}");
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let create_of_user = || async {
        let ann = record(1, Some("ann"));
        store.create(id(2), &ann, until(None)).await.unwrap_err()
    };
    // The script begins, and may not write the session's entry in the bucket.
    server.ask(&["ACL", "SETUSER", "default", "-zadd"]);
    let halfway = create_of_user().await;
    assert!(!halfway.is_not_applied(), "{halfway:?}");
    // A session without a user is taken back if its entry is refused.
    let entryless = create().await;
    assert!(entryless.is_not_applied(), "{entryless:?}");
    assert!(store.load(id(1)).await.unwrap().is_none());
    server.ask(&["ACL", "SETUSER", "default", "-del"]);
    let stuck = create().await;
    assert!(!stuck.is_not_applied(), "{stuck:?}");
    let free = [
        "ACL", "SETUSER", "default", "+zadd", "+del", "-eval", "-evalsha",
    ];
    server.ask(&free);
    let forbidden = create_of_user().await;
    assert!(forbidden.is_not_applied(), "{forbidden:?}");
}

#[tokio::test]
async fn what_too_few_replicas_have_is_not_reported_as_kept() {
    let master = Redis::start();
    let replica = Redis::replica_of(&master);
    let store = RedisStore::connect(&master.url()).await.unwrap();
    let patient = store.clone().wait_replicas(1, Duration::from_secs(30));
    let created = patient
        .create(id(1), &record(1, Some("ann")), until(None))
        .await;
    assert_eq!(created.unwrap(), Created::Yes);
    let key = session_key("cloakroom:", id(1));
    let kept = replica.ask(&["GET", &key]);
    assert!(kept.contains(&version(1).to_string()), "{kept}");
    assert_eq!(
        store
            .list(&of("ann"), None, 10)
            .await
            .unwrap()
            .sessions
            .len(),
        1
    );

    replica.signal("STOP");
    let store = store.wait_replicas(1, Duration::from_millis(100));
    let next = record(2, Some("ann"));
    let error = store
        .update(id(1), &next, until(None), former(version(1)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "0 of 1 replicas confirmed a write within 100ms");
    // Nor does the core find it there, which would ask whether it was kept.
    let error = store.load_latest(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    assert_eq!(
        store.load(id(1)).await.unwrap().unwrap().0.version(),
        version(2)
    );
    let error = store.delete(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    let error = store.delete(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    // Another connection has no write of its own to wait for.
    let other = RedisStore::connect(&master.url()).await.unwrap();
    let other = other.wait_replicas(1, Duration::from_millis(100));
    let error = other.delete(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);

    replica.signal("CONT");
    assert!(!patient.delete(id(1)).await.unwrap());
    assert_eq!(replica.ask(&["EXISTS", &key]), "0");
}

#[tokio::test]
async fn an_error_to_connect_names_host_and_port_and_neither_user_nor_password() {
    let guarded = Redis::with(&["--requirepass", "hunter2"]);
    let free = free_port();
    for (url, place, why) in [
        (
            format!("redis://beatrix:hunter3@127.0.0.1:{free}"),
            format!("127.0.0.1:{free}"),
            "refused",
        ),
        (
            format!("redis://:hunter3@127.0.0.1:{}", guarded.port()),
            format!("127.0.0.1:{}", guarded.port()),
            "refuses user or password",
        ),
    ] {
        for result in [
            RedisStore::connect(&url).await,
            RedisStore::cluster([&*url]).await,
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            let said = format!("{error} {error:?} {}", error.source().unwrap());
            assert!(said.contains(&place), "{said}");
            assert!(
                !said.contains("hunter") && !said.contains("beatrix"),
                "{said}"
            );
            let none = said.contains("no node of the cluster can be reached");
            assert!(said.contains(why) || none, "{said}");
        }
    }
    let error = RedisStore::connect("127.0.0.1:hunter2").await.unwrap_err();
    let said = format!("{error:?}");
    assert!(
        said.contains("redis://host:port") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn tls_that_the_driver_lacks_is_an_error_that_says_what_to_turn_on() {
    for scheme in ["rediss", "valkeys"] {
        for ending in ["", "/1", "/0?protocol=resp3", "/#insecure"] {
            let url = format!("{scheme}://beatrix:hunter3@cache.example:6380{ending}");
            for result in [
                RedisStore::connect(&url).await,
                RedisStore::cluster([&*url]).await,
            ] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Other);
                let said = format!("{error} {error:?} {}", error.source().unwrap());
                for part in ["cache.example:6380", "TLS", "tokio-rustls-comp"] {
                    assert!(said.contains(part), "{said}");
                }
                assert!(
                    !said.contains("hunter") && !said.contains("beatrix"),
                    "{said}"
                );
            }
        }
    }
    let error = RedisStore::connect("rediss://cache.example:port")
        .await
        .unwrap_err();
    assert!(format!("{error:?}").contains("not a URL of Redis"));
}

#[tokio::test]
async fn p1_who_ends_sessions_learns_of_those_that_a_newer_version_wrote() {
    let (store, prefix) = fresh().await;
    let sessions = cloakroom::SessionLayer::new(store.clone()).sessions();
    for place in [1, 2] {
        let record = record(1, Some("ann"));
        store.create(id(place), &record, until(None)).await.unwrap();
    }
    let key = session_key(&prefix, id(1));
    Redis::shared().ask(&["SETRANGE", &key, "0", "2"]);
    for error in [
        sessions.revoke_user("ann").await.unwrap_err(),
        sessions.revoke_all(|_| {}).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), cloakroom::ErrorKind::Incompatible);
    }
    let (ended, _) = store.load(id(2)).await.unwrap().unwrap();
    assert!(ended.is_moved());
}

#[tokio::test]
async fn what_is_no_session_or_of_an_unknown_layout_is_left_alone_and_can_be_deleted() {
    let (store, prefix) = fresh().await;
    let server = Redis::shared();
    let key = session_key(&prefix, id(1));
    let newer = format!("2 private {}", "x".repeat(200));
    let (bucket, entry) = (
        format!("{prefix}{{00}}"),
        format!("{}\u{1}", "\0".repeat(15)),
    );
    for (put, kind) in [
        (["SET", &key, "private", "GET"], StoreErrorKind::Corrupt),
        (
            ["HSET", &key, "private", "private"],
            StoreErrorKind::Corrupt,
        ),
        (["SET", &key, "1 private", "GET"], StoreErrorKind::Corrupt),
        (["SET", &key, &newer, "GET"], StoreErrorKind::Incompatible),
    ] {
        server.ask(&put);
        let before = server.ask(&["DUMP", &key]);
        let expect = |error: cloakroom::StoreError| {
            assert!(!format!("{error:?}").contains("private"));
            assert_eq!(error.kind(), kind, "{error:?}");
        };
        expect(store.load(id(1)).await.unwrap_err());
        let created = store.create(id(1), &record(1, None), until(None)).await;
        assert_eq!(created.unwrap(), Created::Exists);
        let next = record(2, None);
        let updated = store
            .update(id(1), &next, until(None), former(version(1)))
            .await;
        let touched = store.touch(id(1), former(version(1)), until(None)).await;
        if put[2] != "1 private" {
            expect(updated.unwrap_err());
            expect(touched.unwrap_err());
        } else {
            // What was written by hand has another version.
            assert_eq!(updated.unwrap(), Updated::Conflict);
            assert_eq!(touched.unwrap(), Touched::Stale);
        }
        assert_eq!(server.ask(&["DUMP", &key]), before);
        if kind == StoreErrorKind::Incompatible {
            // A node that knows it has it in its index.
            server.ask(&["ZADD", &bucket, "0", "\0gone-session-id"]);
            server.ask(&["ZADD", &bucket, "0", &entry]);
            assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
            assert_eq!(sweep(&store, 10).await, 1);
            assert_eq!(server.ask(&["ZRANGE", &bucket, "0", "-1"]), entry);
        }
        assert!(store.delete(id(1)).await.unwrap());
        assert!(store.load(id(1)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn nothing_of_a_user_is_in_the_name_of_a_key() {
    let (store, prefix) = fresh().await;
    for (number, user) in [(1, "ann@example.com"), (2, "{x}\r\nDEL *"), (3, "")] {
        store
            .create(id(number), &record(1, Some(user)), until(None))
            .await
            .unwrap();
        assert_eq!(ids(&store, &of(user)).await, [id(number)]);
    }
    let keys = Redis::shared().ask(&["KEYS", &format!("{prefix}*")]);
    assert_eq!(keys.lines().count(), 3 + 1 + 3);
    assert!(
        !keys.contains("ann") && !keys.contains("{x}") && !keys.contains("DEL"),
        "{keys}"
    );
}

/// What a sweep finds, however often it has to be asked.
async fn sweep(store: &RedisStore, limit: usize) -> usize {
    let mut removed = 0;
    // 256 buckets, 16 in a call.
    for _ in 0..16 {
        loop {
            let reaped = store.delete_expired(Timestamp::EPOCH, limit).await.unwrap();
            assert!(reaped.removed <= limit);
            removed += reaped.removed;
            if !reaped.more {
                break;
            }
        }
    }
    removed
}

#[tokio::test]
async fn what_redis_has_expired_leaves_the_indexes() {
    let (store, prefix) = fresh().await;
    let server = Redis::shared();
    let bucket = format!("{prefix}{{00}}");
    let cards = || {
        let users = server.ask(&["KEYS", &format!("{prefix}user:*")]);
        let users = users.lines().map(|key| server.ask(&["ZCARD", key]));
        (server.ask(&["ZCARD", &bucket]), users.collect::<Vec<_>>())
    };
    for number in 1..=9 {
        let user = (number <= 4).then_some("ann");
        store
            .create(id(number), &record(1, user), until(None))
            .await
            .unwrap();
    }
    assert_eq!(cards(), ("9".into(), vec!["4".into()]));
    for number in [2, 3, 7, 8] {
        server.ask(&["DEL", &session_key(&prefix, id(number))]);
    }
    assert_eq!(store.count(&Query::default()).await.unwrap(), 5);
    assert_eq!(ids(&store, &of("ann")).await, [id(1), id(4)]);
    // It may be that those are on their way.
    assert_eq!(cards(), ("9".into(), vec!["4".into()]));
    assert_eq!(sweep(&store, 3).await, 4);
    assert_eq!(cards(), ("5".into(), vec!["2".into()]));

    // A user's session that is deleted or another's leaves them too.
    assert!(store.delete(id(1)).await.unwrap());
    store
        .update(
            id(4),
            &record(2, Some("bob")),
            until(None),
            former(version(1)),
        )
        .await
        .unwrap();
    assert_eq!(store.count(&Query::default()).await.unwrap(), 4);
    assert_eq!(ids(&store, &Query::default()).await, [4, 5, 6, 9].map(id));
    assert_eq!(cards(), ("4".into(), vec!["1".into()]));
    assert_eq!(ids(&store, &of("bob")).await, [id(4)]);
    assert_eq!(sweep(&store, 1000).await, 0);
}

#[tokio::test]
async fn a_list_of_a_users_sessions_takes_out_what_has_long_been_gone() {
    let (store, prefix) = fresh().await;
    let server = Redis::shared();
    store
        .create(id(1), &record(1, Some("ann")), until(None))
        .await
        .unwrap();
    let key = server.ask(&["KEYS", &format!("{prefix}user:*")]);
    for gone in ["0000000000000001", "0000000000000002"] {
        server.ask(&["ZADD", &key, "0", gone]);
    }
    assert_eq!(ids(&store, &of("ann")).await, [id(1)]);
    assert_eq!(server.ask(&["ZCARD", &key]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_of_four_processes_add_up() {
    let (store, prefix) = fresh().await;
    let place = format!("{} {prefix}", Redis::shared().url());
    let started = std::time::Instant::now();
    processes::add_up("store::redis::single::worker", &place, store).await;
    println!("8000 increments by 4 processes in {:?}", started.elapsed());
}

/// Does nothing unless another process is started for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    if let Some(place) = processes::place() {
        let (url, prefix) = place.split_once(' ').unwrap();
        let store = RedisStore::connect(url).await.unwrap();
        processes::increment(store.prefix(prefix).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_and_restarted_loses_nothing_that_was_answered() {
    let server = Redis::start();
    let load = Load::on(RedisStore::connect(&server.url()).await.unwrap()).await;
    for _ in 0..3 {
        load.answered(150).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
    }
    load.answered(150).await;
    load.finish().await;
}

/// A wire to the server that all share, and a store on it.
async fn wired() -> (Proxy, RedisStore) {
    let proxy = Proxy::before(([127, 0, 0, 1], Redis::shared().port()).into());
    let url = format!("redis://{}", proxy.address());
    let store = RedisStore::connect(&url).await.unwrap();
    (proxy, store.prefix(unique_prefix()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_breaks_and_loses_replies_neither_loses_nor_repeats_a_call() {
    let (proxy, store) = wired().await;
    let load = Load::on(store).await;
    for turn in 0..60 {
        load.answered(5).await;
        proxy.set(match turn % 6 {
            0 => Mode::Cut,
            3 => Mode::Delay(Duration::from_millis(1)),
            _ => Mode::LoseOneReply,
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
async fn a_server_that_hangs_delays_no_request_past_its_time_and_is_found_again() {
    let (proxy, store) = wired().await;
    let load = Load::on(store).await;
    for end in [Mode::Pass, Mode::Cut] {
        load.answered(50).await;
        proxy.set(Mode::Hang);
        load.failed(20).await;
        proxy.set(end);
        proxy.set(Mode::Pass);
    }
    load.answered(100).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f7_a_connection_that_never_answers_again_is_given_up() {
    let (proxy, store) = wired().await;
    let load = Load::on(store).await;
    load.answered(50).await;
    // Those that are open now hang for good: no end is ever signalled.
    proxy.set(Mode::Hang);
    load.failed(20).await;
    proxy.strand();
    load.answered(100).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f7_requests_that_clients_give_up_cost_no_connections() {
    let (proxy, store) = wired().await;
    abandon::requests(&store, &proxy, Duration::from_secs(3)).await;
    assert_eq!(proxy.connections(), 1);
    // Nor where the server answers nobody for a while, which is less than a dead one takes.
    proxy.set(Mode::Hang);
    let load = tokio::time::timeout(Duration::from_millis(10), store.load(id(1)));
    load.await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.set(Mode::Pass);
    assert!(store.load(id(1)).await.unwrap().is_none());
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wait_for_replicas_is_not_taken_for_a_dead_connection() {
    let master = Redis::start();
    let proxy = Proxy::before(([127, 0, 0, 1], master.port()).into());
    let url = format!("redis://{}", proxy.address());
    let store = RedisStore::connect(&url).await.unwrap();
    let store = store.wait_replicas(1, Duration::from_secs(3));
    let first = record(1, None);
    let waiting = store.create(id(1), &first, until(None));
    let given_up = tokio::time::timeout(Duration::from_millis(100), waiting);
    given_up.await.unwrap_err();
    store.load(id(1)).await.unwrap();
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_prefix_with_empty_braces_is_refused() {
    for prefix in ["{}", "shop{}:", "{}{a}", "{a}{}"] {
        let store = RedisStore::connect(&Redis::shared().url()).await.unwrap();
        let error = store.prefix(prefix).unwrap_err().to_string();
        for part in [prefix, "put a name between them"] {
            assert!(error.contains(part), "{error}");
        }
    }
    for prefix in ["", "{shop}:", "{", "}{", "a}{", "shop{"] {
        let store = RedisStore::connect(&Redis::shared().url()).await.unwrap();
        store.prefix(prefix).unwrap();
    }
}

#[tokio::test]
async fn a_user_whose_index_cannot_be_written_gets_no_session() {
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let set = [
        "ACL",
        "SETUSER",
        "weak",
        "on",
        ">secret",
        "~cloakroom:{*",
        "+@all",
    ];
    assert_eq!(server.ask(&set), "OK");
    let url = server.url().replace("redis://", "redis://weak:secret@");
    let indexless = RedisStore::connect(&url).await.unwrap();
    let created = indexless
        .create(id(1), &record(1, Some("ann")), until(None))
        .await;
    let error = created.unwrap_err();
    assert!(error.is_not_applied(), "{error:?}");
    assert!(store.load(id(1)).await.unwrap().is_none());
    let created = indexless.create(id(1), &record(1, None), until(None)).await;
    assert_eq!(created.unwrap(), Created::Yes);
    let ann = record(2, Some("ann"));
    let updated = indexless.update(id(1), &ann, until(None), former(version(1)));
    updated.await.unwrap_err();
    let (kept, _) = store.load(id(1)).await.unwrap().unwrap();
    assert_eq!((kept.version(), kept.user()), (version(1), None));
    assert_eq!(server.ask(&["KEYS", "cloakroom:user:*"]), "");
}

#[tokio::test]
async fn what_others_put_into_an_index_ends_neither_a_list_nor_a_sweep() {
    let (store, prefix) = fresh().await;
    let server = Redis::shared();
    let last = id(u128::MAX >> 8);
    for (session, user) in [(id(1), Some("ann")), (last, Some("ann")), (id(2), None)] {
        let created = store.create(session, &record(1, user), until(None)).await;
        assert_eq!(created.unwrap(), Created::Yes);
    }
    let user = server.ask(&["KEYS", &format!("{prefix}user:*")]);
    let bucket = format!("{prefix}{{00}}");
    for length in 0..1100 {
        for filling in [0x00, 0x01, b'a', 0x7f, 0xff] {
            let mut member = vec![filling; length % 70];
            member.extend((length as u32).to_be_bytes());
            for key in [&bucket, &user] {
                server.ask_bytes(&[b"ZADD", key.as_bytes(), b"0", &member]);
            }
        }
    }
    for limit in [1, 2, 10, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let all = Query::default();
            let page = store.list(&all, after.as_ref(), limit).await.unwrap();
            found.extend(page.sessions.iter().map(|listed| listed.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, [id(1), id(2), last], "{limit}");
    }
    assert_eq!(store.count(&Query::default()).await.unwrap(), 3);
    assert_eq!(ids(&store, &of("ann")).await, [id(1), last]);
    server.ask(&["DEL", &session_key(&prefix, last)]);
    sweep(&store, 1000).await;
    assert_eq!(ids(&store, &of("ann")).await, [id(1)]);
    assert_eq!(ids(&store, &Query::default()).await, [id(1), id(2)]);
}
