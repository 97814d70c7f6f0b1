//! Over real connections, HTTP/1.1 and HTTP/2.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use bytes::Bytes;
use cloakroom::{Error, ErrorKind, Session, SessionCookie, SessionId, SessionLayer, SessionStore};
use futures::{StreamExt as _, future::join_all, stream};
use http::{StatusCode, Version, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

use crate::support::{FaultyStore, FixedClock, StoreCall};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Protocol {
    /// A browser of this protocol, with a cookie jar of its own.
    fn client(self) -> reqwest::Client {
        let client = reqwest::Client::builder().cookie_store(true).no_proxy();
        let client = match self {
            Self::Http1 => client.http1_only(),
            Self::Http2 => client.http2_prior_knowledge(),
        };
        client.build().unwrap()
    }

    fn version(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 => Version::HTTP_2,
        }
    }
}

/// A server on a free port; it ends with this.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(protocol: Protocol, app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        match protocol {
            Protocol::Http1 => {
                tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
            }
            Protocol::Http2 => {
                tasks.spawn(accept(listener, app));
            }
        }
        Self {
            address,
            _tasks: tasks,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> reqwest::Response {
        client.get(self.url(path)).send().await.unwrap()
    }

    async fn text(&self, client: &reqwest::Client, path: &str) -> String {
        let response = self.get(client, path).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.text().await.unwrap()
    }
}

async fn accept(listener: TcpListener, app: Router) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let connections = auto::Builder::new(TokioExecutor::new());
            // It fails where the client is gone.
            let _ = connections
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// `Secure` cookies do not travel over plain http, so this one is not.
fn layer(store: &FaultyStore) -> SessionLayer {
    let cookie = SessionCookie::new("id").insecure().build().unwrap();
    SessionLayer::new(store.clone())
        .cookie(cookie)
        .reap_every(None)
}

async fn count(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    Ok(visits.to_string())
}

async fn look(session: Session) -> Result<String, Error> {
    let visits: Option<u64> = session.get("visits")?;
    Ok(visits.unwrap_or(0).to_string())
}

fn counter() -> Router {
    Router::new()
        .route("/count", get(count))
        .route("/look", get(look))
}

#[tokio::test]
async fn a_cookie_jar_keeps_its_session() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let server = Server::start(protocol, counter().layer(layer(&store))).await;
        let client = protocol.client();
        let first = server.get(&client, "/count").await;
        assert_eq!(first.version(), protocol.version());
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(first.headers()[header::VARY], "Cookie");
        assert!(first.headers().contains_key(header::SET_COOKIE));
        assert_eq!(first.text().await.unwrap(), "1");
        let second = server.get(&client, "/count").await;
        assert!(!second.headers().contains_key(header::SET_COOKIE));
        assert_eq!(second.text().await.unwrap(), "2");
        assert_eq!(server.text(&client, "/look").await, "2");
        assert_eq!(store.inner().len(), 1);
    }
}

#[tokio::test]
async fn a_destroyed_session_leaves_the_cookie_jar() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let app = counter()
            .route("/out", get(async |session: Session| session.destroy()))
            .layer(layer(&store));
        let server = Server::start(protocol, app).await;
        let client = protocol.client();
        server.text(&client, "/count").await;
        server.text(&client, "/out").await;
        assert!(store.inner().is_empty());
        store.calls();
        assert_eq!(server.text(&client, "/look").await, "0");
        assert_eq!(store.calls(), [], "no cookie is sent any more");
    }
}

#[tokio::test]
async fn the_default_cookie_passed_by_hand_opens_the_session() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let app = counter().layer(SessionLayer::new(store.clone()));
        let server = Server::start(protocol, app).await;
        let client = protocol.client();
        let first = server.get(&client, "/count").await;
        let set = first.headers()[header::SET_COOKIE].to_str().unwrap();
        let (pair, attributes) = set.split_once(';').unwrap();
        assert!(pair.starts_with("__Host-id="), "{set}");
        assert_eq!(attributes, " HttpOnly; SameSite=Lax; Secure; Path=/");
        let again = client.get(server.url("/count"));
        // In HTTP/2 a client may send each cookie in a header of its own.
        let again = again.header(header::COOKIE, "theme=dark");
        let again = again.header(header::COOKIE, pair).send().await.unwrap();
        assert_eq!(again.text().await.unwrap(), "2");
    }
}

#[tokio::test]
async fn two_clients_at_once_keep_separate_sessions() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let server = Server::start(protocol, counter().layer(layer(&store))).await;
        let (ann, bob) = (protocol.client(), protocol.client());
        let visits = async |client: &reqwest::Client, times: usize| {
            for visit in 1..=times {
                assert_eq!(server.text(client, "/count").await, visit.to_string());
            }
        };
        tokio::join!(visits(&ann, 20), visits(&bob, 12));
        assert_eq!(server.text(&ann, "/look").await, "20");
        assert_eq!(server.text(&bob, "/look").await, "12");
        assert_eq!(store.inner().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_concurrent_requests_of_one_client_lose_nothing() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let app = counter().route(
            "/put/{key}",
            get(async |session: Session, key: axum::extract::Path<String>| {
                tokio::task::yield_now().await;
                session.insert(key.0, true)
            }),
        );
        let keys = get(async |session: Session| session.len().to_string());
        let app = app.route("/len", keys).layer(layer(&store));
        let server = Server::start(protocol, app).await;
        let client = protocol.client();
        server.text(&client, "/count").await;
        let counts = (0..40).map(|_| server.get(&client, "/count"));
        let paths: Vec<_> = (0..20).map(|n| format!("/put/{n}")).collect();
        let puts = paths.iter().map(|path| server.get(&client, path));
        let (counts, puts) = tokio::join!(join_all(counts), join_all(puts));
        for reply in counts.iter().chain(&puts) {
            assert_eq!(reply.status(), StatusCode::OK);
        }
        assert_eq!(server.text(&client, "/look").await, "41");
        assert_eq!(server.text(&client, "/len").await, "21");
        assert_eq!(store.inner().len(), 1);
    }
}

/// A body of two parts: "head", and what `late` comes to once it has been told to.
fn body_in_two_parts<T>(go: &Arc<Notify>, late: T) -> Body
where
    T: Future<Output = String> + Send + 'static,
{
    let go = Arc::clone(go);
    let first = stream::iter([Bytes::from_static(b"head;")]);
    let second = stream::once(async move {
        go.notified().await;
        Bytes::from(late.await)
    });
    Body::from_stream(first.chain(second).map(Ok::<_, std::convert::Infallible>))
}

/// Reads the first part, lets `meanwhile` happen, and reads the rest.
async fn read_in_two_parts(
    mut response: reqwest::Response,
    go: &Notify,
    meanwhile: impl AsyncFnOnce(),
) -> String {
    assert_eq!(response.chunk().await.unwrap().unwrap(), "head;");
    meanwhile().await;
    go.notify_one();
    response.text().await.unwrap()
}

/// What came of it, in a word.
fn word(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

#[tokio::test]
async fn c7_a_body_saves_after_the_head_has_left() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let go = Arc::new(Notify::new());
        let told = Arc::clone(&go);
        let stream = async move |session: Session| {
            session.insert("started", true)?;
            let late = async move {
                session
                    .update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)
                    .unwrap();
                word(session.save().await)
            };
            Ok::<_, Error>(body_in_two_parts(&told, late).into_response())
        };
        let app = counter().route("/stream", get(stream)).layer(layer(&store));
        let server = Server::start(protocol, app).await;
        let client = protocol.client();
        let response = server.get(&client, "/stream").await;
        assert!(response.headers().contains_key(header::SET_COOKIE));
        let rest = read_in_two_parts(response, &go, async || {
            // What the head committed is there, what the body is to do is not;
            // another request does the same meanwhile.
            assert_eq!(server.text(&client, "/look").await, "0");
            assert_eq!(server.text(&client, "/count").await, "1");
        })
        .await;
        assert_eq!(rest, "done");
        assert_eq!(server.text(&client, "/look").await, "2");
    }
}

#[tokio::test]
async fn c7_a_session_that_a_body_begins_is_too_late() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let go = Arc::new(Notify::new());
        let told = Arc::clone(&go);
        let stream = async move |session: Session| {
            body_in_two_parts(&told, async move {
                session.insert("n", 1).unwrap();
                let mut words = vec![word(session.save().await)];
                words.push(word(session.log_in("ann")));
                words.push(word(session.cycle_id()));
                words.join(" ")
            })
        };
        let app = Router::new()
            .route("/stream", get(stream))
            .layer(layer(&store));
        let server = Server::start(protocol, app).await;
        let response = server.get(&protocol.client(), "/stream").await;
        assert!(!response.headers().contains_key(header::SET_COOKIE));
        let rest = read_in_two_parts(response, &go, async || ()).await;
        assert_eq!(rest, "TooLate TooLate TooLate");
        assert!(store.inner().is_empty());
    }
}

#[tokio::test]
async fn a_body_touches_and_reloads_its_session() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let clock = FixedClock::default();
        let go = Arc::new(Notify::new());
        let (told, time) = (Arc::clone(&go), clock.clone());
        let stream = async move |session: Session| {
            body_in_two_parts(&told, async move {
                assert_eq!(session.get::<u64>("visits").unwrap(), Some(1));
                session.insert("pending", true).unwrap();
                session.reload().await.unwrap();
                assert_eq!(session.get::<u64>("visits").unwrap(), Some(2));
                assert!(session.contains_key("pending"));
                time.advance(Duration::from_secs(60));
                session.touch().await.unwrap();
                session.id().unwrap().to_string()
            })
        };
        let app = counter()
            .route("/stream", get(stream))
            .layer(layer(&store).clock(clock.clone()));
        let server = Server::start(protocol, app).await;
        let client = protocol.client();
        server.text(&client, "/count").await;
        let response = server.get(&client, "/stream").await;
        let rest = read_in_two_parts(response, &go, async || {
            server.text(&client, "/count").await;
        })
        .await;
        let id: SessionId = rest.parse().unwrap();
        let (_, activity) = store.inner().load(id).await.unwrap().unwrap();
        let seen = activity.last_seen_at.as_millis();
        assert_eq!(seen, FixedClock::START.as_millis() + 60_000);
        assert_eq!(server.text(&client, "/look").await, "2");
    }
}

#[tokio::test]
async fn a_body_gets_an_error_if_its_session_has_ended_meanwhile() {
    for protocol in BOTH {
        let store = FaultyStore::in_memory();
        let go = Arc::new(Notify::new());
        let told = Arc::clone(&go);
        let stream = async move |session: Session| {
            body_in_two_parts(&told, async move {
                session.insert("n", 1).unwrap();
                let mut words = vec![word(session.save().await)];
                words.push(word(session.touch().await));
                words.push(word(session.reload().await));
                words.join(" ")
            })
        };
        let app = counter()
            .route("/stream", get(stream))
            .route("/out", get(async |session: Session| session.destroy()))
            .layer(layer(&store));
        let server = Server::start(protocol, app).await;
        let client = protocol.client();
        server.text(&client, "/count").await;
        let response = server.get(&client, "/stream").await;
        let rest = read_in_two_parts(response, &go, async || {
            server.text(&client, "/out").await;
        })
        .await;
        let ended = format!("{:?}", ErrorKind::Ended);
        assert_eq!(rest, [ended.as_str(); 3].join(" "));
        assert!(store.inner().is_empty(), "an update never creates");
    }
}

#[tokio::test]
async fn t2_raw_nul_and_line_breaks_on_the_wire_cause_no_5xx() {
    let store = FaultyStore::in_memory();
    let server = Server::start(Protocol::Http1, counter().layer(layer(&store))).await;
    for value in [
        &b"id=\0"[..],
        b"id=\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"id=a\rb",
        b"id=a\nb",
        b"id=a\r\nid=b",
        b"id=a\r\nCookie: id=b",
        b"id=\x7f\x01",
        b"id=\xff\xfe\xc3\x28",
        b"id=../../../../etc/passwd",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = [
            b"GET /look HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: ",
            value,
            b"\r\n\r\n",
        ];
        stream.write_all(&request.concat()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let shown = reply.escape_ascii().to_string();
        let is_well = reply.starts_with(b"HTTP/1.1 200") || reply.starts_with(b"HTTP/1.1 400");
        assert!(is_well, "{}: {shown}", value.escape_ascii());
        assert!(!shown.to_ascii_lowercase().contains("set-cookie"), "{shown}");
        let calls = store.calls();
        assert!(!calls.contains(&StoreCall::Load), "{calls:?}");
    }
}
