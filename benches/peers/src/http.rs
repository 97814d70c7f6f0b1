//! The same behind a real HTTP server on loopback, driven by `wrk`.
//!
//! Session headers cost a server something even if nobody computes them. So each row is compared with a bare router
//! that receives and sends the same header bytes.

use std::{net::SocketAddr, process::Command};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Request, Uri, header},
    routing::get,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
};
use tower_service::Service;

use crate::{subject::Subject, table::create};

/// Odd, so that there is a middle one.
const ROUNDS: usize = 9;
const SECONDS: usize = 1;

const RUNS: [(Subject, &str); 6] = [
    (Subject::TowerSessions, "/read"),
    (Subject::AxumSession, "/read"),
    (Subject::Cloakroom, "/read"),
    (Subject::TowerSessions, "/write"),
    (Subject::AxumSession, "/write"),
    (Subject::Cloakroom, "/write"),
];

/// A server with sessions, and the bare one beside it.
struct Pair {
    with: SocketAddr,
    bare: SocketAddr,
    cookie: String,
    /// Requests a second, of both, for each round.
    rates: Vec<(f64, f64)>,
}

/// Prints each rate as a share of the bare router's, with one server thread and with two.
pub fn print() {
    println!("| over HTTP | server threads | requests a second | bare, same headers | share |");
    println!("| --- | --- | --- | --- | --- |");
    for threads in [1, 2] {
        let mut pairs = RUNS.map(|(subject, path)| Pair::start(subject, path, threads));
        for round in 0..ROUNDS {
            for turn in 0..RUNS.len() {
                let index = (round + turn) % RUNS.len();
                pairs[index].measure(RUNS[index].1, round);
            }
        }
        for ((subject, path), pair) in RUNS.into_iter().zip(pairs) {
            let middle = |of: fn(&(f64, f64)) -> f64| median(pair.rates.iter().map(of).collect());
            println!(
                "| {} {path} | {threads} | {:.0} | {:.0} | {:.2} |",
                subject.name(),
                middle(|rates| rates.0),
                middle(|rates| rates.1),
                middle(|rates| rates.0 / rates.1),
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Pair {
    fn start(subject: Subject, path: &'static str, threads: usize) -> Self {
        let (with, (cookie, sent)) = serve(threads, async move {
            let mut router = subject.router().await;
            let cookie = create(&mut router).await;
            let sent = headers(&mut router, path, &cookie).await;
            (router, (cookie, sent))
        });
        let (bare, ()) = serve(threads, async move {
            let answer = move || async move { (sent, "ok") };
            (Router::new().route(path, get(answer)), ())
        });
        Self {
            with,
            bare,
            cookie,
            rates: Vec::new(),
        }
    }

    /// Both servers, one after the other. Whatever the machine does meanwhile falls on both.
    fn measure(&mut self, path: &str, round: usize) {
        let drive = |address| drive(address, path, &self.cookie);
        let rates = if round % 2 == 0 {
            let with = drive(self.with);
            (with, drive(self.bare))
        } else {
            let bare = drive(self.bare);
            (drive(self.with), bare)
        };
        self.rates.push(rates);
    }
}

/// The headers that the layer adds to a response.
async fn headers(router: &mut Router, path: &'static str, cookie: &str) -> HeaderMap {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    let cookie = HeaderValue::from_str(cookie).expect("a cookie");
    request.headers_mut().insert(header::COOKIE, cookie);
    let Ok(response) = router.call(request).await;
    let mut headers = response.headers().clone();
    // The handler's own.
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
    headers
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads);
    builder.enable_all().build().expect("a runtime")
}

/// Starts a server on a runtime of its own. Returns its address, and what comes with the router.
fn serve<T: Send + 'static>(
    threads: usize,
    made: impl Future<Output = (Router, T)> + Send + 'static,
) -> (SocketAddr, T) {
    let (started, starts) = oneshot::channel();
    std::thread::spawn(move || {
        runtime(threads).block_on(async {
            let (router, with) = made.await;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            started.send((address, with)).ok().expect("somebody waits");
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
