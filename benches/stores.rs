//! Calls a second of each store, with 1, 8 and 64 tasks:
//!
//! ```text
//! cargo bench -p cloakroom-benches --all-features --bench stores -- memory file:/tmp/sessions sqlite:/tmp/sessions.db \
//!     postgres://user:password@127.0.0.1/app mysql://user:password@127.0.0.1/app \
//!     redis://127.0.0.1:6379 redis-cluster://127.0.0.1:7000,127.0.0.1:7001 tiered+redis://127.0.0.1:6379
//! ```
//!
//! By itself, `memory`. A session holds one integer, and each task has
//! sessions of its own. A store is as its `connect` makes it, so an SQL store
//! has ten connections. What counts is the faster half of the rounds. What is
//! stored is deleted again; tables stay.

use std::{
    error::Error,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp,
    store::{Created, Former, TieredStore, Touched, Updated},
};
use tokio::task::{JoinSet, coop::consume_budget};

const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_millis(250);
const SESSIONS: usize = 1024;
const TASKS: [usize; 3] = [1, 8, 64];
const CALLS: [Call; 4] = [Call::Load, Call::Update, Call::Touch, Call::Create];

#[derive(Clone, Copy)]
enum Call {
    Load,
    Update,
    Touch,
    Create,
}

/// A stored session, as who wrote it last knows it.
struct Kept {
    id: SessionId,
    writes: usize,
    seen: Timestamp,
}

impl Kept {
    fn new() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("random bytes");
        Self {
            id: uuid::Builder::from_random_bytes(bytes).into_uuid().into(),
            writes: 0,
            seen: now(),
        }
    }

    fn activity(&self) -> Activity {
        Activity {
            last_seen_at: self.seen,
            expires_at: Some(self.seen.saturating_add(Duration::from_secs(3600))),
        }
    }
}

fn now() -> Timestamp {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).expect("this century"))
}

/// Two versions of a session, each to be saved in place of the other.
fn records() -> [Arc<Record>; 2] {
    [1, 2].map(|n| {
        let verifier = "A".repeat(43);
        let json = format!(
            r#"{{"format":1,"version":"{n}-0000000000000001","verifier":"{verifier}","created_at":0,"data":{{"n":{n}}}}}"#
        );
        Arc::new(Record::from_bytes(json.as_bytes()).expect("a record"))
    })
}

struct Bench<S> {
    store: S,
    records: [Arc<Record>; 2],
}

impl<S: SessionStore> Bench<S> {
    async fn create(&self) -> Kept {
        let kept = Kept::new();
        let created = self
            .store
            .create(kept.id, &self.records[0], kept.activity());
        assert_eq!(created.await.expect("an answer"), Created::Yes);
        kept
    }

    async fn load(&self, kept: &Kept) {
        let found = self.store.load(kept.id).await.expect("an answer");
        assert!(black_box(found).is_some());
    }

    async fn update(&self, kept: &mut Kept) {
        let former = Former::new(&self.records[kept.writes % 2], kept.activity());
        kept.writes += 1;
        let record = &self.records[kept.writes % 2];
        let updated = self.store.update(kept.id, record, kept.activity(), former);
        assert_eq!(updated.await.expect("an answer"), Updated::Saved);
    }

    async fn touch(&self, kept: &mut Kept) {
        let former = Former::new(&self.records[kept.writes % 2], kept.activity());
        kept.seen = kept.seen.saturating_add(Duration::from_millis(1));
        let touched = self.store.touch(kept.id, former, kept.activity());
        assert_eq!(touched.await.expect("an answer"), Touched::Yes);
    }

    /// One task's part of a round: how many calls, and what it has created.
    async fn run(&self, call: Call, share: &mut [Kept], is_over: &AtomicBool) -> (u32, Vec<Kept>) {
        let (mut calls, mut created) = (0, Vec::new());
        let mut place = 0;
        while !is_over.load(Ordering::Relaxed) {
            let kept = &mut share[place];
            match call {
                Call::Load => self.load(kept).await,
                Call::Update => self.update(kept).await,
                Call::Touch => self.touch(kept).await,
                Call::Create => created.push(self.create().await),
            }
            calls += 1;
            place = (place + 1) % share.len();
            // A store that never waits would keep the other tasks waiting.
            consume_budget().await;
        }
        (calls, created)
    }

    /// Calls a second, in one round.
    async fn round(self: &Arc<Self>, call: Call, shares: &mut Vec<Vec<Kept>>) -> f64 {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for mut share in shares.drain(..) {
            let (bench, is_over) = (Arc::clone(self), Arc::clone(&is_over));
            tasks.spawn(async move { (bench.run(call, &mut share, &is_over).await, share) });
        }
        // Outside the runtime, which may have no thread free for its timer.
        thread::spawn(move || {
            thread::sleep(ROUND);
            is_over.store(true, Ordering::Relaxed);
        });
        let ended = tasks.join_all().await;
        let took = started.elapsed().as_secs_f64();
        let mut calls = 0;
        for ((called, created), share) in ended {
            calls += called;
            shares.push(share);
            self.delete(created).await;
        }
        f64::from(calls) / took
    }

    async fn delete(&self, sessions: Vec<Kept>) {
        for kept in sessions {
            self.store.delete(kept.id).await.expect("an answer");
        }
    }
}

/// The mean of the faster half.
fn best_half(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(|a, b| b.total_cmp(a));
    rates.truncate(rates.len().div_ceil(2));
    rates.iter().sum::<f64>() / rates.len() as f64
}

async fn measure<S: SessionStore>(name: &str, store: S) {
    let records = records();
    let bench = Arc::new(Bench { store, records });
    for tasks in TASKS {
        let mut shares: Vec<Vec<Kept>> = (0..tasks).map(|_| Vec::new()).collect();
        for place in 0..SESSIONS {
            shares[place % tasks].push(bench.create().await);
        }
        let mut row = format!("| {name} | {tasks} |");
        for call in CALLS {
            let mut rates = Vec::new();
            for _ in 0..ROUNDS {
                rates.push(bench.round(call, &mut shares).await);
            }
            row += &format!(" {:.0} |", best_half(rates));
        }
        println!("{row}");
        bench.delete(shares.into_iter().flatten().collect()).await;
    }
}

/// Measures the store, behind a memory store if so wished.
async fn measure_either<S: SessionStore>(name: &str, store: S) {
    if name.starts_with("tiered+") {
        measure(name, TieredStore::new(MemoryStore::default(), store)).await;
    } else {
        measure(name, store).await;
    }
}

/// The store that `place` names.
async fn open(place: &str) -> Result<(), Box<dyn Error>> {
    let name = without_password(place);
    let place = place.strip_prefix("tiered+").unwrap_or(place);
    match place.split_once(':').unwrap_or((place, "")) {
        ("memory", "") => measure_either(&name, MemoryStore::default()).await,
        #[cfg(feature = "file")]
        ("file", path) => measure_either(&name, cloakroom::store::FileStore::open(path)?).await,
        #[cfg(feature = "sqlite")]
        ("sqlite", _) => {
            let store = cloakroom::store::SqliteStore::connect(place).await?;
            store.migrate().await?;
            measure_either(&name, store).await;
        }
        #[cfg(feature = "postgres")]
        ("postgres", _) => {
            let store = cloakroom::store::PostgresStore::connect(place).await?;
            store.migrate().await?;
            measure_either(&name, store).await;
        }
        #[cfg(feature = "mysql")]
        ("mysql", _) => {
            let store = cloakroom::store::MySqlStore::connect(place).await?;
            store.migrate().await?;
            measure_either(&name, store).await;
        }
        #[cfg(feature = "redis")]
        ("redis", _) => {
            let store = cloakroom::store::RedisStore::connect(place).await?;
            measure_either(&name, store).await;
        }
        #[cfg(feature = "redis")]
        ("redis-cluster", servers) => {
            let servers = servers.trim_start_matches('/').split(',');
            let urls: Vec<_> = servers.map(|server| format!("redis://{server}")).collect();
            let urls = urls.iter().map(String::as_str);
            let store = cloakroom::store::RedisStore::cluster(urls).await?;
            measure_either(&name, store).await;
        }
        _ => return Err(format!("{name}: no such store, or its feature is not on").into()),
    }
    Ok(())
}

fn without_password(place: &str) -> String {
    match (place.split_once("://"), place.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => place.to_owned(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let mut places: Vec<String> = std::env::args()
        .skip(1)
        .filter(|place| !place.starts_with("--"))
        .collect();
    if places.is_empty() {
        places.push("memory".to_owned());
    }
    println!("| store | tasks | loads a second | updates | touches | creates |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for place in &places {
        open(place).await?;
    }
    Ok(())
}
