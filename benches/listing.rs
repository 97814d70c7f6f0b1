//! What the operator's lists, counts and revocations cost the memory store at a million sessions.
//!
//! ```sh
//! cargo bench -p cloakroom-benches --bench listing   # SESSIONS=100000 for fewer
//! # Lists and counts of the sessions that other stores have. It changes nothing there.
//! cargo bench -p cloakroom-benches --all-features --bench listing -- postgres://user:password@127.0.0.1/app \
//!     mysql://user:password@127.0.0.1/app sqlite:/tmp/sessions.db redis://127.0.0.1:6379
//! ```
//!
//! The memory store's times are the processor's. Those of other stores are what the caller waits.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cloakroom::{
    Activity, Cursor, MemoryStore, Record, SessionFilter, SessionId, SessionLayer,
    SessionStore as _, Sessions, Timestamp,
};
use uuid::Uuid;

/// How often each call is made; the best counts.
const ROUNDS: usize = 5;

/// One of so many sessions has a user.
const LOGGED_IN: u64 = 100;

fn id(number: u64) -> SessionId {
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (spread ^ (spread >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Uuid::from_u128(u128::from(mixed ^ (mixed >> 29)) << 64 | u128::from(number)).into()
}

/// A session that began so many milliseconds after the first.
fn record(begun_at: Timestamp, number: u64) -> Arc<Record> {
    let user = match number % LOGGED_IN {
        0 => format!(
            r#","user":"user {number}","authenticated_at":{}"#,
            begun_at.as_millis()
        ),
        _ => String::new(),
    };
    let verifier = "A".repeat(43);
    let text = format!(
        r#"{{"format":1,"version":"1-00000000000000ff","verifier":"{verifier}","created_at":{}{user},"data":{{"n":1}}}}"#,
        begun_at.as_millis()
    );
    Arc::new(Record::from_bytes(text.as_bytes()).unwrap())
}

async fn fill(store: &MemoryStore, sessions: u64) {
    let now = Timestamp::from(SystemTime::now());
    let first = now.saturating_sub(Duration::from_millis(sessions));
    for number in 0..sessions {
        let begun_at = first.saturating_add(Duration::from_millis(number));
        let activity = Activity {
            last_seen_at: now,
            expires_at: Some(now.saturating_add(Duration::from_secs(3600))),
        };
        store
            .create(id(number), &record(begun_at, number), activity)
            .await
            .unwrap();
    }
}

/// What this thread has had of the processor, so that others on the machine do not count; where the
/// system does not tell, the time that has passed.
fn spent(since: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// The best time of some rounds.
async fn best<F: Future>(mut call: impl FnMut() -> F) -> Duration {
    let mut best = Duration::MAX;
    let first = Instant::now();
    for _ in 0..ROUNDS {
        let started = spent(first);
        call().await;
        best = best.min(spent(first) - started);
    }
    best
}

fn print(what: &str, took: Duration) {
    println!("{what:<52} {:>9.2} ms", took.as_secs_f64() * 1000.0);
}

fn print_page(what: &str, took: Duration, found: usize) {
    let millis = took.as_secs_f64() * 1000.0;
    println!("{what:<52} {millis:>9.2} ms, {found} sessions");
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

/// Pages at the start, in the middle and at the end of lists with each order and condition, and counts.
async fn look_at(sessions: &Sessions, number: u64, user: &str) {
    let all = SessionFilter::default();
    let half = ago(number / 2000);
    for (name, filter) in [
        ("all", all.clone()),
        ("of a user", all.clone().user(user)),
        ("logged in", all.clone().logged_in()),
        ("anonymous", all.clone().anonymous()),
        ("begun within", all.clone().begun_within(half..)),
        (
            "begun within, logged in",
            all.clone().begun_within(half..).logged_in(),
        ),
        (
            "unused",
            all.clone().idle_for(Duration::from_secs(30 * 86_400)),
        ),
    ] {
        for (order, filter) in [
            ("by id", filter.clone()),
            ("newest first", filter.clone().newest_first()),
        ] {
            let Some(cursors) = cursors(sessions, &filter).await else {
                println!("{:<52} not offered", format!("{name}, {order}"));
                continue;
            };
            for (place, after) in cursors {
                let page = || sessions.list(&filter, after.as_ref(), 100);
                let found = page().await.unwrap().sessions.len();
                let name = format!("{name}, {order}, {place}");
                print_page(&name, best(page).await, found);
            }
        }
        if !filter.is_everything() {
            let count = || sessions.count_matching(&filter);
            let counted = count().await.unwrap();
            print(&format!("count of {name}: {counted}"), best(count).await);
        }
    }
    if let Ok(seen) = sessions.last_seen(&all, 100).await {
        let call = || sessions.last_seen(&all, 100);
        print_page("last seen", best(call).await, seen.len());
    }
    print("count of all", best(|| sessions.count()).await);
}

/// Where the first, the middle and the last page of a list begin. `None` if the store does not offer it.
async fn cursors(
    sessions: &Sessions,
    filter: &SessionFilter,
) -> Option<Vec<(&'static str, Option<Cursor>)>> {
    let mut all = vec![None];
    // What is filtered without an index ends nowhere near: enough of its pages.
    while all.len() < 2000 {
        let page = sessions.list(filter, all.last()?.as_ref(), 1000).await;
        match page.ok()?.next {
            Some(next) => all.push(Some(next)),
            None => break,
        }
    }
    let (middle, last) = (all.len() / 2, all.len() - 1);
    let mut places = vec![("start", None)];
    if last > 0 {
        places.push(("middle", all[middle].take()));
    }
    if last > middle {
        places.push(("end", all[last].take()));
    }
    Some(places)
}

async fn sessions_at(url: &str) -> Sessions {
    layer_at(url)
        .await
        .store_timeout(Duration::from_secs(60))
        .reap_every(None)
        .sessions()
}

async fn layer_at(url: &str) -> SessionLayer {
    match url.split(':').next().unwrap_or_default() {
        #[cfg(feature = "postgres")]
        "postgres" => {
            let store = cloakroom::store::PostgresStore::connect(url).await;
            SessionLayer::new(cloakroom::store::DynStore::new(store.unwrap()))
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            let store = cloakroom::store::MySqlStore::connect(url).await;
            SessionLayer::new(cloakroom::store::DynStore::new(store.unwrap()))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let store = cloakroom::store::SqliteStore::connect(url).await;
            SessionLayer::new(cloakroom::store::DynStore::new(store.unwrap()))
        }
        #[cfg(feature = "redis")]
        "redis" => {
            let store = cloakroom::store::RedisStore::connect(url).await.unwrap();
            SessionLayer::new(cloakroom::store::DynStore::new(store.index_begun()))
        }
        kind => panic!("no store of the kind {kind}: is its feature on?"),
    }
}

#[tokio::main]
async fn main() {
    let number = std::env::var("SESSIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let number = number.unwrap_or(1_000_000);
    let urls: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    for url in &urls {
        let kind = url.split(':').next().unwrap_or_default();
        println!("{kind}, a page of 100:\n");
        look_at(&sessions_at(url).await, number, "user 0").await;
    }
    if urls.is_empty() {
        in_memory(number).await;
    }
}

async fn in_memory(number: u64) {
    let store = MemoryStore::builder().max_bytes(4 << 30).build();
    fill(&store, number).await;
    let sessions = SessionLayer::new(store).reap_every(None).sessions();
    println!("{number} sessions, one in {LOGGED_IN} with a user; a page of 100:\n");
    look_at(&sessions, number, "user 0").await;
    let first = Instant::now();
    let started = spent(first);
    let anonymous = SessionFilter::default().anonymous();
    let ended = sessions.revoke_matching(&anonymous, |_| {}).await.unwrap();
    print(
        &format!("revoke {ended} by a filter"),
        spent(first) - started,
    );
}
