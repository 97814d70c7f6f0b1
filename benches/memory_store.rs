//! The memory store alone: `cargo bench -p cloakroom-benches --bench memory_store`.
//!
//! Reads and writes in random order, on one thread and on two, beside gotham's memory backend, and beside what
//! one would build first: a mutex around a map in the order of use. Then what a touch, and creating and evicting
//! take. What a call is given is made outside of the time. The rounds of the stores alternate, and the fastest
//! counts. How long readers wait is measured by `memory_waits`. `-- profile
//! read 1000` makes the memory store's reads alone: for a profiler.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::{Arc, Barrier, Mutex},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use cloakroom::{Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp, store::Former};
use gotham::{
    middleware::session::{Backend, MemoryBackend, SessionIdentifier},
    state::State,
};
use hashlink::LinkedHashMap;
use uuid::Uuid;

const ROUNDS: usize = 200;
const CALLS: usize = 3_200;
const BATCH: usize = 32;

/// A call of these stores is done when it is first polled.
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

fn shuffle(ids: &mut [SessionId], mut state: u64) {
    for index in (1..ids.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ids.swap(index, (state >> 33) as usize % (index + 1));
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
    Touch,
}

/// A store that is measured.
trait Subject: Sync {
    /// Nanoseconds a call, with the sessions of `ids` one after the other.
    fn round(&self, kind: Kind, ids: &[SessionId], start: &Barrier) -> f64;
}

/// Nanoseconds a call, without the time in which `prepare` makes what it is given, as a request does just before.
fn time<T>(
    ids: &[SessionId],
    start: &Barrier,
    prepare: impl Fn(&SessionId) -> T,
    mut call: impl FnMut(T),
) -> f64 {
    let mut took = Duration::ZERO;
    start.wait();
    for ids in ids.chunks(BATCH) {
        let prepared: Vec<T> = ids.iter().map(&prepare).collect();
        let start = Instant::now();
        for one in prepared {
            call(one);
        }
        took += start.elapsed();
    }
    took.as_nanos() as f64 / ids.len() as f64
}

fn with_record(record: &Record) -> impl Fn(&SessionId) -> (SessionId, Arc<Record>) {
    |id| (*id, Arc::new(record.clone()))
}

fn records(ids: &[SessionId]) -> Vec<(SessionId, Arc<Record>)> {
    ids.iter().map(with_record(&record())).collect()
}

fn filled(ids: &[SessionId]) -> MemoryStore {
    let store = if ids.len() < 500_000 {
        MemoryStore::default()
    } else {
        MemoryStore::builder().max_bytes(1 << 29).build()
    };
    for (id, record) in records(ids) {
        now(store.create(id, &record, activity(0))).expect("room");
    }
    store
}

impl Subject for MemoryStore {
    fn round(&self, kind: Kind, ids: &[SessionId], start: &Barrier) -> f64 {
        let record = Arc::new(record());
        let former = Former::new(&record, activity(0));
        match kind {
            Kind::Read => time(
                ids,
                start,
                |id| *id,
                |id| {
                    black_box(now(self.load(id)).expect("no failure"));
                },
            ),
            Kind::Write => time(ids, start, with_record(&record), |(id, record)| {
                black_box(now(self.update(id, &record, activity(0), former)).expect("room"));
            }),
            Kind::Touch => time(
                ids,
                start,
                |id| *id,
                |id| {
                    black_box(now(self.touch(id, former, activity(0))).expect("no failure"));
                },
            ),
        }
    }
}

type LinkedMap = Mutex<LinkedHashMap<SessionId, (Arc<Record>, Activity)>>;

fn linked_map(ids: &[SessionId]) -> LinkedMap {
    let kept = |(id, record)| (id, (record, activity(0)));
    Mutex::new(records(ids).into_iter().map(kept).collect())
}

impl Subject for LinkedMap {
    fn round(&self, kind: Kind, ids: &[SessionId], start: &Barrier) -> f64 {
        let record = record();
        match kind {
            Kind::Read => time(
                ids,
                start,
                |id| *id,
                |id| {
                    let mut map = self.lock().expect("no panic");
                    map.to_back(&id);
                    let kept = map.get(&id).cloned();
                    drop(map);
                    black_box(kept);
                },
            ),
            Kind::Write => time(ids, start, with_record(&record), |(id, record)| {
                let kept = (Arc::clone(&record), activity(0));
                let former = self.lock().expect("no panic").insert(id, kept);
                black_box(former);
            }),
            Kind::Touch => time(
                ids,
                start,
                |id| *id,
                |id| {
                    let mut map = self.lock().expect("no panic");
                    map.to_back(&id);
                    if let Some((_, former)) = map.get_mut(&id) {
                        *former = activity(0);
                    }
                },
            ),
        }
    }
}

/// As long as a session with one value that gotham encodes, or shorter.
const CONTENT: &[u8] = &[1; 32];

/// As long as gotham's own identifiers.
fn identifier(id: &SessionId) -> SessionIdentifier {
    let value = format!("{:0<86}", Uuid::from_bytes(*id.as_bytes()).simple());
    SessionIdentifier { value }
}

fn gotham(ids: &[SessionId]) -> MemoryBackend {
    let backend = MemoryBackend::default();
    State::with_new(|state| {
        for id in ids {
            now(backend.persist_session(state, identifier(id), CONTENT)).expect("no failure");
        }
    });
    backend
}

/// It is `Send` and cloned for each request, but not `Sync`.
struct Gotham(Mutex<MemoryBackend>);

impl Subject for Gotham {
    fn round(&self, kind: Kind, ids: &[SessionId], start: &Barrier) -> f64 {
        let backend = self.0.lock().expect("no panic").clone();
        let mut nanos = 0.0;
        State::with_new(|state| {
            nanos = match kind {
                Kind::Read => time(ids, start, identifier, |id| {
                    black_box(now(backend.read_session(state, id)).expect("no failure"));
                }),
                Kind::Write | Kind::Touch => time(ids, start, identifier, |id| {
                    now(backend.persist_session(state, id, CONTENT)).expect("no failure");
                }),
            };
        });
        nanos
    }
}

/// Nanoseconds a call of each subject, of the slowest thread, in the fastest of the rounds.
fn fastest<const N: usize>(
    subjects: [&dyn Subject; N],
    kind: Kind,
    ids: &[SessionId],
    threads: usize,
) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    let mut places = (0..ids.len()).step_by(CALLS).cycle();
    for _ in 0..ROUNDS {
        let mine: Vec<Vec<SessionId>> = (0..threads)
            .map(|_| {
                let from = places.next().unwrap_or(0);
                ids.iter().copied().cycle().skip(from).take(CALLS).collect()
            })
            .collect();
        for (best, subject) in best.iter_mut().zip(subjects) {
            let start = Barrier::new(threads);
            let slowest = thread::scope(|scope| {
                let rounds = mine
                    .iter()
                    .map(|ids| scope.spawn(|| subject.round(kind, ids, &start)))
                    .collect::<Vec<_>>();
                let times = rounds.into_iter().map(|round| round.join());
                times
                    .map(|time| time.expect("no panic"))
                    .fold(0.0, f64::max)
            });
            *best = best.min(slowest);
        }
    }
    best
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    if let ["profile", kind, count, ..] = args[..] {
        return profile(kind, count.parse().expect("a number of sessions"));
    }
    println!(
        "| call | sessions | threads | gotham, ns | linked map, ns | cloakroom, ns | times gotham's rate | times the map's |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for count in [1_000, 10_000, 100_000, 1_000_000] {
        let mut ids = ids(count);
        let (map, store) = (linked_map(&ids), filled(&ids));
        let gotham = Gotham(Mutex::new(gotham(&ids)));
        shuffle(&mut ids, 1);
        for (name, kind) in [("read", Kind::Read), ("write", Kind::Write)] {
            for threads in [1, 2] {
                let [gotham, map, store] = fastest([&gotham, &map, &store], kind, &ids, threads);
                println!(
                    "| {name} | {count} | {threads} | {gotham:.0} | {map:.0} | {store:.0} | {:.1} | {:.2} |",
                    gotham / store,
                    map / store
                );
            }
        }
        let [map, store] = fastest([&map, &store], Kind::Touch, &ids, 1);
        println!(
            "| touch | {count} | 1 | | {map:.0} | {store:.0} | | {:.2} |",
            map / store
        );
    }
    println!();
    create_and_evict();
}

/// The memory store's rounds alone.
fn profile(kind: &str, count: usize) {
    let ids = ids(count);
    let kind = match kind {
        "read" => Kind::Read,
        "write" => Kind::Write,
        "touch" => Kind::Touch,
        _ => panic!("read, write or touch"),
    };
    let [nanos] = fastest([&filled(&ids)], kind, &ids, 1);
    println!("{nanos:.0} ns");
}

fn create_and_evict() {
    let (ids, record) = (ids(ROUNDS * CALLS), record());
    let create = |store: &MemoryStore| {
        let rounds = ids.chunks(CALLS).map(|ids| {
            time(
                ids,
                &Barrier::new(1),
                with_record(&record),
                |(id, record)| {
                    now(store.create(id, &record, activity(0))).expect("room");
                },
            )
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    let roomy = MemoryStore::builder().max_bytes(1 << 29).build();
    println!("create: {:.0} ns", create(&roomy));
    let full = MemoryStore::builder().max_sessions(5 * CALLS).build();
    println!("create, and evict another: {:.0} ns", create(&full));
}
