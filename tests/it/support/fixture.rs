//! The fixture of the layer's tests: routes that use the session as their path says, and a report of the store calls and
//! the response.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, StatusCode},
    response::IntoResponse,
    routing::get,
};
use cloakroom::{
    CookiePrefix, Error, Session, SessionCookie, SessionHandle, SessionLayer, Timeout,
};
use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;

use super::{Browser, FaultyStore, FixedClock, Reply};

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store that records its calls, and a clock that stands still.
pub(crate) struct Fixture {
    pub(crate) store: FaultyStore,
    pub(crate) clock: FixedClock,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            store: FaultyStore::in_memory(),
            clock: FixedClock::default(),
        }
    }

    /// A layer that makes only the store calls of requests: it has no reaper.
    pub(crate) fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.store.clone())
            .clock(self.clock.clone())
            .reap_every(None)
    }

    /// A visitor with a session that has one value. Clears the record of calls.
    pub(crate) async fn known(&self, layer: SessionLayer) -> Browser {
        let visitor = visitor_of(layer);
        assert_eq!(visitor.get("/set/n/1").await.status, StatusCode::OK);
        self.store.calls();
        visitor
    }

    /// The store calls since the last report, and the `reply` with its headers sorted by name.
    pub(crate) fn account(&self, reply: &Reply) -> String {
        let calls: Vec<String> = self
            .store
            .calls()
            .iter()
            .map(|call| format!("{call:?}"))
            .collect();
        let mut lines = vec![format!("store: {}", calls.join(", ")).trim_end().to_owned()];
        lines.extend(headers(reply));
        lines.join("\n")
    }

    /// How long after the start the clock's `time` is.
    pub(crate) fn since_start(time: SystemTime) -> Duration {
        let start = SystemTime::from(FixedClock::START);
        time.duration_since(start).unwrap()
    }
}

/// A visitor of the [`routes`] under this layer.
pub(crate) fn visitor_of(layer: SessionLayer) -> Browser {
    Browser::new(routes().layer(layer))
}

/// The headers sorted by name, without tokens, and without the headers about the body.
pub(crate) fn headers(reply: &Reply) -> Vec<String> {
    let mut lines: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| !name.as_str().starts_with("content-"))
        .map(|(name, value)| (name, redacted(value.to_str().unwrap())))
        .collect();
    lines.sort_by_key(|(name, _)| name.as_str());
    lines
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

/// `name=[token]; …` where the value is as long as a token.
pub(crate) fn redacted(header: &str) -> String {
    const TOKEN_CHARS: usize = 43;
    let Some((name, rest)) = header.split_once('=') else {
        return header.to_owned();
    };
    let (value, attributes) = match rest.find(';') {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    if value.len() == TOKEN_CHARS {
        format!("{name}=[token]{attributes}")
    } else {
        header.to_owned()
    }
}

/// A cookie without any prefix, so that the tests can plant and rename it freely.
pub(crate) fn plain_cookie(name: &str) -> SessionCookie {
    let cookie = SessionCookie::new(name).prefix(CookiePrefix::None);
    cookie.build().unwrap()
}

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/ignore", get(async || "ignored"))
        .route("/header/{name}/{value}", get(answer_with_header))
        .route("/peek", get(peek))
        .route("/load", get(load))
        .route("/expires", get(expires))
        .route("/set/{key}/{value}", get(set))
        .route("/remove/{key}", get(remove))
        .route("/back-and-forth", get(back_and_forth))
        .route("/in/{user}", get(log_in))
        .route("/cycle", get(async |session: Session| session.cycle_id()))
        .route("/destroy", get(async |session: Session| session.destroy()))
        .route("/begin-again", get(begin_again))
        .route("/save", get(save))
        .route(
            "/touch",
            get(async |session: Session| session.touch().await),
        )
        .route("/persistent/{persistent}", get(set_persistent))
        .route("/idle/{timeout}", get(set_idle))
        .route("/absolute/{timeout}", get(set_absolute))
        .route("/remember/{millis}", get(remember))
}

async fn answer_with_header(Path((name, value)): Path<(String, String)>) -> impl IntoResponse {
    [(name.parse::<HeaderName>().unwrap(), value)]
}

/// `n` and the user of the visitor's session, or that there is none.
async fn peek(handle: SessionHandle) -> Result<String, Error> {
    match handle.peek().await? {
        Some(session) => describe(&session),
        None => Ok("nobody".to_owned()),
    }
}

async fn load(session: Session) -> Result<String, Error> {
    if session.is_new() {
        return Ok("nobody".to_owned());
    }
    describe(&session)
}

fn describe(session: &Session) -> Result<String, Error> {
    let n: Option<u32> = session.get("n")?;
    let user = session.user();
    Ok(format!(
        "n={} user={}",
        n.map_or_else(|| "-".to_owned(), |n| n.to_string()),
        user.as_deref().unwrap_or("-")
    ))
}

/// Milliseconds after the clock's start, or `never`, or `new`.
async fn expires(handle: SessionHandle) -> Result<String, Error> {
    let Some(session) = handle.peek().await? else {
        return Ok("nobody".to_owned());
    };
    Ok(session.expires_at().map_or_else(
        || "never".to_owned(),
        |at| Fixture::since_start(at).as_millis().to_string(),
    ))
}

async fn set(
    Path((key, value)): Path<(String, u32)>,
    session: Session,
) -> Result<&'static str, Error> {
    session.insert(key, value)?;
    Ok("set")
}

async fn remove(Path(key): Path<String>, session: Session) -> String {
    session.remove(key).to_string()
}

async fn back_and_forth(session: Session) -> Result<(), Error> {
    let n: Option<u32> = session.get("n")?;
    session.insert("n", 99)?;
    match n {
        Some(n) => session.insert("n", n)?,
        None => assert!(session.remove("n")),
    }
    Ok(())
}

async fn log_in(Path(user): Path<String>, session: Session) -> Result<(), Error> {
    session.log_in(user)
}

async fn begin_again(session: Session) -> Result<(), Error> {
    session.destroy();
    session.insert("n", 2)
}

async fn save(session: Session) -> Result<(), Error> {
    session.update("saved", |n: Option<u32>| n.unwrap_or(0) + 1)?;
    session.save().await
}

async fn set_persistent(Path(persistent): Path<bool>, session: Session) {
    session.set_persistent(persistent);
}

async fn set_idle(Path(timeout): Path<String>, session: Session) {
    session.set_idle_timeout(parse_timeout(&timeout));
}

async fn set_absolute(Path(timeout): Path<String>, session: Session) {
    session.set_absolute_timeout(parse_timeout(&timeout));
}

async fn remember(Path(millis): Path<u64>, session: Session) -> Result<(), Error> {
    session.remember_for(Duration::from_millis(millis));
    session.insert("n", 1)
}

/// `layer`, `never`, or milliseconds.
fn parse_timeout(timeout: &str) -> Timeout {
    match timeout {
        "layer" => Timeout::Layer,
        "never" => Timeout::Never,
        millis => Timeout::After(Duration::from_millis(millis.parse().unwrap())),
    }
}

/// Records the lines of this thread at `INFO` or above, until the guard is dropped.
pub(crate) fn logging() -> (Log, DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines since the last call, trimmed.
    pub(crate) fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
