//! A million sessions to a file and back: `cargo bench -p cloakroom-benches --bench snapshot`.
//!
//! How long it takes, and how long a reader in a thread of its own has to wait meanwhile.

use std::{
    env, fs,
    future::Future,
    hint::black_box,
    io,
    pin::pin,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use cloakroom::{Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp};
use uuid::Uuid;

const SESSIONS: usize = 1_000_000;

/// Without a runtime every call is done when it is first polled.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("without a runtime nothing waits"),
    }
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
    expires_at: Some(Timestamp::MAX),
};

fn ids() -> Vec<SessionId> {
    let mut bytes = vec![[0; 16]; SESSIONS];
    getrandom::fill(bytes.as_flattened_mut()).expect("random bytes");
    bytes
        .into_iter()
        .map(|id| Uuid::from_bytes(id).into())
        .collect()
}

fn empty() -> MemoryStore {
    MemoryStore::builder().max_bytes(usize::MAX / 2).build()
}

/// What `work` gives, with how long it took and how long the reads meanwhile did.
fn measure<T>(name: &str, store: &MemoryStore, ids: &[SessionId], work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut times: Vec<Duration> = Vec::with_capacity(30_000_000);
            for id in ids.iter().cycle() {
                if is_over.load(Ordering::Relaxed) || times.len() == times.capacity() {
                    break;
                }
                let start = Instant::now();
                black_box(now(store.load(*id)).expect("no failure"));
                times.push(start.elapsed());
            }
            times.sort_unstable();
            times
        });
        let start = Instant::now();
        let done = work();
        let took = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let times = reader.join().expect("no panic");
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        println!(
            "{name}: {took:?}; meanwhile {} reads: median {:?}, 99.99 % within {:?}, the longest {:?}",
            times.len(),
            at(0.5),
            at(0.9999),
            times[times.len() - 1],
        );
        done
    })
}

fn main() -> io::Result<()> {
    let path = env::temp_dir().join(format!("cloakroom-bench-{}", process::id()));
    let ids = ids();
    let store = empty();
    let record = record();
    measure("creating, for comparison", &store, &ids, || {
        for id in &ids {
            now(store.create(*id, &Arc::new(record.clone()), ACTIVITY)).expect("room");
        }
    });
    let saved = measure("saving", &store, &ids, || now(store.save_to(&path)))?;
    println!("{saved} sessions in {} bytes", fs::metadata(&path)?.len());
    let restarted = empty();
    let report = measure("restoring", &restarted, &ids, || {
        now(restarted.restore_from(&path))
    })?;
    assert!(report.is_some_and(|report| report.restored == saved));
    fs::remove_file(path)
}
