//! What a request takes on one thread and on all of them at once: `cargo bench -p cloakroom-benches --bench threads`.
//!
//! The threads share a layer and its store, and nothing else: each has a router, a runtime and sessions of its own. Where
//! they all use one session, that is said. If requests of several threads wrote to one line of memory, a request would
//! take longer on all threads than on one. The router without the layer shows what the machine itself loses.

mod requests;

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use cloakroom::SessionLayer;
use tokio::runtime::{Builder, Runtime};

use crate::requests::{Bench, KINDS, Kind, routes};

const ROUNDS: usize = 30;
const REQUESTS: usize = 5_000;

fn main() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("| request | layer | ns on 1 thread | on {cores} | factor |");
    println!("| --- | --- | --- | --- | --- |");
    for kind in KINDS.into_iter().filter(|kind| kind.sessions <= 1) {
        print(kind, "none", cores, &|| Bench::without(kind));
        let layer = SessionLayer::default();
        let with = || runtime().block_on(Bench::with_sessions(kind, layer.clone()));
        print(kind, "sessions", cores, &with);
        if kind.sessions == 1 {
            let first = with();
            let same = || Bench {
                router: routes(layer.clone()),
                cookies: first.cookies.clone(),
                ..Bench::without(kind)
            };
            print(kind, "sessions, one for all threads", cores, &same);
        }
    }
}

fn print(kind: Kind, layer: &str, cores: usize, bench: &(impl Fn() -> Bench + Sync)) {
    let (one, all) = (nanos(1, bench), nanos(cores, bench));
    let kind = kind.name;
    println!(
        "| {kind} | {layer} | {one:.0} | {all:.0} | {:.2} |",
        all / one
    );
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

/// Nanoseconds a request, in the middle round of the slowest thread.
fn nanos(threads: usize, bench: &(impl Fn() -> Bench + Sync)) -> f64 {
    let start = Arc::new(Barrier::new(threads));
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let start = Arc::clone(&start);
                scope.spawn(move || rounds(&start, &mut bench()))
            })
            .collect();
        let times = threads.into_iter().map(|thread| thread.join());
        times
            .map(|time| time.expect("no panic"))
            .collect::<Vec<_>>()
    });
    times.into_iter().fold(0.0, f64::max)
}

fn rounds(start: &Barrier, bench: &mut Bench) -> f64 {
    let runtime = runtime();
    runtime.block_on(bench.round(REQUESTS));
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            // Together, so that no thread has the machine for itself.
            start.wait();
            let start = Instant::now();
            runtime.block_on(bench.round(REQUESTS));
            start.elapsed().as_nanos() as f64 / REQUESTS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
