//! The seven kinds of request that the benches of the layer make, and the routers that answer them.

use std::{
    convert::Infallible,
    hint::black_box,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Uri, header},
    routing::get,
};
use cloakroom::{Error, Session, SessionLayer};
use tower::{Service, layer::layer_fn};

/// One kind of request.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    path: &'static str,
    /// How many sessions the requests go over; 0: they have no cookie.
    pub(crate) sessions: usize,
}

pub(crate) const KINDS: [Kind; 7] = [
    kind("no cookie, session unused", "/unused", 0),
    kind("cookie, session unused", "/unused", 1),
    kind("cookie, one value read", "/read", 1),
    kind("the same over 100,000 sessions", "/read", 100_000),
    kind("cookie, one value written", "/write", 1),
    kind("the same over 100,000 sessions", "/write", 100_000),
    kind("new session created", "/create", 0),
];

const fn kind(name: &'static str, path: &'static str, sessions: usize) -> Kind {
    Kind {
        name,
        path,
        sessions,
    }
}

const OK: &str = "ok";

async fn unused() -> &'static str {
    OK
}

async fn read(session: Session) -> Result<&'static str, Error> {
    black_box(session.get::<u64>("n")?);
    Ok(OK)
}

async fn write(session: Session) -> Result<&'static str, Error> {
    session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    Ok(OK)
}

async fn create(session: Session) -> Result<&'static str, Error> {
    session.insert("n", 1_u64)?;
    Ok(OK)
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

/// Every route, under `layer`.
pub(crate) fn routes(layer: SessionLayer) -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/create", get(create))
        .layer(layer)
}

/// A router and the requests of one kind that it is asked.
pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) kind: Kind,
    pub(crate) cookies: Vec<HeaderValue>,
    pub(crate) next: usize,
}

impl Bench {
    /// Under `layer`, with the sessions of `kind` in its store.
    pub(crate) async fn with_sessions(kind: Kind, layer: SessionLayer) -> Self {
        let mut bench = Self::new(routes(layer), kind);
        bench.fill().await;
        bench
    }

    /// Under a layer that only passes on. The requests have cookies of the same size.
    pub(crate) fn without(kind: Kind) -> Self {
        let mut router = Router::new();
        for path in ["/unused", "/read", "/write", "/create"] {
            router = router.route(path, get(unused));
        }
        let mut bench = Self::new(router.layer(layer_fn(PassThrough)), kind);
        let cookie =
            HeaderValue::from_static("__Host-id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        bench.cookies = vec![cookie; kind.sessions];
        bench
    }

    fn new(router: Router, kind: Kind) -> Self {
        Self {
            router,
            kind,
            cookies: Vec::new(),
            next: 0,
        }
    }

    async fn fill(&mut self) {
        for _ in 0..self.kind.sessions {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = Uri::from_static("/create");
            let Ok::<_, Infallible>(response) = self.router.call(request).await;
            let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
            let pair = cookie.split(';').next().unwrap();
            self.cookies.push(HeaderValue::from_str(pair).unwrap());
        }
        // Sessions lie in the table in no order; what is shuffled here is where their records lie.
        let mut state = 1_u64;
        for index in (1..self.cookies.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            self.cookies
                .swap(index, (state >> 33) as usize % (index + 1));
        }
    }

    /// So many requests.
    pub(crate) async fn round(&mut self, requests: usize) {
        for _ in 0..requests {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = Uri::from_static(self.kind.path);
            if !self.cookies.is_empty() {
                let cookie = self.cookies[self.next % self.cookies.len()].clone();
                request.headers_mut().insert(header::COOKIE, cookie);
                self.next += 1;
            }
            let Ok::<_, Infallible>(response) = self.router.call(request).await;
            black_box(response);
        }
    }
}
