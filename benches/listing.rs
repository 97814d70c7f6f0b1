//! What the operator's lists, counts and revocations cost the memory store at a million sessions.
//!
//! ```sh
//! cargo bench -p cloakroom-benches --bench listing   # SESSIONS=100000 for fewer
//! ```

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

/// The cursor after so many sessions.
async fn cursor(sessions: &Sessions, filter: &SessionFilter, depth: u64) -> Option<Cursor> {
    let mut cursor = None;
    for _ in 0..depth / 1000 {
        cursor = sessions
            .list(filter, cursor.as_ref(), 1000)
            .await
            .unwrap()
            .next;
    }
    cursor
}

fn print(what: &str, took: Duration) {
    println!("{what:<44} {:>9.2} ms", took.as_secs_f64() * 1000.0);
}

#[tokio::main]
async fn main() {
    let number = std::env::var("SESSIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let number = number.unwrap_or(1_000_000);
    let store = MemoryStore::builder().max_bytes(4 << 30).build();
    fill(&store, number).await;
    let sessions = SessionLayer::new(store).reap_every(None).sessions();
    println!("{number} sessions, one in {LOGGED_IN} with a user; a page of 100:\n");
    let all = SessionFilter::default();
    for (name, filter) in [
        ("by id", all.clone()),
        ("newest first", all.clone().newest_first()),
        (
            "newest first, logged in",
            all.clone().newest_first().logged_in(),
        ),
    ] {
        // A walk through the list costs a page's time each.
        for depth in [0, number / 100] {
            let after = cursor(&sessions, &filter, depth).await;
            let page = || sessions.list(&filter, after.as_ref(), 100);
            print(&format!("{name}, after {depth}"), best(page).await);
        }
    }
    print("last seen", best(|| sessions.last_seen(&all, 100)).await);
    let anonymous = all.clone().anonymous();
    print(
        "count up to 10,000",
        best(|| sessions.count_matching(&anonymous)).await,
    );
    let idle = all.idle_for(Duration::from_secs(86_400));
    print(
        "count of none",
        best(|| sessions.count_matching(&idle)).await,
    );
    let first = Instant::now();
    let started = spent(first);
    let ended = sessions.revoke_matching(&anonymous, |_| {}).await.unwrap();
    print(
        &format!("revoke {ended} by a filter"),
        spent(first) - started,
    );
}
