//! T3: the secret appears in Set-Cookie and nowhere else, and neither does the data.

use std::{
    collections::BTreeSet,
    error,
    fmt::{Debug, Display, Write as _},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::HeaderValue,
    routing::get,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use cloakroom::{
    Activity, CookiePrefix, Error, ErrorKind, Event, EventKind, Key, MemoryStore, Record, SameSite,
    Session, SessionCookie, SessionData, SessionFilter, SessionHandle, SessionId, SessionLayer,
    SessionStore, SessionValue, StoreError, SystemClock, Timeout, Timestamp, Transport,
    store::{
        Created, DynStore, Former, Query, Reaped, Removal, RemovalReason, RemovalSink,
        StoreErrorKind, Touched, Updated,
    },
};
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tower::{Layer as _, Service as _};
use tracing::Level;

use crate::support::{
    Browser, Fault, FaultyStore, FixedClock, Log, StoreCall,
    carried::{carried, every_transport},
    token::{join, split},
};

const NAME: &str = "__Host-id";
const DATA: &str = "maroon-cardigan-4711";
const NUMBER: u64 = 918_273_645_546;

/// What must not show: every token that was issued, in any spelling, and what was kept.
#[derive(Default)]
struct Secrets(BTreeSet<String>);

impl Secrets {
    fn of_data() -> Self {
        Self([DATA.to_owned(), NUMBER.to_string()].into())
    }

    /// The token, its secret and the secret's verifier.
    fn add_token(&mut self, token: &str) {
        self.add_secret(token);
        let (_, secret) = split(token);
        self.add_bytes(&Sha256::digest(secret));
    }

    fn add_secret(&mut self, token: &str) {
        let (_, secret) = split(token);
        // Its first characters belong to the id, which is public.
        self.0.insert(token[23..].to_owned());
        self.add_bytes(&secret);
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        let mut hex = String::new();
        for byte in bytes {
            write!(hex, "{byte:02x}").unwrap();
        }
        let list = format!("{bytes:?}");
        let spaced_hex = format!("{bytes:02x?}");
        self.0.extend([
            STANDARD.encode(bytes),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            hex.to_uppercase(),
            hex,
            list.trim_matches(['[', ']']).to_owned(),
            spaced_hex.trim_matches(['[', ']']).to_owned(),
        ]);
    }

    #[track_caller]
    fn are_not_in(&self, text: &str) {
        assert!(!self.0.is_empty());
        for secret in &self.0 {
            assert!(!text.contains(secret.as_str()), "{secret:?} is in {text}");
        }
    }
}

/// `Debug` in both its forms.
fn debug(value: &impl Debug) -> String {
    format!("{value:?}\n{value:#?}\n")
}

fn display(value: &impl Display) -> String {
    format!("{value}\n{value:#}\n")
}

/// An error with everything beneath it, in every form.
fn chain(error: &dyn error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        writeln!(text, "{error} {error:#} {error:?} {error:#?}").unwrap();
        next = error.source();
    }
    text
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Coat {
    label: String,
    number: u64,
}

impl SessionValue for Coat {
    const KEY: &str = "coat";
}

fn coat() -> Coat {
    Coat {
        label: DATA.to_owned(),
        number: NUMBER,
    }
}

fn token_of(browser: &Browser) -> String {
    browser.cookie(NAME).unwrap()
}

#[tokio::test]
async fn t3_no_debug_or_display_of_a_live_session_shows_the_secret_or_the_data() {
    // What handlers print of what they hold.
    let shown = Arc::new(Mutex::new(String::new()));
    let session_shown = Arc::clone(&shown);
    let data_shown = Arc::clone(&shown);
    let show_session = async move |handle: SessionHandle, session: Session| {
        let mut text = debug(&handle) + &debug(&session) + &debug(&Some(&session));
        session.insert("pending", DATA).unwrap();
        session.update("number", |_: Option<u64>| NUMBER).unwrap();
        text += &debug(&session);
        session.log_in(DATA).unwrap();
        text += &(debug(&session) + &debug(&handle) + &display(&session.id().unwrap()));
        session.destroy();
        session_shown.lock().push_str(&(text + &debug(&session)));
    };
    let show_data = async move |data: SessionData<Coat>, request: Request| {
        assert_eq!(data.label, DATA);
        let extensions = debug(&request.extensions());
        data_shown.lock().push_str(&(debug(&data) + &extensions));
    };
    let store = FaultyStore::in_memory();
    let sink_shown = Arc::clone(&shown);
    let sink = RemovalSink::new(move |ending| sink_shown.lock().push_str(&debug(&ending)));
    let layer = SessionLayer::new(store.clone());
    let app = Router::new()
        .route(
            "/be",
            get(async |session: Session| session.insert("coat", coat())),
        )
        .route("/session", get(show_session))
        .route("/data", get(show_data))
        .layer(layer.clone());
    let ann = Browser::new(app.clone());
    ann.get("/be").await;
    let token = token_of(&ann);
    let mut secrets = Secrets::of_data();
    secrets.add_token(&token);
    let (id, _) = split(&token);
    let (record, activity) = store.inner().load(id).await.unwrap().unwrap();
    ann.get("/data").await;
    ann.get("/session").await;
    let mut text = shown.lock().clone();
    assert!(
        text.contains("SessionHandle") && text.contains("SessionData"),
        "{text}"
    );

    let mut service = layer.layer(app.clone());
    let request = Request::get("/be").body(Body::empty()).unwrap();
    let response = service.call(request);
    text += &debug(&response);
    let response = response.await.unwrap();
    text += &debug(&response);
    let issued = response.headers()[header::SET_COOKIE].to_str().unwrap();
    secrets.add_token(issued[NAME.len() + 1..].split(';').next().unwrap());
    text += &debug(&layer.layer(tower::layer::util::Identity::new()));

    let builder = SessionCookie::new("id").also_read("sid");
    text += &(debug(&builder) + &debug(&builder.clone().build().unwrap()));
    text += &(debug(&layer) + &debug(&activity) + &debug(&record) + &debug(&record.version()));
    text += &(debug(&id) + &display(&id) + &debug(&Key::<Coat>::new("coat")));
    let memory = MemoryStore::builder();
    text += &(debug(&memory) + &debug(&memory.build()) + &debug(&store.inner()));
    text += &(debug(&DynStore::new(store.clone())) + &debug(&sink));
    let removal = Removal::new(id, RemovalReason::Evicted, Some((record, activity)));
    sink.report(removal);
    text += &shown.lock();
    text += &(debug(&Timeout::Never) + &debug(&SystemClock) + &debug(&SameSite::Lax));
    let filter = Query::default().with_user(DATA);
    text += &(debug(&filter) + &debug(&SessionFilter::default().user(DATA)));
    text += &(debug(&CookiePrefix::None) + &debug(&Reaped::default()));
    text += &(debug(&Created::Yes) + &debug(&Updated::Saved) + &debug(&Touched::Yes));
    let config = SessionCookie::new("__Host-id").build().unwrap_err();
    text += &chain(&config);
    secrets.are_not_in(&text);
    // The id is public.
    assert!(text.contains(&id.to_string()));
}

#[tokio::test]
async fn t3_a_set_cookie_is_marked_as_sensitive() {
    let app = Router::new()
        .route("/be", get(async |session: Session| session.insert("n", 1)))
        .route("/out", get(async |session: Session| session.destroy()))
        .layer(SessionLayer::default());
    let ann = Browser::new(app);
    for path in ["/be", "/out"] {
        let reply = ann.get(path).await;
        let set = &reply.headers[header::SET_COOKIE];
        assert!(set.is_sensitive(), "{path}");
        assert_eq!(format!("{set:?}"), "Sensitive");
    }
}

#[tokio::test]
async fn t3_no_error_shows_the_data_it_is_about() {
    #[derive(Debug, Deserialize)]
    enum Season {}

    struct Talkative;

    impl Serialize for Talkative {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom(DATA))
        }
    }

    let errors = Arc::new(Mutex::new(Vec::<Error>::new()));
    let kept = Arc::clone(&errors);
    let fail = async move |session: Session| {
        let seen = [
            // serde would name the unknown variant, the wrong string, the wrong number.
            session.get::<Season>("text").unwrap_err(),
            session.get::<u64>("text").unwrap_err(),
            session.get::<u8>("number").unwrap_err(),
            session.take::<bool>("text").unwrap_err(),
            session.claim::<bool>("text").await.unwrap_err(),
            session
                .update("number", |n: Option<u8>| n.unwrap_or(0))
                .unwrap_err(),
            session.insert("other", Talkative).unwrap_err(),
            session.insert("other", DATA.repeat(5000)).unwrap_err(),
        ];
        kept.lock().extend(seen);
    };
    let be = async |session: Session| {
        session.insert("text", DATA)?;
        session.insert("number", NUMBER)
    };
    let app = Router::new()
        .route("/be", get(be))
        .route("/fail", get(fail))
        .layer(SessionLayer::default());
    let ann = Browser::new(app);
    ann.get("/be").await;
    ann.get("/fail").await;
    let mut secrets = Secrets::of_data();
    secrets.add_token(&token_of(&ann));
    let errors = errors.lock();
    assert_eq!(errors.len(), 8);
    let kinds: BTreeSet<_> = errors.iter().map(|e| format!("{:?}", e.kind())).collect();
    let expected = ["Deserialize", "Serialize", "TooLarge"].map(str::to_owned);
    assert_eq!(kinds, expected.into());
    for error in errors.iter() {
        secrets.are_not_in(&chain(error));
    }
}

#[tokio::test]
async fn t3_what_does_not_decode_is_not_repeated_by_the_error() {
    let store = FaultyStore::in_memory();
    let app = Router::new()
        .route(
            "/be",
            get(async |session: Session| session.insert("coat", coat())),
        )
        .layer(SessionLayer::new(store.clone()));
    let ann = Browser::new(app);
    ann.get("/be").await;
    let token = token_of(&ann);
    let (record, _) = store.inner().load(split(&token).0).await.unwrap().unwrap();
    let bytes = record.to_bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(DATA), "a person can read it: {text}");
    let mut secrets = Secrets::of_data();
    secrets.add_token(&token);
    let broken = [
        text.replace("\"format\":1", "\"format\":3"),
        text.replace("\"format\":1", &format!("\"format\":\"{DATA}\"")),
        text.replace("\"data\":{", &format!("\"data\":\"{DATA}\",\"x\":{{")),
        text.replace("\"verifier\":\"", "\"verifier\":\"x"),
        text.replace(
            "\"created_at\":",
            &format!("\"created_at\":\"{DATA}\",\"x\":"),
        ),
        format!("{text}{DATA}"),
        format!("\"{DATA}\""),
        NUMBER.to_string(),
    ];
    for broken in broken {
        let error = Record::from_bytes(broken.as_bytes()).unwrap_err();
        secrets.are_not_in(&chain(&error));
    }
    for length in 0..bytes.len() {
        let error = Record::from_bytes(&bytes[..length]).unwrap_err();
        secrets.are_not_in(&chain(&error));
    }
}

/// Counts, greets, and does whatever the path says.
async fn act(session: Session, Path(what): Path<String>) -> Result<String, Error> {
    match what.as_str() {
        "be" => session.insert("coat", coat())?,
        "look" => return Ok(session.get::<Coat>("coat")?.unwrap_or_default().label),
        "number" => return Ok(session.get::<u8>("coat")?.unwrap_or_default().to_string()),
        "count" => {
            session.insert(session.len().to_string(), DATA)?;
            tokio::task::yield_now().await;
            session.update("visits", |n: Option<u64>| n.unwrap_or(0) + NUMBER)?;
        }
        "in" => session.log_in(DATA)?,
        "cycle" => session.cycle_id()?,
        "save" => {
            session.insert("saved", DATA)?;
            session.save().await?;
            session.touch().await?;
            session.reload().await?;
        }
        "claim" => drop(session.claim::<Coat>("coat").await?),
        "huge" => session.insert("huge", DATA.repeat(9000))?,
        "remember" => session.remember_for(Duration::from_secs(86_400)),
        "out" => session.destroy(),
        other => panic!("no such act: {other}"),
    }
    Ok(String::new())
}

/// Collects what the browser is given on its way.
struct Walk {
    browser: Browser,
    secrets: Secrets,
    bodies: String,
}

impl Walk {
    fn new(app: &Router) -> Self {
        Self {
            browser: Browser::new(app.clone()),
            secrets: Secrets::of_data(),
            bodies: String::new(),
        }
    }

    async fn to(&mut self, path: &str) -> StatusCode {
        let reply = self.browser.get(path).await;
        if let Some(token) = self.browser.cookie(NAME) {
            self.secrets.add_token(&token);
        }
        if path != "/look" {
            self.bodies.push_str(&reply.body);
        }
        for (name, value) in &reply.headers {
            if name != header::SET_COOKIE {
                self.bodies.push_str(value.to_str().unwrap());
            }
        }
        reply.status
    }
}

#[tokio::test(start_paused = true)]
async fn t3_nothing_that_is_logged_over_a_whole_visit_shows_the_secret_or_the_data() {
    for transport in every_transport() {
        a_whole_visit(&transport).await;
    }
}

async fn a_whole_visit(transport: &Transport) {
    let log = Log::capture();
    let store = FaultyStore::in_memory();
    let clock = FixedClock::default();
    let told = Arc::new(Mutex::new(String::new()));
    let tell = Arc::clone(&told);
    let layer = SessionLayer::new(store.clone())
        .transport(transport.clone())
        .clock(clock.clone())
        .touch_after(Duration::from_secs(60))
        .store_timeout(Duration::from_secs(1))
        .reap_every(Duration::from_secs(30))
        .on_event(move |event: &Event| {
            let text = debug(event) + &debug(event.kind()) + &debug(&event.session());
            tell.lock().push_str(&text);
        })
        .on_event(|event: &Event| {
            // What the log says of a listener that panics.
            if matches!(
                event.kind(),
                EventKind::Saved { .. } | EventKind::Ended { .. }
            ) {
                panic!("as planned");
            }
        });
    let sessions = layer.sessions();
    let app = Router::new().route("/{what}", get(act)).layer(layer);
    let app = carried(app, transport);
    let mut ann = Walk::new(&app);

    // Created, read, updated, merged, listed.
    for path in [
        "/be",
        "/look",
        "/count",
        "/save",
        "/claim",
        "/be",
        "/remember",
    ] {
        assert_eq!(ann.to(path).await, StatusCode::OK, "{path}");
    }
    let requests = (0..5).map(|_| ann.browser.get("/count"));
    futures::future::join_all(requests).await;
    assert!(store.calls().contains(&StoreCall::LoadLatest), "a conflict");
    let page = sessions.list(&SessionFilter::default(), None, 10).await;
    let page = page.unwrap();
    assert_eq!(page.sessions.len(), 1);
    ann.secrets.are_not_in(&debug(&page));

    // Errors of handlers.
    for path in ["/number", "/huge"] {
        assert_eq!(ann.to(path).await, StatusCode::INTERNAL_SERVER_ERROR);
    }

    // Logged in, cycled; the old token comes again.
    let straggler = ann.browser.twin();
    assert_eq!(ann.to("/in").await, StatusCode::OK);
    assert_eq!(ann.to("/cycle").await, StatusCode::OK);
    straggler.get("/count").await;

    // A store that fails in every way, a clock that jumps.
    let fail = |kind| Fault::Fail(kind);
    for fault in [
        fail(StoreErrorKind::Unavailable),
        fail(StoreErrorKind::Corrupt),
        fail(StoreErrorKind::Incompatible),
        Fault::LoseReply(StoreErrorKind::Timeout),
        Fault::Hang,
        Fault::Panic,
    ] {
        for call in [
            StoreCall::Load,
            StoreCall::Update,
            StoreCall::Touch,
            StoreCall::Create,
            StoreCall::Delete,
        ] {
            let token = token_of(&ann.browser);
            store.plan_for(call, fault);
            clock.advance(Duration::from_secs(90));
            for path in ["/look", "/count", "/in", "/out"] {
                ann.to(path).await;
                ann.browser.set_cookie(NAME, &token);
            }
            store.heal();
            ann.to("/be").await;
        }
    }
    // What was begun in vain is taken back meanwhile.
    tokio::time::sleep(Duration::from_secs(60)).await;
    clock.go_back(Duration::from_secs(7200));
    ann.to("/look").await;
    clock.advance(Duration::from_secs(7200));

    // Tokens that prove nothing, and planted ones that do.
    let token = token_of(&ann.browser);
    let guess = join(split(&token).0, [0xa7; 16]);
    ann.secrets.add_token(&guess);
    ann.browser.set_cookie(NAME, &guess);
    ann.to("/look").await;
    ann.browser.set_cookie(NAME, &token);

    // Destroyed, and what is left is reaped.
    ann.to("/out").await;
    ann.to("/be").await;
    clock.advance(Duration::from_secs(7200));
    ann.to("/look").await;
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert!(store.inner().is_empty());
    store.plan_for(StoreCall::DeleteExpired, fail(StoreErrorKind::Other));
    tokio::time::sleep(Duration::from_secs(60)).await;

    let told = told.lock().clone();
    ann.secrets.are_not_in(&told);
    for kind in [
        "Created",
        "LoggedIn",
        "Cycled",
        "Saved",
        "Ended",
        "Rejected",
        "SessionSummary",
    ] {
        assert!(told.contains(kind), "nothing was told of {kind}: {told}");
    }
    ann.secrets.are_not_in(&debug(&sessions.stats()));

    ann.secrets.are_not_in(&ann.bodies);
    let text = log.text();
    assert!(text.contains("a listener has panicked"));
    ann.secrets.are_not_in(&text);
    for told in [
        "session saved",
        "under a new id",
        "session destroyed",
        "rolled back or finished",
        "was not loaded",
        "was not saved",
        "touch or renewal failed",
        "has a wrong secret",
        "in the future",
        "expired sessions deleted",
        "deleting expired sessions failed",
        "as planned",
    ] {
        assert!(
            text.contains(told),
            "nothing was logged of {told:?}: {text}"
        );
    }
}

#[tokio::test]
async fn t3_nothing_that_is_logged_of_planted_cookies_or_lost_changes_shows_them() {
    let log = Log::capture();
    let store = FaultyStore::in_memory();
    let cookie = SessionCookie::new("id").prefix(CookiePrefix::None);
    let layer = SessionLayer::new(store.clone()).cookie(cookie.build().unwrap());
    let outside = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&outside);
    let keep = async move |session: Session| *kept.lock() = Some(session);
    let app = Router::new()
        .route("/{what}", get(act))
        .route("/keep", get(keep))
        .layer(layer);
    let (ann, eve) = (Browser::new(app.clone()), Browser::new(app.clone()));
    let mut secrets = Secrets::of_data();
    for browser in [&ann, &eve] {
        browser.get("/be").await;
        secrets.add_token(&browser.cookie("id").unwrap());
    }
    let both = [&ann, &eve].map(|browser| format!("id={}", browser.cookie("id").unwrap()));
    let mut request = Request::get("/look").body(Body::empty()).unwrap();
    let both = HeaderValue::try_from(both.join("; ")).unwrap();
    request.headers_mut().insert(header::COOKIE, both);
    ann.send(request).await;
    assert_eq!(log.count(Level::WARN, "planted"), 1);
    // C6: changed after the response, and never saved.
    ann.get("/keep").await;
    let session = outside.lock().take().unwrap();
    session.insert("late", DATA).unwrap();
    let id = session.id().unwrap();
    drop(session);
    assert_eq!(log.count(Level::WARN, &id.to_string()), 2);
    secrets.are_not_in(&log.text());
}

#[tokio::test]
async fn t3_no_error_of_a_failing_store_shows_the_secret_or_the_data() {
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Timeout,
        StoreErrorKind::Corrupt,
        StoreErrorKind::Incompatible,
        StoreErrorKind::Unsupported,
        StoreErrorKind::Other,
    ] {
        let store = FaultyStore::in_memory();
        let shown = Arc::new(Mutex::new(String::new()));
        let (load_shown, save_shown) = (Arc::clone(&shown), Arc::clone(&shown));
        let load = async move |handle: SessionHandle| {
            let error = handle.load().await.unwrap_err();
            assert_ne!(error.kind(), ErrorKind::Timeout);
            load_shown.lock().push_str(&chain(&error));
        };
        let (failing, healing) = (store.clone(), store.clone());
        let save = async move |session: Session| {
            failing.plan(move |_| Fault::Fail(kind));
            session.insert("more", DATA).unwrap();
            let error = session.save().await.unwrap_err();
            assert!(error::Error::source(&error).is_some());
            save_shown.lock().push_str(&chain(&error));
            healing.heal();
        };
        let app = Router::new()
            .route("/{what}", get(act))
            .route("/load", get(load))
            .route("/fail", get(save))
            .layer(SessionLayer::new(store.clone()));
        let ann = Browser::new(app);
        ann.get("/be").await;
        let mut secrets = Secrets::of_data();
        secrets.add_token(&token_of(&ann));
        ann.get("/fail").await;
        let other = if kind == StoreErrorKind::Timeout {
            StoreErrorKind::Other
        } else {
            kind
        };
        store.plan_for(StoreCall::Load, Fault::Fail(other));
        ann.get("/load").await;
        let shown = shown.lock().clone();
        assert!(shown.contains("as planned"), "the cause is kept: {shown}");
        secrets.are_not_in(&shown);
        secrets.are_not_in(&chain(&StoreError::new(kind, "as planned")));
    }
}

/// Everything a store is ever given, as it would write it down.
#[derive(Clone, Default)]
struct Dump {
    store: MemoryStore,
    written: Arc<Mutex<String>>,
}

impl Dump {
    fn write(&self, id: SessionId, record: &Record, rest: &impl Debug) {
        let text = String::from_utf8(record.to_bytes()).unwrap();
        let mut written = self.written.lock();
        writeln!(written, "{id} {text} {record:?} {rest:?}").unwrap();
    }
}

impl SessionStore for Dump {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.write(id, record, &activity);
        self.store.create(id, record, activity).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.store.load(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        self.write(id, record, &(activity, former.version()));
        self.store.update(id, record, activity, former).await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.store.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.store.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.store.delete_expired(before, limit).await
    }
}

#[tokio::test]
async fn t3_no_store_is_ever_given_the_secret() {
    let store = Dump::default();
    let app = Router::new()
        .route("/{what}", get(act))
        .layer(SessionLayer::new(store.clone()));
    let ann = Browser::new(app);
    let mut secrets = Secrets::default();
    let mut verifiers = Vec::new();
    for path in [
        "/be",
        "/count",
        "/in",
        "/count",
        "/cycle",
        "/remember",
        "/save",
    ] {
        assert_eq!(ann.get(path).await.status, StatusCode::OK, "{path}");
        let token = token_of(&ann);
        secrets.add_secret(&token);
        verifiers.push(URL_SAFE_NO_PAD.encode(Sha256::digest(split(&token).1)));
    }
    let written = store.written.lock().clone();
    secrets.are_not_in(&written);
    for verifier in verifiers {
        assert!(written.contains(&verifier), "what it keeps instead");
    }
}
