//! The table: what each layer adds to a request, all of them in one run.
//!
//! The rounds of the subjects alternate, so that whatever else the machine
//! does falls on all of them; time is this thread's CPU time, and what counts is
//! the faster half of the rounds.

use std::hint::black_box;

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Request, StatusCode, Uri, header},
};
use tower_service::Service;

use crate::{
    alloc,
    subject::{Subject, cookie},
};

/// How many sessions the rows "over 100,000" go over.
const MANY: usize = 100_000;

/// One kind of request.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    path: &'static str,
    /// How many sessions there are; 0: requests without cookie.
    sessions: usize,
    /// Requests in a round.
    requests: usize,
    rounds: usize,
    /// The most that cloakroom should take of what tower-sessions takes.
    share: f64,
    /// The most allocations it should add.
    allocations: f64,
}

const SMALL: Row = Row {
    name: "",
    path: "/unused",
    sessions: 1,
    requests: 2_000,
    rounds: 60,
    share: 0.0,
    allocations: 0.0,
};

const LARGE: Row = Row {
    sessions: MANY,
    requests: 10_000,
    rounds: 20,
    ..SMALL
};

pub const ROWS: [Row; 7] = [
    Row {
        name: "no cookie, session unused",
        sessions: 0,
        share: 0.40,
        allocations: 4.0,
        ..SMALL
    },
    Row {
        name: "cookie, session unused",
        share: 0.25,
        allocations: 4.0,
        ..SMALL
    },
    Row {
        name: "cookie, one value read",
        path: "/read",
        share: 0.40,
        allocations: 6.0,
        ..SMALL
    },
    Row {
        name: "the same over 100,000 sessions",
        path: "/read",
        share: 0.50,
        allocations: 6.0,
        ..LARGE
    },
    Row {
        name: "cookie, one value written",
        path: "/write",
        share: 0.45,
        allocations: 14.0,
        ..SMALL
    },
    Row {
        name: "the same over 100,000 sessions",
        path: "/write",
        share: 0.60,
        allocations: 14.0,
        ..LARGE
    },
    Row {
        name: "new session created",
        path: "/create",
        sessions: 0,
        share: 0.80,
        allocations: 20.0,
        ..SMALL
    },
];

/// A subject under one kind of request.
struct Bench {
    router: Router,
    uri: Uri,
    cookies: Vec<HeaderValue>,
    next: usize,
    /// Nanoseconds a request, for each round.
    times: Vec<f64>,
    allocations: f64,
}

impl Bench {
    async fn new(subject: Subject, row: &Row) -> Self {
        let mut router = subject.router().await;
        let mut cookies = Vec::new();
        for _ in 0..row.sessions {
            cookies.push(if subject.has_sessions() {
                create(&mut router).await
            } else {
                "__Host-id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()
            });
        }
        shuffle(&mut cookies);
        Self {
            router,
            uri: Uri::from_static(row.path),
            cookies: side_by_side(&cookies),
            next: 0,
            times: Vec::new(),
            allocations: 0.0,
        }
    }

    async fn round(&mut self, requests: usize) {
        let (time, allocations) = (cpu_nanos(), alloc::allocations());
        for _ in 0..requests {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = self.uri.clone();
            if !self.cookies.is_empty() {
                let cookie = self.cookies[self.next].clone();
                request.headers_mut().insert(header::COOKIE, cookie);
                self.next = (self.next + 1) % self.cookies.len();
            }
            let Ok(response) = self.router.call(request).await;
            assert_eq!(black_box(response).status(), StatusCode::OK);
        }
        let (time, allocations) = (cpu_nanos() - time, alloc::allocations() - allocations);
        self.times.push(time as f64 / requests as f64);
        self.allocations = allocations as f64 / requests as f64;
    }

    /// The mean of the faster half of the rounds.
    fn nanos(&mut self) -> f64 {
        self.times.sort_by(f64::total_cmp);
        let half = &self.times[..self.times.len().div_ceil(2)];
        half.iter().sum::<f64>() / half.len() as f64
    }
}

/// A new session with one integer; its cookie.
pub async fn create(router: &mut Router) -> String {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("/create");
    let Ok(response) = router.call(request).await;
    cookie(response.headers())
}

/// The headers in one buffer, in the order in which they will be sent: a
/// server has just received its cookie, so reading it misses no cache.
fn side_by_side(cookies: &[String]) -> Vec<HeaderValue> {
    let buffer = Bytes::from(cookies.concat());
    let mut start = 0;
    let header = |cookie: &String| {
        let value = buffer.slice(start..start + cookie.len());
        start += cookie.len();
        HeaderValue::from_maybe_shared(value).expect("a cookie")
    };
    cookies.iter().map(header).collect()
}

/// Fisher and Yates, with a generator that always draws the same.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for index in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(index, (state % (index as u64 + 1)) as usize);
    }
}

fn cpu_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is there to be written to.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "this system tells no thread's CPU time");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Prints the table.
pub async fn print() {
    println!(
        "| request | bare, ns | `Extension` adds | tower-sessions adds | axum_session adds | cloakroom adds | share of tower-sessions | at most | allocations added: `Extension`, tower-sessions, axum_session, cloakroom | at most |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in &ROWS {
        measure(row).await;
    }
    println!();
    println!("| a session with one integer | bytes | share of tower-sessions | at most |");
    println!("| --- | --- | --- | --- |");
    // The first time around clears up after the rows above.
    resident(Subject::TowerSessions, 0).await;
    let theirs = resident(Subject::TowerSessions, 0).await;
    for (subject, writes) in [
        (Subject::TowerSessions, 0),
        (Subject::AxumSession, 0),
        (Subject::Cloakroom, 0),
        (Subject::Cloakroom, 1),
    ] {
        let bytes = resident(subject, writes).await;
        let written = if writes == 0 {
            ""
        } else {
            ", written once more"
        };
        let target = if subject == Subject::Cloakroom {
            "0.80"
        } else {
            ""
        };
        println!(
            "| {}{written} | {bytes:.0} | {:.2} | {target} |",
            subject.name(),
            bytes / theirs
        );
    }
}

async fn measure(row: &Row) {
    let [bare, base, extension, theirs, others, ours] = Subject::ALL;
    let mut benches = [
        Bench::new(bare, row).await,
        Bench::new(base, row).await,
        Bench::new(extension, row).await,
        Bench::new(theirs, row).await,
        Bench::new(others, row).await,
        Bench::new(ours, row).await,
    ];
    for bench in &mut benches {
        bench.round(row.requests / 10).await;
        bench.times.clear();
    }
    for round in 0..row.rounds {
        for turn in 0..benches.len() {
            let index = (round + turn) % Subject::ALL.len();
            benches[index].round(row.requests).await;
        }
    }
    let [bare, base, extension, theirs, others, ours] =
        benches.map(|mut bench| (bench.nanos(), bench.allocations));
    let added = |(nanos, _): (f64, f64)| nanos - base.0;
    let allocated = |(_, allocations): (f64, f64)| allocations - base.1;
    println!(
        "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1}, {:.1}, {:.1}, {:.1} | {:.0} |",
        row.name,
        bare.0,
        added(extension),
        added(theirs),
        added(others),
        added(ours),
        added(ours) / added(theirs),
        row.share,
        allocated(extension),
        allocated(theirs),
        allocated(others),
        allocated(ours),
        row.allocations,
    );
}

/// Live bytes for each of many sessions with one integer.
async fn resident(subject: Subject, writes: usize) -> f64 {
    // What earlier routers left running ends now, and not in between.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let mut router = subject.router().await;
    let before = alloc::live_bytes();
    for _ in 0..MANY {
        let cookie = create(&mut router).await;
        for _ in 0..writes {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = Uri::from_static("/write");
            let cookie = HeaderValue::from_str(&cookie).expect("a cookie");
            request.headers_mut().insert(header::COOKIE, cookie);
            let Ok(_) = router.call(request).await;
        }
    }
    (alloc::live_bytes() - before) as f64 / MANY as f64
}

/// Runs one row of one subject, for a profiler to watch.
pub async fn profile(subject: Subject, row: &Row, requests: usize) {
    let mut bench = Bench::new(subject, row).await;
    bench.round(requests).await;
    println!("{:.0} ns", bench.nanos());
}
