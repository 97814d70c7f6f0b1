//! The same behind a real HTTP server on loopback, driven by `wrk`.

use std::{net::SocketAddr, process::Command};

use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use crate::{subject::Subject, table::create};

const ROUNDS: usize = 8;
const SECONDS: usize = 1;

/// What is asked of whom.
const RUNS: [(Subject, &str); 5] = [
    (Subject::Bare, "/unused"),
    (Subject::TowerSessions, "/read"),
    (Subject::Cloakroom, "/read"),
    (Subject::TowerSessions, "/write"),
    (Subject::Cloakroom, "/write"),
];

/// Prints each rate as a share of the bare router's.
pub fn print() {
    let servers = RUNS.map(|(subject, _)| serve(subject));
    let mut rates = RUNS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for turn in 0..RUNS.len() {
            let index = (round + turn) % RUNS.len();
            let (address, cookie) = &servers[index];
            rates[index].push(drive(*address, RUNS[index].1, cookie));
        }
    }
    // The best round is the one in which the machine had least else to do.
    let best = rates.map(|rates| rates.into_iter().fold(0.0, f64::max));
    println!("| over HTTP | requests a second | share of bare |");
    println!("| --- | --- | --- |");
    for ((subject, path), rate) in RUNS.into_iter().zip(best) {
        let share = rate / best[0];
        println!("| {} {path} | {rate:.0} | {share:.2} |", subject.name());
    }
}

/// Starts a server on a thread of its own; its address, and the cookie of a session in it.
fn serve(subject: Subject) -> (SocketAddr, String) {
    let (started, starts) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut router = subject.router().await;
            let cookie = if subject.has_sessions() {
                create(&mut router).await
            } else {
                "__Host-id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            started.send((address, cookie)).expect("somebody waits");
            axum::serve(listener, router).await.expect("a server");
        });
    });
    starts.blocking_recv().expect("a server")
}

/// Requests a second, as `wrk` counts them.
fn drive(address: SocketAddr, path: &str, cookie: &str) -> f64 {
    let output = Command::new("wrk")
        .args(["-t1", "-c16", &format!("-d{SECONDS}s")])
        .args(["-H", &format!("Cookie: {cookie}")])
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("`wrk` is installed");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(!report.contains("Non-2xx"), "{report}");
    report
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())
        .unwrap_or_else(|| panic!("wrk said no rate: {report}"))
}
