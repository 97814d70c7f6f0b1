//! What the layer adds to a request, by kind of request: `cargo bench -p cloakroom-benches --bench overhead`.
//!
//! Each kind alternates with the same router under a layer that only passes
//! on; the difference of the fastest rounds is the overhead.
//! `benches/peers` measures the same beside other session crates, with allocations.

mod requests;

use std::time::Instant;

use cloakroom::SessionLayer;
use tokio::runtime::Builder;

use crate::requests::{Bench, KINDS};

const ROUNDS: usize = 40;
const REQUESTS: usize = 5_000;

/// Nanoseconds a request.
async fn round(bench: &mut Bench) -> f64 {
    let start = Instant::now();
    bench.round(REQUESTS).await;
    start.elapsed().as_nanos() as f64 / REQUESTS as f64
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!("| request | overhead, ns |");
        println!("| --- | --- |");
        for kind in KINDS {
            let (mut with, mut without) = (
                Bench::with_sessions(kind, SessionLayer::default()).await,
                Bench::without(kind),
            );
            let (mut fastest, mut base) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..ROUNDS {
                fastest = fastest.min(round(&mut with).await);
                base = base.min(round(&mut without).await);
            }
            println!("| {} | {:.0} |", kind.name, fastest - base);
        }
    });
}
