//! What the layer adds to a request, by kind of request: `cargo bench -p cloakroom-benches --bench overhead`.
//!
//! Each kind alternates with the same router under a layer that only passes
//! on; the difference of the fastest rounds is the overhead.
//! `benches/peers` measures the same beside other session crates, with allocations.

use std::{
    convert::Infallible,
    hint::black_box,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Uri, header},
    routing::get,
};
use cloakroom::{Error, Session, SessionLayer};
use tokio::runtime::Builder;
use tower::{Service, layer::layer_fn};

/// What, where, and over how many sessions; 0: without a cookie.
const KINDS: [(&str, &str, usize); 7] = [
    ("no cookie, session unused", "/unused", 0),
    ("cookie, session unused", "/unused", 1),
    ("cookie, one value read", "/read", 1),
    ("the same over 100,000 sessions", "/read", 100_000),
    ("cookie, one value written", "/write", 1),
    ("the same over 100,000 sessions", "/write", 100_000),
    ("new session created", "/create", 0),
];

const ROUNDS: usize = 40;
const REQUESTS: usize = 5_000;

async fn unused() {}

async fn read(session: Session) -> Result<(), Error> {
    black_box(session.get::<u64>("n")?);
    Ok(())
}

async fn write(session: Session) -> Result<(), Error> {
    session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    Ok(())
}

async fn create(session: Session) -> Result<(), Error> {
    session.insert("n", 1_u64)
}

#[derive(Clone)]
struct PassThrough<S>(S);

impl<S: Service<Request<Body>>> Service<Request<Body>> for PassThrough<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}

fn with_sessions() -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/create", get(create))
        .layer(SessionLayer::default())
}

fn without() -> Router {
    let mut router = Router::new();
    for path in ["/unused", "/read", "/write", "/create"] {
        router = router.route(path, get(unused));
    }
    router.layer(layer_fn(PassThrough))
}

fn request(path: &'static str, cookie: Option<&HeaderValue>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    if let Some(cookie) = cookie {
        request.headers_mut().insert(header::COOKIE, cookie.clone());
    }
    request
}

async fn cookies(router: &mut Router, count: usize) -> Vec<HeaderValue> {
    let mut cookies = Vec::new();
    for _ in 0..count {
        let Ok::<_, Infallible>(response) = router.call(request("/create", None)).await;
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        let pair = cookie.split(';').next().unwrap();
        cookies.push(HeaderValue::from_str(pair).unwrap());
    }
    // Sessions lie in the table in no order; what is shuffled here is where their records lie.
    let mut state = 1_u64;
    for index in (1..cookies.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        cookies.swap(index, (state >> 33) as usize % (index + 1));
    }
    cookies
}

/// Nanoseconds a request.
async fn round(router: &mut Router, path: &'static str, cookies: &[HeaderValue], at: usize) -> f64 {
    let start = Instant::now();
    for turn in 0..REQUESTS {
        let cookie = cookies.get((at + turn) % cookies.len().max(1));
        let Ok::<_, Infallible>(response) = router.call(request(path, cookie)).await;
        black_box(response);
    }
    start.elapsed().as_nanos() as f64 / REQUESTS as f64
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!("| request | overhead, ns |");
        println!("| --- | --- |");
        for (name, path, sessions) in KINDS {
            let (mut with, mut without) = (with_sessions(), without());
            let cookies = cookies(&mut with, sessions).await;
            let (mut fastest, mut base) = (f64::INFINITY, f64::INFINITY);
            for turn in 0..ROUNDS {
                let at = turn * REQUESTS;
                fastest = fastest.min(round(&mut with, path, &cookies, at).await);
                base = base.min(round(&mut without, path, &cookies, at).await);
            }
            println!("| {name} | {:.0} |", fastest - base);
        }
    });
}
