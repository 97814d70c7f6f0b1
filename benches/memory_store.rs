//! The memory store alone, on one core: `cargo bench -p cloakroom-benches --bench memory_store`.
//!
//! Reads and touches in random order, beside what one would build first: a
//! mutex around a map in the order of use. Then what writing, evicting and
//! reaping take, and how long a reader may have to wait for a reaper.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use cloakroom::{Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp};
use hashlink::LinkedHashMap;
use uuid::Uuid;

const ROUNDS: usize = 10;
const CALLS: usize = 100_000;

/// A call of this store is done when it is first polled.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a memory store waits for nothing"),
    }
}

fn record() -> Record {
    let verifier = "A".repeat(43);
    let json = format!(
        r#"{{"format":1,"version":"1-0000000000000001","verifier":"{verifier}","created_at":0,"data":{{"n":1}}}}"#
    );
    Record::from_bytes(json.as_bytes()).expect("a record")
}

fn activity(at: u64) -> Activity {
    Activity {
        last_seen_at: Timestamp::from_millis(at),
        expires_at: Some(Timestamp::from_millis(at + 3_600_000)),
    }
}

fn ids(count: usize) -> Vec<SessionId> {
    let mut bytes = vec![[0; 16]; count];
    getrandom::fill(bytes.as_flattened_mut()).expect("random bytes");
    bytes
        .into_iter()
        .map(|id| Uuid::from_bytes(id).into())
        .collect()
}

fn shuffle(ids: &mut [SessionId]) {
    let mut state = 1_u64;
    for index in (1..ids.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ids.swap(index, (state >> 33) as usize % (index + 1));
    }
}

fn filled(ids: &[SessionId]) -> MemoryStore {
    let store = MemoryStore::builder().max_bytes(usize::MAX / 2).build();
    let record = record();
    for id in ids {
        now(store.create(*id, &Arc::new(record.clone()), activity(0))).expect("room");
    }
    store
}

type Kept = (Arc<Record>, Activity);

fn baseline(ids: &[SessionId]) -> Mutex<LinkedHashMap<SessionId, Kept>> {
    let record = record();
    let kept = |id: &SessionId| (*id, (Arc::new(record.clone()), activity(0)));
    Mutex::new(ids.iter().map(kept).collect())
}

/// Nanoseconds a call, in the fastest of the rounds.
fn fastest(ids: &[SessionId], mut call: impl FnMut(SessionId)) -> f64 {
    let mut ids = ids.iter().cycle();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for id in ids.by_ref().take(CALLS) {
            call(*id);
        }
        rounds.push(start.elapsed().as_nanos() as f64 / CALLS as f64);
    }
    rounds.into_iter().fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("| sessions | linked map, read | memory store, read | share | touch | share |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for count in [1_000, 100_000, 1_000_000] {
        read_and_touch(count);
    }
    println!();
    create_and_evict();
    reap();
}

fn read_and_touch(count: usize) {
    let mut ids = ids(count);
    let (store, baseline) = (filled(&ids), baseline(&ids));
    shuffle(&mut ids);
    let theirs = fastest(&ids, |id| {
        let mut map = baseline.lock().expect("no panic");
        map.to_back(&id);
        black_box(map.get(&id).cloned());
    });
    let read = fastest(&ids, |id| {
        black_box(now(store.load(id)).expect("no failure"));
    });
    let version = record().version();
    let mut at = 0;
    let touch = fastest(&ids, |id| {
        at += 1;
        black_box(now(store.touch(id, version, activity(at))).expect("no failure"));
    });
    println!(
        "| {count} | {theirs:.0} ns | {read:.0} ns | {:.2} | {touch:.0} ns | {:.2} |",
        read / theirs,
        touch / theirs
    );
}

fn create_and_evict() {
    let record = record();
    let ids = ids(ROUNDS * CALLS);
    let create = |store: &MemoryStore| {
        fastest(&ids, |id| {
            let record = Arc::new(record.clone());
            now(store.create(id, &record, activity(0))).expect("room");
        })
    };
    let roomy = MemoryStore::builder().max_bytes(usize::MAX / 2).build();
    println!("create: {:.0} ns", create(&roomy));
    let full = MemoryStore::builder().max_sessions(CALLS / 2).build();
    println!("create, and evict another: {:.0} ns", create(&full));
}

/// How many sessions leave under one hold of a lock at most.
const HOLD: usize = 128;

/// A reader in a thread of its own, while a million expired sessions leave.
fn reap() {
    let ids = ids(1_000_000);
    let store = filled(&ids);
    let is_reaping = Arc::new(AtomicBool::new(true));
    let reader = {
        let (store, is_reaping, ids) = (store.clone(), Arc::clone(&is_reaping), ids.clone());
        thread::spawn(move || {
            let mut times: Vec<Duration> = Vec::with_capacity(10_000_000);
            for id in ids.iter().cycle() {
                if !is_reaping.load(Ordering::Relaxed) || times.len() == times.capacity() {
                    break;
                }
                let start = Instant::now();
                black_box(now(store.load(*id)).expect("no failure"));
                times.push(start.elapsed());
            }
            times.sort_unstable();
            times
        })
    };
    let (start, mut calls) = (Instant::now(), Vec::new());
    loop {
        let call = Instant::now();
        let reaped = now(store.delete_expired(Timestamp::MAX, HOLD)).expect("no failure");
        calls.push(call.elapsed());
        if !reaped.more {
            break;
        }
    }
    let took = start.elapsed();
    is_reaping.store(false, Ordering::Relaxed);
    let times = reader.join().expect("no panic");
    calls.sort_unstable();
    let call = |share: f64| calls[(calls.len() as f64 * share) as usize];
    println!(
        "reaping 1,000,000: {took:?}; calls for {HOLD}, each one hold of a lock or two: median {:?}, \
         99.9 % within {:?}, the longest {:?}",
        call(0.5),
        call(0.999),
        calls[calls.len() - 1],
    );
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    println!(
        "meanwhile {} reads: \
         median {:?}, 99.99 % within {:?}, the longest {:?}",
        times.len(),
        at(0.5),
        at(0.9999),
        times[times.len() - 1],
    );
}
