//! The stores beside those of tower-sessions, against the same servers, in one process.
//!
//! For each call the rounds of the two alternate, so that whatever else the
//! machine does falls on both; what counts is the faster half of the rounds.
//! Each task has sessions of its own, out of [`SESSIONS`]. What is sent is
//! made before: of each session two versions, each to be saved in place of the other.
//!
//! | here | cloakroom | tower-sessions |
//! | --- | --- | --- |
//! | load | `load` | `load` |
//! | update | `update`, which compares the version | `save` of changed data, which overwrites |
//! | touch | `touch` | `save` with another expiry: it has nothing less |
//! | create | `create` | `create` |
//!
//! Where there is a pool, both have [`CONNECTIONS`]: of SQL, and of the peer's
//! Redis; cloakroom's Redis has one connection, which all share. An SQL
//! pool of the peer pings a connection before it lends it, as sqlx does by
//! default and the peer's documentation shows it; "no ping" is the
//! same with `test_before_acquire(false)`, as cloakroom's `connect` has it.
//!
//! Round trips are counted on the wire, by a proxy, with one task: how often
//! the server begins to answer, divided by the calls.

mod ours;
mod peer;
mod round;
mod servers;
mod wire;

use self::round::{Call, Measured};

/// How many connections a pool has.
const CONNECTIONS: u32 = 8;

/// How many sessions there are.
const SESSIONS: usize = 256;

const ROUNDS: usize = 8;
const TASKS: [usize; 3] = [1, 8, 64];

/// What a session holds: one integer, or a string of so many bytes.
#[derive(Clone, Copy)]
pub enum Payload {
    Integer,
    Bytes(usize),
}

const PAYLOADS: [(Payload, &str); 2] = [
    (Payload::Integer, "integer"),
    (Payload::Bytes(2048), "2 KiB"),
];

impl Payload {
    /// A session's only value, in its first version or its second.
    fn value(self, version: u8) -> serde_json::Value {
        match self {
            Self::Integer => version.into(),
            Self::Bytes(length) => char::from(b'a' + version).to_string().repeat(length).into(),
        }
    }
}

/// Prints the rows of each server.
pub async fn print(urls: &[&str]) {
    println!(
        "| server | payload | call | peer | round trips: peer, cloakroom | 1 task: peer, cloakroom, a second | times | 8 tasks | times | 64 tasks | times |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for url in urls {
        for (payload, name) in PAYLOADS {
            for call in Call::ALL {
                row(url, payload, name, call).await;
            }
        }
    }
}

/// Prints the rate of one subject's rounds, and what a call costs this process and the server in time of a processor.
///
/// The payload is an integer where `bytes` is 0.
pub async fn profile(url: &str, subject: &str, call: &str, bytes: usize, tasks: usize) {
    let payload = if bytes == 0 {
        Payload::Integer
    } else {
        Payload::Bytes(bytes)
    };
    let call = Call::ALL.into_iter().find(|one| one.name() == call);
    let call = call.expect("a call");
    let mut all = servers::open(url, payload, tasks).await;
    let one = all.iter_mut().find(|one| one.name() == subject);
    let one = one.expect("a subject");
    for _ in 0..ROUNDS * 4 {
        println!("{:.0} a second", one.round(call).await);
    }
    for one in &mut all {
        one.end().await;
    }
}

async fn row(url: &str, payload: Payload, payload_name: &str, call: Call) {
    let trips = round_trips(url, payload, call).await;
    let mut rates = Vec::new();
    for tasks in TASKS {
        let mut all = servers::open(url, payload, tasks).await;
        rates.push(compare(&mut all, call).await);
    }
    let scheme = url.split(':').next().unwrap_or_default();
    for peer in 1..rates[0].len() {
        let name = rates[0][peer].0;
        let counted = match &trips[..] {
            [] => String::new(),
            trips => format!("{:.1}, {:.1}", trips[peer], trips[0]),
        };
        let mut row = format!(
            "| {scheme} | {payload_name} | {} | {name} | {counted} |",
            call.name()
        );
        for rates in &rates {
            let (ours, theirs) = (rates[0].1, rates[peer].1);
            row += &format!(" {theirs:.0}, {ours:.0} | {:.2} |", ours / theirs);
        }
        println!("{row}");
    }
}

/// Calls a second of each.
async fn compare(all: &mut [Box<dyn Measured>], call: Call) -> Vec<(&'static str, f64)> {
    let mut rates: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
    for one in &mut *all {
        // Opens its connections, prepares its statements.
        one.round(call).await;
    }
    for round in 0..ROUNDS {
        for turn in 0..all.len() {
            let place = (round + turn) % all.len();
            rates[place].push(all[place].round(call).await);
        }
    }
    let mut best = Vec::new();
    for (one, mut rates) in all.iter_mut().zip(rates) {
        rates.sort_by(|a, b| b.total_cmp(a));
        rates.truncate(ROUNDS.div_ceil(2));
        best.push((one.name(), rates.iter().sum::<f64>() / rates.len() as f64));
        one.end().await;
    }
    best
}

/// Round trips a call of each; none counted in a cluster, whose servers name their own
/// addresses, and where there is no wire.
async fn round_trips(url: &str, payload: Payload, call: Call) -> Vec<f64> {
    if url.starts_with("redis-cluster") || url.starts_with("sqlite") {
        return Vec::new();
    }
    let wire = wire::Wire::start(url).await;
    let mut all = servers::open(wire.url(), payload, 1).await;
    let mut counts = Vec::new();
    for one in &mut all {
        one.calls(call, 64).await;
        let before = wire.round_trips();
        one.calls(call, 64).await;
        counts.push((wire.round_trips() - before) as f64 / 64.0);
        one.end().await;
    }
    counts
}
