//! How long readers of the memory store wait while others work on all of its sessions: `cargo bench -p
//! cloakroom-benches --bench memory_waits`.
//!
//! A million sessions expire, are listed, evicted, saved. Meanwhile a thread reads, and its slowest reads are
//! printed. The first row has nothing beside the reader, so it is what the machine itself takes away.

use std::{
    env, fs,
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloakroom::{Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp, store::Query};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const SESSIONS: usize = 1_000_000;

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

fn record() -> Record {
    let verifier = "A".repeat(43);
    let json = format!(
        r#"{{"format":1,"version":"1-0000000000000001","verifier":"{verifier}","created_at":0,"data":{{"n":1}}}}"#
    );
    Record::from_bytes(json.as_bytes()).expect("a record")
}

const ACTIVITY: Activity = Activity {
    last_seen_at: Timestamp::EPOCH,
    expires_at: Some(Timestamp::from_millis(1)),
};

fn ids(count: usize) -> Vec<SessionId> {
    let mut bytes = vec![[0; 16]; count];
    getrandom::fill(bytes.as_flattened_mut()).expect("random bytes");
    bytes
        .into_iter()
        .map(|id| Uuid::from_bytes(id).into())
        .collect()
}

async fn create(store: &MemoryStore, ids: &[SessionId]) {
    let record = record();
    for id in ids {
        let created = store.create(*id, &Arc::new(record.clone()), ACTIVITY).await;
        created.expect("room");
    }
}

/// Does `work` in this thread, and reads in another one.
fn print(what: &str, store: &MemoryStore, ids: &[SessionId], work: impl FnOnce()) {
    let (is_working, both) = (AtomicBool::new(true), Barrier::new(2));
    let (took, mut times) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut times: Vec<Duration> = Vec::with_capacity(4_000_000);
            let runtime = runtime();
            both.wait();
            runtime.block_on(async {
                for id in ids.iter().cycle() {
                    let start = Instant::now();
                    black_box(store.load(*id).await.expect("no failure"));
                    times.push(start.elapsed());
                    if !is_working.load(Ordering::Relaxed) || times.len() == times.capacity() {
                        break;
                    }
                }
            });
            times
        });
        both.wait();
        let start = Instant::now();
        work();
        let took = start.elapsed();
        is_working.store(false, Ordering::Relaxed);
        (took, reader.join().expect("no panic"))
    });
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let slow = times
        .iter()
        .filter(|time| **time > Duration::from_millis(1));
    println!(
        "| {what} | {took:.0?} | {} | {:?} | {:?} | {:?} | {} |",
        times.len(),
        at(0.5),
        at(0.9999),
        at(1.0),
        slow.count()
    );
}

fn main() {
    println!("| work | it takes | reads | median | 99.99 % | the longest | longer than 1 ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let runtime = runtime();
    let ids = ids(SESSIONS);
    let filled = || {
        let store = MemoryStore::builder().max_bytes(1 << 29).build();
        runtime.block_on(create(&store, &ids));
        store
    };

    let store = filled();
    print("none", &store, &ids, || {
        thread::sleep(Duration::from_secs(1));
    });
    for (what, query) in [
        ("pages by id", Query::default().by_id()),
        ("pages by last use", Query::default().last_seen_first()),
        ("pages by begin", Query::default().newest_first()),
    ] {
        print(what, &store, &ids, || {
            runtime.block_on(async {
                let mut after = None;
                for _ in 0..100 {
                    let page = store.list(&query, after.as_ref(), 1000).await;
                    after = page.expect("no failure").next;
                }
            });
        });
    }
    print("a snapshot", &store, &ids, || {
        let path = env::temp_dir().join(format!("cloakroom-waits-{}", std::process::id()));
        let saved = runtime.block_on(store.save_to(&path));
        assert_eq!(saved.expect("a file"), SESSIONS);
        let _ = fs::remove_file(&path);
    });
    print("expired, in calls of 1000", &store, &ids, || {
        runtime.block_on(async {
            let reap = || store.delete_expired(Timestamp::MAX, 1000);
            while reap().await.expect("no failure").more {}
        });
    });
    let store = filled();
    print("expired, in one call", &store, &ids, || {
        let reaped = runtime.block_on(store.delete_expired(Timestamp::MAX, usize::MAX));
        assert_eq!(reaped.expect("no failure").removed, SESSIONS);
    });
    let store = MemoryStore::builder().max_bytes(1 << 29).build();
    print("tables that grow", &store, &ids, || {
        runtime.block_on(create(&store, &ids));
    });
    let store = MemoryStore::builder().max_sessions(SESSIONS / 4).build();
    runtime.block_on(create(&store, &ids[..SESSIONS / 4]));
    print(
        "evictions, all sessions in use",
        &store,
        &ids[..SESSIONS / 4],
        || {
            runtime.block_on(create(&store, &ids[SESSIONS / 4..]));
        },
    );
}
