//! The console over HTTP: who gets in, what the pages show, what they end, and what they refuse.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header, request::Parts},
    routing::get,
};
use cloakroom::{
    Activity, CircuitBreaker, Event, EventKind, MemoryStore, Record, Session, SessionFilter,
    SessionId, SessionLayer, Shutdown, StoreCall, Timestamp,
    import::{Import, OldSession, OldToken},
    store::{
        Created, Former, Position, Query, Reaped, SessionStore, StoreError, StoreErrorKind,
        StorePage, Touched, Updated,
    },
    testing::{Fault, FaultyStore},
};
use cloakroom_console::{Access, Console, console, loopback};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Whoever says so in a header.
async fn by_header(request: Parts) -> Option<String> {
    let name = request.headers.get("x-operator")?.to_str().ok()?;
    Some(name.to_owned())
}

/// An application with a console, and what its listener heard of endings.
struct House {
    app: Router,
    layer: SessionLayer,
    ended: Arc<Mutex<Vec<Option<String>>>>,
}

impl House {
    fn new() -> Self {
        Self::over(MemoryStore::default())
    }

    fn of(layer: SessionLayer) -> Self {
        Self {
            app: Router::new().nest("/ops/console", console(layer.sessions(), by_header)),
            layer,
            ended: Arc::default(),
        }
    }

    fn over(store: impl SessionStore) -> Self {
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&ended);
        let layer = SessionLayer::new(store).on_event(move |event: &Event| {
            if let EventKind::Ended { .. } = event.kind() {
                heard.lock().push(event.operator().map(str::to_owned));
            }
        });
        let console = Console::new(layer.sessions(), by_header).node("here");
        Self {
            app: Router::new().nest("/ops/console", console.router()),
            layer,
            ended,
        }
    }

    /// A new visitor with a value; logged in if there is a name.
    async fn visitor(&self, user: Option<&str>) {
        let user = user.map(str::to_owned);
        let page = async move |session: Session| {
            session.insert("secret plan", "tell nobody").unwrap();
            if let Some(user) = user.clone() {
                session.log_in(user).unwrap();
            }
        };
        let app = Router::new()
            .route("/", get(page))
            .layer(self.layer.clone());
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }

    async fn ask(&self, method: Method, path: &str, more: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://example.org/ops/console{path}"))
            .header(header::HOST, "example.org")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if !more.iter().any(|(name, _)| *name == "x-operator") {
            request = request.header("x-operator", "olga");
        }
        for (name, value) in more.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], "").await
    }

    async fn json(&self, path: &str) -> (StatusCode, Value) {
        let reply = self.ask(Method::GET, path, &[JSON], "").await;
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    /// A form of the console's own page.
    async fn post(&self, body: &str) -> Reply {
        let own = [
            ("origin", "http://example.org"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.ask(Method::POST, "/revoke", &own, body).await
    }

    async fn count(&self) -> usize {
        let page = self
            .layer
            .sessions()
            .list(&SessionFilter::default(), None, 1000)
            .await;
        page.unwrap().sessions.len()
    }

    async fn ids(&self) -> Vec<String> {
        let page = self
            .layer
            .sessions()
            .list(&SessionFilter::default(), None, 1000)
            .await;
        page.unwrap()
            .sessions
            .iter()
            .map(|session| session.id().to_string())
            .collect()
    }
}

const JSON: (&str, &str) = ("accept", "application/json");

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    #[track_caller]
    fn shows(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "no {text:?} in {}", self.body);
        self
    }

    #[track_caller]
    fn hides(&self, text: &str) -> &Self {
        assert!(!self.body.contains(text), "{text:?} in {}", self.body);
        self
    }

    /// The address of the link to the next page, as a path within the console.
    fn next(&self) -> Option<String> {
        let link = self.body.split("rel=\"next\" href=\"/ops/console").nth(1)?;
        Some(link.split('"').next()?.replace("&amp;", "&"))
    }
}

const PATHS: [&str; 8] = [
    "",
    "/sessions",
    "/sessions?kind=logged_in&begun=1h&idle=5m&order=id&limit=25",
    "/sessions?order=seen",
    "/sessions/67e55044-10b1-426f-9247-bb680e5fe0c8",
    "/user?name=ann",
    "/revoke",
    "/nowhere",
];

#[tokio::test]
async fn nobody_gets_in_without_access() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    for path in PATHS
        .into_iter()
        .chain(["/live", "/console.js", "/console.css/"])
    {
        let reply = house
            .ask(Method::GET, path, &[("x-operator", "")], "")
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        reply.hides("here").hides("ann");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    }
    let nobody = [("x-operator", "")];
    // For the page that says so.
    let style = house.ask(Method::GET, "/console.css", &nobody, "").await;
    assert_eq!(style.status, StatusCode::OK);
    let reply = house
        .ask(Method::POST, "/revoke", &nobody, "kind=logged_in&sure=yes")
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(house.count().await, 1);
}

#[tokio::test]
async fn every_answer_forbids_caching_framing_and_foreign_content() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    for path in PATHS.into_iter().chain(["/console.css", "/console.js"]) {
        let reply = house.get(path).await;
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(reply.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let policy = reply.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        assert!(policy.contains("frame-ancestors 'none'"));
        if path.ends_with("s") && path.starts_with("/console") {
            continue;
        }
        // What the policy forbids is not tried.
        reply
            .hides("<style")
            .hides(" style=")
            .hides(" onclick=")
            .hides("<script>");
        reply.hides("http://").hides("https://").hides("//cdn");
    }
}

#[tokio::test]
async fn the_list_goes_page_by_page_over_each_session_once_the_newest_first() {
    let house = House::new();
    for _ in 0..60 {
        house.visitor(None).await;
    }
    let (mut seen, mut path) = (
        Vec::new(),
        "/sessions?kind=anonymous&begun=1h&limit=25".to_owned(),
    );
    loop {
        let reply = house.get(&path).await;
        assert_eq!(reply.status, StatusCode::OK);
        reply
            .shows("Anonymous sessions begun within the last hour")
            .shows("60 in the store");
        let boxes = reply.body.split("name=\"id\" value=\"").skip(1);
        seen.extend(boxes.map(|rest| rest[..36].to_owned()));
        match reply.next() {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(seen.len(), 60);
    let unique: HashSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), 60);
    let (_, first) = house.json("/sessions?limit=1000").await;
    let newest: Vec<&str> = first["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["id"].as_str().unwrap())
        .collect();
    assert_eq!(seen, newest);
}

#[tokio::test]
async fn users_are_found_whatever_their_name_and_shown_as_text() {
    let house = House::new();
    let names = [
        "<script>alert(1)</script>",
        "a&b=c/d?e#f",
        "josé \u{1F600}",
        "\"'><img src=x>",
        "x",
    ];
    for name in names {
        house.visitor(Some(name)).await;
    }
    let all = house.get("/sessions").await;
    all.hides("<script>alert").hides("<img src");
    all.shows("&lt;script&gt;alert(1)&lt;/script&gt;");
    for link in all.body.split("/ops/console/user?name=").skip(1) {
        let query = link.split('"').next().unwrap();
        let reply = house.get(&format!("/user?name={query}")).await;
        assert_eq!(reply.status, StatusCode::OK);
        reply.shows("1 in the store").hides("<script>alert");
    }
    let reply = house.get("/user?name=nobody").await;
    reply.shows("No session of <bdi>nobody</bdi>");
    assert_eq!(
        house.get("/user?name=").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(house.get("/user").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn texts_of_visitors_have_a_direction_of_their_own_and_hide_nothing() {
    let layer = SessionLayer::new(MemoryStore::default());
    let console = Console::new(layer.sessions(), by_header).show_values();
    let house = House {
        app: Router::new().nest("/ops/console", console.router()),
        layer,
        ended: Arc::default(),
    };
    let name = "\u{202e}nna\u{7}\u{200b}";
    let shown = "<bdi><span class=\"control\">U+202E</span>nna<span class=\"control\">U+0007</span>\
                 <span class=\"control\">U+200B</span></bdi>";
    let page = async move |session: Session| {
        session.insert(name, name).unwrap();
        session.set_label("device", name).unwrap();
        session.log_in(name).unwrap();
    };
    let app = Router::new()
        .route("/", get(page))
        .layer(house.layer.clone());
    app.oneshot(Request::new(Body::empty())).await.unwrap();
    let (query, id) = ("%E2%80%AEnna%07%E2%80%8B", house.ids().await.remove(0));
    let hidden = ['\u{202e}', '\u{7}', '\u{200b}'];
    let paths = [
        "/sessions".to_owned(),
        format!("/sessions/{id}"),
        format!("/user?name={query}"),
        format!("/user?name={query}x"),
        format!("/sessions?user={query}"),
        format!("/sessions?user={query}x"),
    ];
    for path in &paths {
        let reply = house.get(path).await;
        reply.shows("U+202E");
        // The field of the search has it as it was written.
        let mut texts = reply.body.split("value=\"");
        let texts = texts
            .next()
            .into_iter()
            .chain(texts.map(|rest| rest.split_once('"').unwrap().1));
        for text in texts {
            assert!(!text.contains(hidden), "{path}: {text:?}");
        }
    }
    let session = house.get(&paths[1]).await;
    // The user, the label, the value's name; the value has its quotes.
    assert_eq!(session.body.matches(shown).count(), 3);
    session.shows("<pre><bdi>&quot;<span class=\"control\">U+202E</span>");
    house
        .get(&paths[2])
        .await
        .shows("<title>\u{2068}⟨U+202E⟩nna⟨U+0007⟩⟨U+200B⟩\u{2069} · Sessions</title>")
        .shows(shown);
    house.post(&format!("user={query}")).await.shows(shown);
    house.post(&format!("user={query}x")).await.shows("U+202E");
    house
        .post(&format!("{query}=1"))
        .await
        .shows("<code><span class=\"control\">U+202E</span>nna");
}

/// Sessions of another library: every token opens one.
struct Other;

impl Import for Other {
    fn cookie_name(&self) -> &'static str {
        "other"
    }

    fn until(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        Some(OldToken::new(value))
    }

    async fn load(&self, _: &OldToken) -> Result<Option<OldSession>, StoreError> {
        Ok(Some(OldSession::new().user("ann")))
    }

    async fn delete(&self, _: &OldToken) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn imported_sessions_are_shown_beside_created_ones() {
    let house = House::of(SessionLayer::new(MemoryStore::default()).import(Other));
    let user = async |session: Session| session.user().unwrap().to_string();
    let app = Router::new()
        .route("/", get(user))
        .layer(house.layer.clone());
    let request = Request::get("/").header(header::COOKIE, "other=of-ann");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    house.get("").await.shows("0 in all, and 1 imported");
    let (_, stats) = house.json("").await;
    assert_eq!(stats["process"]["imported"], 1);
    assert_eq!(stats["process"]["created"], 0);
    assert_eq!(stats["process"]["mean_life_seconds"], Value::Null);
}

#[tokio::test]
async fn a_session_shows_its_values_only_where_that_is_wanted() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    let id = &house.ids().await[0];
    let reply = house.get(&format!("/sessions/{id}")).await;
    reply
        .shows(id)
        .shows("ann")
        .shows("secret plan")
        .hides("tell nobody");
    let (_, session) = house.json(&format!("/sessions/{id}")).await;
    assert_eq!(session["keys"], serde_json::json!(["secret plan"]));
    assert!(session.get("values").is_none());

    let console = Console::new(house.layer.sessions(), by_header).show_values();
    let open = House {
        app: Router::new().nest("/ops/console", console.router()),
        layer: house.layer.clone(),
        ended: Arc::default(),
    };
    open.get(&format!("/sessions/{id}"))
        .await
        .shows("tell nobody");
    let (_, session) = open.json(&format!("/sessions/{id}")).await;
    assert_eq!(session["values"]["secret plan"], "tell nobody");
}

#[tokio::test]
async fn selected_sessions_end_after_a_preview_and_the_event_names_the_operator() {
    let house = House::new();
    for user in ["ann", "bob", "carl"] {
        house.visitor(Some(user)).await;
    }
    let ids = house.ids().await;
    let form = format!("id={}&id={}", ids[0], ids[1]);
    let asked = house.post(&form).await;
    assert_eq!(asked.status, StatusCode::OK);
    asked
        .shows("End 2 sessions?")
        .shows(&ids[0])
        .shows(&ids[1])
        .hides(&ids[2]);
    assert_eq!(house.count().await, 3);
    let done = house.post(&format!("{form}&sure=yes")).await;
    done.shows("2 sessions ended");
    assert_eq!(house.ids().await, [ids[2].clone()]);
    assert_eq!(
        *house.ended.lock(),
        [Some("olga".to_owned()), Some("olga".to_owned())]
    );
    // A page that is reloaded, or a second operator.
    house
        .post(&format!("{form}&sure=yes"))
        .await
        .shows("No session was left to end");
    house.post(&form).await.shows("Nothing to end");
}

#[tokio::test]
async fn what_a_filter_matches_ends_after_a_preview() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    for _ in 0..30 {
        house.visitor(None).await;
    }
    let asked = house.post("kind=anonymous&begun=1h").await;
    asked
        .shows("End 30 sessions?")
        .shows("The first of them")
        .shows("name=\"at\"");
    assert_eq!(house.count().await, 31);
    house
        .post("kind=anonymous&begun=1h&sure=yes")
        .await
        .shows("30 sessions ended");
    assert_eq!(house.count().await, 1);
    house
        .post("kind=anonymous&begun=1h")
        .await
        .shows("Nothing to end");
}

#[tokio::test]
async fn everything_ends_only_for_the_words() {
    let house = House::new();
    house.visitor(None).await;
    house.visitor(Some("ann")).await;
    house
        .get("/revoke")
        .await
        .shows("End every session?")
        .shows("end every session");
    for words in ["", "yes", "end+every"] {
        let reply = house.post(&format!("all=yes&sure=yes&words={words}")).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
        reply.shows("These are not the words");
    }
    assert_eq!(house.count().await, 2);
    house
        .post("all=yes&sure=yes&words=end+every+session")
        .await
        .shows("2 sessions ended");
    assert_eq!(house.count().await, 0);
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let house = House::new();
    house.visitor(None).await;
    for more in [
        &[
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ][..],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "http://other.example.org"),
        ],
    ] {
        let reply = house
            .ask(Method::POST, "/revoke", more, "kind=anonymous&sure=yes")
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{more:?}");
        let id = &house.ids().await[0];
        let reply = house
            .ask(Method::DELETE, &format!("/sessions/{id}"), more, "")
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{more:?}");
        // It says so, like every page of the console.
        reply.shows("another site");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert!(reply.headers.contains_key(header::CONTENT_SECURITY_POLICY));
        let json = [more, &[JSON]].concat();
        let reply = house
            .ask(Method::POST, "/revoke", &json, "kind=anonymous&sure=yes")
            .await;
        let error: Value = serde_json::from_str(&reply.body).unwrap();
        assert!(error["error"].is_string());
        // A stranger is told nothing more.
        let stranger = [more, &[("x-operator", "")]].concat();
        let reply = house
            .ask(
                Method::POST,
                "/revoke",
                &stranger,
                "kind=anonymous&sure=yes",
            )
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        reply.shows("You may not use this console");
    }
    assert_eq!(house.count().await, 1);
}

#[tokio::test]
async fn which_sessions_are_meant_is_said_in_one_way() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    house.visitor(Some("bob")).await;
    let id = house.ids().await.remove(0);
    for form in [
        "all=yes&user=ann".to_owned(),
        format!("all=yes&id={id}"),
        format!("id={id}&user=ann"),
        format!("id={id}&kind=anonymous"),
        "user=ann&user=bob".to_owned(),
        "user=ann&all=maybe".to_owned(),
    ] {
        for sure in ["", "&sure=yes&words=end+every+session"] {
            let body = format!("{form}{sure}");
            let reply = house.ask(Method::POST, "/revoke", &[JSON], &body).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        }
    }
    let reply = house.post("user=ann&sure=1").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(house.count().await, 2);
    // The page's own forms send what is not chosen as empty fields.
    let reply = house.post(&format!("id={id}&user=&kind=&sure=yes")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(house.count().await, 1);
}

#[tokio::test]
async fn programs_get_json() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    house.visitor(None).await;
    let (status, stats) = house.json("").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stats["node"], "here");
    assert_eq!(stats["process"]["created"], 2);
    assert_eq!(stats["store"]["records"], 2);
    assert!(
        stats["process"]["store_calls"]["create"]["p99_seconds"]
            .as_f64()
            .unwrap()
            > 0.0
    );

    let (_, list) = house.json("/sessions?user=ann").await;
    let id = list["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list["sessions"][0]["user"], "ann");
    assert_eq!(list["next"], Value::Null);
    let (_, user) = house.json("/user?name=ann").await;
    assert_eq!(user["sessions"], list["sessions"]);

    let preview = house
        .ask(Method::POST, "/revoke", &[JSON], "kind=anonymous")
        .await;
    let preview: Value = serde_json::from_str(&preview.body).unwrap();
    assert_eq!(
        (&preview["count"], &preview["is_exact"]),
        (&1.into(), &true.into())
    );
    let ended = house
        .ask(Method::POST, "/revoke", &[JSON], "kind=anonymous&sure=yes")
        .await;
    assert_eq!(ended.body, r#"{"ended":1}"#);

    let deleted = house
        .ask(Method::DELETE, &format!("/sessions/{id}"), &[JSON], "")
        .await;
    assert_eq!(deleted.body, r#"{"ended":1}"#);
    let again = house
        .ask(Method::DELETE, &format!("/sessions/{id}"), &[JSON], "")
        .await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let (status, error) = house.json(&format!("/sessions/{id}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .starts_with("There is no such session")
    );
}

#[tokio::test]
async fn bad_input_gets_a_clear_answer() {
    let house = House::new();
    house.visitor(None).await;
    for (path, status) in [
        ("/sessions?after=forged", StatusCode::BAD_REQUEST),
        (
            "/sessions?after=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            StatusCode::BAD_REQUEST,
        ),
        ("/sessions?kind=robot", StatusCode::BAD_REQUEST),
        ("/sessions?begun=soon", StatusCode::BAD_REQUEST),
        (
            "/sessions?idle=99999999999999999999h",
            StatusCode::BAD_REQUEST,
        ),
        ("/sessions?order=user", StatusCode::BAD_REQUEST),
        ("/sessions?limit=0", StatusCode::BAD_REQUEST),
        ("/sessions?limit=1001", StatusCode::BAD_REQUEST),
        ("/sessions?at=never", StatusCode::BAD_REQUEST),
        ("/sessions/no-uuid", StatusCode::NOT_FOUND),
        ("/sessions/%3Cscript%3E", StatusCode::NOT_FOUND),
        ("/sessions/%FF", StatusCode::NOT_FOUND),
        (
            "/sessions/67e55044-10b1-426f-9247-bb680e5fe0c8",
            StatusCode::NOT_FOUND,
        ),
        ("/revoke?job=7", StatusCode::NOT_FOUND),
        ("/revoke?job=x", StatusCode::BAD_REQUEST),
        ("/nowhere", StatusCode::NOT_FOUND),
    ] {
        let reply = house.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        reply.shows("<h1>").hides("<script>");
        let (json, error) = house.json(path).await;
        assert_eq!(json, status, "{path}");
        assert!(error["error"].is_string());
    }
    for form in [
        "",
        "sure=yes",
        "id=no-uuid",
        "kind=robot&sure=yes",
        "colour=red",
        "order=id&sure=yes",
    ] {
        let reply = house.post(form).await;
        assert!(reply.status.is_client_error(), "{form}: {}", reply.status);
    }
    assert_eq!(house.get("/revoke").await.status, StatusCode::OK);
    let reply = house.ask(Method::PUT, "/sessions", &[], "").await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(house.count().await, 1);
}

#[tokio::test]
async fn forms_and_addresses_of_any_size_get_a_clear_answer() {
    let house = House::new();
    house.visitor(Some("ann")).await;
    let id = house.ids().await.remove(0);
    let thousand = vec![format!("id={id}"); 1000].join("&");
    assert_eq!(house.post(&thousand).await.status, StatusCode::OK);
    let more = format!("{thousand}&id={id}");
    assert_eq!(house.post(&more).await.status, StatusCode::BAD_REQUEST);
    for body in [vec![more; 40].join("&"), "a&".repeat(1 << 20)] {
        let reply = house.post(&body).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        reply.shows("<h1>");
    }
    let long = "x".repeat(30_000);
    for (path, status) in [
        (format!("/sessions?user={long}"), StatusCode::OK),
        (format!("/user?name={long}"), StatusCode::OK),
        (format!("/sessions?{long}={long}"), StatusCode::OK),
        (format!("/sessions?after={long}"), StatusCode::BAD_REQUEST),
        (format!("/sessions/{long}"), StatusCode::NOT_FOUND),
        (
            "/sessions?user=a&user=b".to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        // Read as a replacement character, which nobody is called.
        ("/sessions?user=%FF".to_owned(), StatusCode::OK),
    ] {
        let reply = house.get(&path).await;
        let shown = &path[..path.len().min(20)];
        assert_eq!(reply.status, status, "{shown}");
    }
    assert_eq!(house.count().await, 1);
}

#[tokio::test]
async fn a_page_that_is_open_over_a_restart_goes_on() {
    let store = MemoryStore::default();
    let before = House::over(store.clone());
    for _ in 0..30 {
        before.visitor(None).await;
    }
    let page = before.get("/sessions?kind=anonymous&limit=25").await;
    let (next, gone) = (page.next().unwrap(), before.ids().await.remove(0));
    drop(before);
    let after = House::over(store);
    let page = after.get(&next).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.body.matches("name=\"id\"").count(), 5);
    // What was selected has ended in the meantime.
    let id = gone.parse().unwrap();
    assert!(after.layer.sessions().revoke(id).await.unwrap());
    let reply = after.post(&format!("id={gone}")).await;
    reply.shows("Nothing to end");
    let reply = after.post(&format!("id={gone}&sure=yes")).await;
    reply.shows("No session was left to end");
    assert_eq!(
        after.get("/revoke?job=9").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn of_two_operators_who_end_the_same_each_gets_an_answer() {
    let house = House::new();
    for _ in 0..50 {
        house.visitor(Some("ann")).await;
    }
    let json = [("accept", "application/json"), ("x-operator", "olga")];
    let revoke = || house.ask(Method::POST, "/revoke", &json, "user=ann&sure=yes");
    let (one, two) = tokio::join!(revoke(), revoke());
    let ended = |reply: &Reply| {
        let value: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{value}");
        value["ended"].as_u64().unwrap()
    };
    assert_eq!(ended(&one) + ended(&two), 50);
    assert_eq!(house.count().await, 0);
    let again = house.post("user=ann&sure=yes").await;
    again.shows("No session was left to end");
    house.post("user=ann").await.shows("Nothing to end");
}

#[tokio::test]
async fn a_store_that_cannot_list_or_does_not_answer_is_told_apart() {
    let store = FaultyStore::in_memory();
    let house = House::over(store.clone());
    house.visitor(None).await;
    let listing = |call| matches!(call, StoreCall::List | StoreCall::Count);
    store.plan(move |call| match listing(call) {
        true => Fault::Refuse(StoreErrorKind::Unsupported),
        false => Fault::None,
    });
    let reply = house.get("/sessions").await;
    assert_eq!(reply.status, StatusCode::NOT_IMPLEMENTED);
    reply.shows("The store cannot do this");
    for form in ["kind=anonymous", "kind=anonymous&sure=yes"] {
        let reply = house.post(form).await;
        assert_eq!(reply.status, StatusCode::NOT_IMPLEMENTED, "{form}");
        let json = house.ask(Method::POST, "/revoke", &[JSON], form).await;
        assert_eq!(json.status, StatusCode::NOT_IMPLEMENTED, "{form}");
    }
    house
        .get("")
        .await
        .shows("This kind of store does not count its sessions");
    store.plan(move |call| match listing(call) {
        true => Fault::Fail(StoreErrorKind::Unavailable),
        false => Fault::None,
    });
    let reply = house.get("/sessions").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let reply = house.post("kind=anonymous&sure=yes").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    reply.shows("Not all of them ended");
}

/// How often the store was asked to count.
fn counts(store: &FaultyStore) -> usize {
    let calls = store.calls().into_iter();
    calls.filter(|call| *call == StoreCall::Count).count()
}

#[tokio::test(start_paused = true)]
async fn all_who_look_at_the_same_time_share_one_count_of_the_store() {
    let store = FaultyStore::in_memory();
    let house = Arc::new(House::over(store.clone()));
    for _ in 0..3 {
        house.visitor(None).await;
    }
    store.plan_for(StoreCall::Count, Fault::Delay(Duration::from_millis(100)));
    store.calls();
    let mut viewers = JoinSet::new();
    for path in [
        "",
        "/sessions",
        "/sessions?kind=anonymous",
        "/sessions?kind=anonymous&limit=25",
    ] {
        for _ in 0..20 {
            let house = Arc::clone(&house);
            viewers.spawn(async move { house.get(path).await });
        }
    }
    for reply in viewers.join_all().await {
        reply.shows("3");
    }
    // The whole store, and the anonymous sessions.
    assert_eq!(counts(&store), 2);
    // A count that took a tenth of a second is good for five.
    tokio::time::sleep(Duration::from_secs(4)).await;
    house.get("/sessions").await.shows("3 in the store");
    assert_eq!(counts(&store), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    house.get("/sessions").await.shows("3 in the store");
    assert_eq!(counts(&store), 1);
    // What an operator has ended is not in a number any more.
    house
        .post("kind=anonymous&sure=yes")
        .await
        .shows("3 sessions ended");
    house.get("/sessions").await.shows("0 in the store");
}

#[tokio::test(start_paused = true)]
async fn numbers_of_a_store_that_fails_are_old_and_say_since_when() {
    let store = FaultyStore::in_memory();
    let never = CircuitBreaker::default().failures(u32::MAX);
    let house = House::of(SessionLayer::new(store.clone()).circuit_breaker(never));
    for _ in 0..3 {
        house.visitor(None).await;
    }
    house
        .get("")
        .await
        .shows("<strong>3</strong> records, of all processes that share the store. Counted at ")
        .hides("This number is old")
        .hides("The store does not answer");
    store.plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    let visit = Router::new()
        .route("/", get(async |session: Session| session.insert("n", 1)))
        .layer(house.layer.clone());
    for _ in 0..4 {
        let reply = visit.clone().oneshot(Request::new(Body::empty())).await;
        assert_eq!(reply.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    // What fails to end leaves the number as it is.
    let reply = house.post("kind=anonymous&sure=yes").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let reply = house.get("").await;
    reply
        .shows("The store does not answer. </strong>Since <time")
        .shows("and none has succeeded")
        .shows("The store could not be counted at <time")
        .shows("This number is old: <strong>3</strong> records");
    let (_, stats) = house.json("").await;
    assert_eq!(stats["store"]["records"], 3);
    assert!(stats["store"]["counted_at"].is_string() && stats["store"]["error"].is_string());
    store.heal();
    let reply = visit.oneshot(Request::new(Body::empty())).await;
    assert_eq!(reply.unwrap().status(), StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(20)).await;
    house
        .get("")
        .await
        .shows("<strong>4</strong> records")
        .hides("The store does not answer")
        .hides("This number is old");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_shown_with_the_time_since_when() {
    let store = FaultyStore::in_memory();
    let breaker = CircuitBreaker::default().failures(2);
    let layer = SessionLayer::new(store.clone()).circuit_breaker(breaker);
    let house = House::of(layer);
    let none = "Calls refused by the circuit breaker</th><td class=\"number\">0</td>";
    house.get("").await.hides("The store is down").shows(none);
    store.plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    let visit = Router::new()
        .route("/", get(async |session: Session| session.insert("n", 1)))
        .layer(house.layer.clone());
    for _ in 0..4 {
        visit
            .clone()
            .oneshot(Request::new(Body::empty()))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    house
        .get("")
        .await
        .shows("The store is down. </strong>The circuit breaker has been seen open since <time")
        // The calls after those that failed.
        .hides(none);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_does_not_hold_up_the_live_numbers() {
    let store = FaultyStore::in_memory();
    let house = House::over(store.clone());
    store.plan_for(StoreCall::Count, Fault::Hang);
    house.get("").await.shows("Being counted.");
    let request = Request::get("/ops/console/live").header("x-operator", "olga");
    let request = request.body(Body::empty()).unwrap();
    let mut body = house
        .app
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn numbers_of_a_store_that_processes_share_say_whose_they_are() {
    // As a store on a server, it does not say what it holds in memory.
    let house = House::over(ById::new(0));
    house.visitor(None).await;
    house
        .get("")
        .await
        .shows("Begun here, not ended here")
        .shows("Each process that shares the store has numbers of its own")
        .hides("Active")
        .hides("in the memory of this process");
    let house = House::new();
    house
        .get("")
        .await
        .shows("Active")
        .hides("shares the store");
}

/// A store that lists by id alone, as Redis does without an index. So many of its pages have nothing yet.
struct ById(MemoryStore, AtomicUsize);

impl ById {
    fn new(blanks: usize) -> Self {
        Self(MemoryStore::default(), AtomicUsize::new(blanks))
    }
}

impl SessionStore for ById {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.0.create(id, record, activity).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.0.load(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        self.0.update(id, record, activity, former).await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.0.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.0.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.0.delete_expired(before, limit).await
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        query.ordered_by_id()?;
        let take = |blanks: usize| blanks.checked_sub(1);
        let blanks = self
            .1
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if blanks.is_ok() {
            let nil = "00000000-0000-0000-0000-000000000000".parse().unwrap();
            return Ok(StorePage::new(Vec::new(), Some(Position::after(nil))));
        }
        self.0.list(query, after, limit).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.0.count(query).await
    }
}

#[tokio::test]
async fn a_store_without_the_order_lists_each_session_once_to_programs_too() {
    let house = House::over(ById::new(0));
    for _ in 0..7 {
        house.visitor(None).await;
    }
    house.get("/sessions").await.shows("ordered by id");
    for order in ["", "&order=newest", "&order=seen"] {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/sessions?limit=3{order}{after}");
            let (status, list) = house.json(&path).await;
            assert_eq!((status, &list["order"]), (StatusCode::OK, &"id".into()));
            let sessions = list["sessions"].as_array().unwrap();
            ids.extend(
                sessions
                    .iter()
                    .map(|it| it["id"].as_str().unwrap().to_owned()),
            );
            assert!(ids.len() <= 7, "a page came twice");
            match list["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(ids, house.ids().await);
    }
}

#[tokio::test]
async fn what_matches_on_later_pages_can_be_ended_from_a_page_that_is_empty() {
    // More than the console, and the preview after it, look through.
    let house = House::over(ById::new(110));
    for _ in 0..3 {
        house.visitor(None).await;
    }
    let reply = house.get("/sessions?order=id&kind=anonymous").await;
    reply
        .shows("None among those looked at so far. There are more to look at, on the next page.")
        .shows("rel=\"next\"")
        .shows("End all that match…");
    let preview = house.post("kind=anonymous").await;
    preview
        .shows("End up to 3 sessions?")
        .shows("None of them is among the sessions looked at so far");
    house
        .post("kind=anonymous&sure=yes")
        .await
        .shows("3 sessions ended");
    assert_eq!(house.count().await, 0);
}

#[tokio::test]
async fn where_nothing_matches_the_page_says_so_and_offers_no_end() {
    let house = House::new();
    let empty = house.get("/sessions").await;
    empty
        .shows("The store has no session, so there is nothing to end.")
        .hides("End every session…");
    house.visitor(None).await;
    let none = house.get("/sessions?kind=logged_in&begun=1h").await;
    none.shows("No session matches, so there is nothing to end.")
        .hides("End all that match…");
    house
        .post("kind=logged_in&begun=1h")
        .await
        .shows("Nothing to end")
        .shows("There are no logged-in sessions begun within the last hour. Nothing has ended.");
    let id = "id=67e55044-10b1-426f-9247-bb680e5fe0c8";
    house
        .post(id)
        .await
        .shows("None of the sessions that you have chosen is there any more. Nothing has ended.");
    // The top of a list says nothing about the rest.
    let top = house.get("/sessions?kind=logged_in&order=seen").await;
    top.shows("None among those that were used last.")
        .hides("No session matches");
    let some = house.get("/sessions?kind=anonymous").await;
    some.shows("End all that match…");
}

#[tokio::test(start_paused = true)]
async fn long_work_goes_on_without_its_page() {
    let store = FaultyStore::in_memory();
    let house = House::over(store.clone());
    for _ in 0..10 {
        house.visitor(None).await;
    }
    store.plan(|call| match call {
        StoreCall::Update => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::None,
    });
    let reply = house.post("kind=anonymous&sure=yes").await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let link = reply.shows("so far").body.split("href=\"/ops/console");
    let links: Vec<_> = link.map(|link| link.split('"').next().unwrap()).collect();
    let job = links.iter().find(|link| link.starts_with("/revoke?job="));
    tokio::time::sleep(Duration::from_secs(10)).await;
    house.get(job.unwrap()).await.shows("10 sessions ended");
    assert_eq!(house.count().await, 0);
    // A page of a process before this one knows the number of none of its work.
    let reply = house.get("/revoke?job=1").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_long_work_at_a_page_and_the_answer_says_how_far_it_got() {
    let (store, shutdown) = (FaultyStore::in_memory(), Shutdown::new());
    let layer = SessionLayer::new(store.clone()).shutdown(&shutdown);
    let house = House::of(layer);
    for _ in 0..250 {
        house.visitor(None).await;
    }
    store.plan(|call| match call {
        StoreCall::Update => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::None,
    });
    let form = "kind=anonymous&sure=yes";
    let reply = house.ask(Method::POST, "/revoke", &[JSON], form).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let work: Value = serde_json::from_str(&reply.body).unwrap();
    let path = format!("/revoke?job={}", work["job"]);
    assert_eq!(shutdown.finish(Duration::from_secs(600)).await, 0);
    let (status, answer) = house.json(&path).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["ended"], 100);
    let reply = house.get(&path).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    reply.shows("At least 100 sessions ended before this stopped: this process is shutting down.");
    assert_eq!(house.count().await, 150);
}

#[tokio::test]
async fn live_numbers_arrive_by_themselves() {
    let house = House::new();
    house.visitor(None).await;
    let request = Request::get("/ops/console/live").header("x-operator", "olga");
    let request = request.body(Body::empty()).unwrap();
    let response = house.app.clone().oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut body = response.into_body();
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
    let frame = frame.unwrap().unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(
        text.starts_with("data: <div class=\"scope\">") && text.contains("This process"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_so_that_access_is_asked_again() {
    let house = House::new();
    let request = Request::get("/ops/console/live").header("x-operator", "olga");
    let request = request.body(Body::empty()).unwrap();
    let response = house.app.clone().oneshot(request).await.unwrap();
    let began = tokio::time::Instant::now();
    response.into_body().collect().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 300);
}

#[tokio::test]
async fn two_thousand_viewers_see_the_same_numbers_until_the_shutdown() {
    let shutdown = Shutdown::new();
    let layer = SessionLayer::new(MemoryStore::default()).shutdown(&shutdown);
    let app: Router = console(layer.sessions(), by_header);
    let mut viewers = Vec::new();
    for _ in 0..2000 {
        let request = Request::get("/live").header("x-operator", "olga");
        let request = request.body(Body::empty()).unwrap();
        viewers.push(app.clone().oneshot(request).await.unwrap().into_body());
    }
    let mut frames = HashSet::new();
    for viewer in &mut viewers {
        let frame = tokio::time::timeout(Duration::from_secs(30), viewer.frame()).await;
        frames.insert(frame.unwrap().unwrap().unwrap().into_data().unwrap());
    }
    // All of one tick, or of two where this took long.
    assert!(frames.len() <= 2, "{} frames", frames.len());
    shutdown.begin();
    for viewer in &mut viewers {
        let rest = tokio::time::timeout(Duration::from_secs(30), viewer.collect()).await;
        rest.unwrap().unwrap();
    }
}

#[tokio::test]
async fn without_scripts_the_numbers_come_by_reloading() {
    let house = House::new();
    let reply = house.get("").await;
    reply.shows("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>");
}

#[tokio::test]
async fn links_lead_to_where_the_console_is() {
    let layer = SessionLayer::default();
    let ask = async |app: Router, path: &str| {
        let request = Request::get(path).header("x-operator", "olga");
        let response = app
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let sessions = layer.sessions();
    let at_root: Router = console(sessions.clone(), by_header);
    assert!(
        ask(at_root, "/sessions")
            .await
            .contains("href=\"/console.css\"")
    );
    let nested = Router::new().nest(
        "/a",
        Router::new().nest("/b", console(sessions.clone(), by_header)),
    );
    for path in ["/a/b", "/a/b/sessions"] {
        assert!(
            ask(nested.clone(), path)
                .await
                .contains("href=\"/a/b/console.css\""),
            "{path}"
        );
    }
    let behind: Router = Console::new(sessions, by_header).base("/ops/").router();
    assert!(
        ask(behind, "/sessions")
            .await
            .contains("href=\"/ops/console.css\"")
    );
}

#[tokio::test]
async fn loopback_lets_browsers_on_this_machine_in_and_nobody_else() {
    let operator = async |address: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let address: SocketAddr = address.parse().unwrap();
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(ConnectInfo(address));
        loopback().operator(parts).await
    };
    for (address, host) in [
        ("127.0.0.1:9", "localhost:3000"),
        ("[::1]:9", "[::1]"),
        ("127.0.0.1:9", "127.0.0.1:80"),
        ("127.0.0.1:9", "LocalHost:80"),
        // A socket for both versions of IP.
        ("[::ffff:127.0.0.1]:9", "localhost"),
    ] {
        assert_eq!(
            operator(address, &[("host", host)]).await.as_deref(),
            Some("localhost")
        );
    }
    assert_eq!(
        operator("192.0.2.1:9", &[("host", "localhost")]).await,
        None
    );
    assert_eq!(
        operator("127.0.0.1:9", &[("host", "evil.example")]).await,
        None
    );
    assert_eq!(
        operator("127.0.0.1:9", &[("host", "localhost.evil.example")]).await,
        None
    );
    for host in [
        "127.0.0.1.evil.example",
        "localhost:80.evil",
        "local",
        "ö",
        "",
    ] {
        assert_eq!(operator("127.0.0.1:9", &[("host", host)]).await, None);
    }
    assert_eq!(
        operator("[::ffff:192.0.2.1]:9", &[("host", "localhost")]).await,
        None
    );
    assert_eq!(operator("127.0.0.1:9", &[]).await, None);
    for proxy in ["x-forwarded-for", "x-real-ip", "forwarded", "via"] {
        let headers = [("host", "localhost"), (proxy, "192.0.2.1")];
        assert_eq!(operator("127.0.0.1:9", &headers).await, None);
    }
    let (parts, ()) = Request::get("/")
        .header("host", "localhost")
        .body(())
        .unwrap()
        .into_parts();
    assert_eq!(loopback().operator(parts).await, None);
    // As nginx asks, unless it is told otherwise.
    let (mut parts, ()) = Request::get("/")
        .header("host", "127.0.0.1:3000")
        .version(http::Version::HTTP_10)
        .body(())
        .unwrap()
        .into_parts();
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    parts.extensions.insert(ConnectInfo(address));
    assert_eq!(loopback().operator(parts).await, None);
}
