//! Rules U7 and U8: what is left in the browser, and how long a session has left.

use std::time::{Duration, SystemTime};

use axum::{
    Extension, Router,
    extract::{Path, Request},
    http::HeaderName,
    middleware::{self, Next},
    response::IntoResponse,
    routing::get,
};
use cloakroom::{
    ClearSiteData, Clock as _, CurrentUser, Error, Session, SessionCookie, SessionHandle,
    SessionLayer, StoreCall, TimeLeft,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore, FixedClock},
};
use http::{StatusCode, header};

use crate::support::{Browser, Reply};

const MINUTE: Duration = Duration::from_secs(60);

async fn begin_again(session: Session) -> Result<(), Error> {
    session.destroy();
    session.insert("n", 2)
}

async fn log_out_keeping(session: Session) -> Result<String, Error> {
    session.destroy_except(["theme", "cart", "none"])?;
    Ok(format!("{:?} {:?}", session.user(), session.keys()))
}

async fn public(_: Session) -> impl IntoResponse {
    [(header::CACHE_CONTROL, "public, max-age=60")]
}

async fn stored_nowhere(_: Session) -> impl IntoResponse {
    [(header::CACHE_CONTROL, "no-store, no-transform")]
}

async fn with_cookie(session: Session) -> impl IntoResponse {
    session.destroy();
    [(header::SET_COOKIE, "theme=dark")]
}

fn app(layer: SessionLayer) -> Router {
    let log_in = async |session: Session| {
        session.insert("theme", "dark")?;
        session.insert("cart", 5)?;
        session.insert("secret", 1)?;
        session.log_in("ann")
    };
    Router::new()
        .route("/", get(async |_: Session| ()))
        .route("/unused", get(async || ()))
        .route("/n", get(async |session: Session| session.insert("n", 1)))
        .route("/login", get(log_in))
        .route("/name", get(async |CurrentUser(user): CurrentUser| user))
        .route("/logout", get(async |session: Session| session.destroy()))
        .route("/logout/again", get(begin_again))
        .route("/logout/cookie", get(with_cookie))
        .route("/logout/keeping", get(log_out_keeping))
        .route("/public", get(public))
        .route("/stored-nowhere", get(stored_nowhere))
        .route("/left", get(async |left: TimeLeft| left))
        .layer(layer)
}

fn cleared(reply: &Reply) -> Vec<String> {
    reply.all(HeaderName::from_static("clear-site-data"))
}

async fn logged_in(layer: SessionLayer) -> Browser {
    let browser = Browser::new(app(layer));
    browser.get("/login").await;
    browser
}

#[tokio::test]
async fn u7_a_log_out_sends_clear_site_data_as_the_layer_says() {
    let layer = SessionLayer::default().clear_site_data([
        ClearSiteData::Cache,
        ClearSiteData::Cookies,
        ClearSiteData::Storage,
        ClearSiteData::ExecutionContexts,
    ]);
    let browser = logged_in(layer.clone()).await;
    for path in ["/", "/n", "/name", "/unused"] {
        assert!(cleared(&browser.get(path).await).is_empty());
    }
    let all = r#""cache", "cookies", "storage", "executionContexts""#;
    assert_eq!(cleared(&browser.get("/logout").await), [all]);
    // Who has no session leaves nothing.
    assert!(cleared(&browser.get("/").await).is_empty());
    // Never beside a cookie that is to stay.
    let without = r#""cache", "storage", "executionContexts""#;
    for path in ["/logout/again", "/logout/cookie", "/logout/keeping"] {
        let reply = logged_in(layer.clone()).await.get(path).await;
        assert_eq!(cleared(&reply), [without], "{path}");
    }
}

#[tokio::test]
async fn u7_by_default_a_log_out_clears_nothing_but_the_cookie() {
    let reply = logged_in(SessionLayer::default())
        .await
        .get("/logout")
        .await;
    assert!(cleared(&reply).is_empty());
    assert_eq!(reply.set_cookies().len(), 1);
    let cookies = SessionLayer::default().clear_site_data([ClearSiteData::Cookies]);
    let reply = logged_in(cookies).await.get("/logout/again").await;
    assert!(cleared(&reply).is_empty());
}

#[tokio::test]
async fn u7_a_log_out_that_fails_still_sends_clear_site_data() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone()).clear_site_data([ClearSiteData::Storage]);
    let browser = logged_in(layer).await;
    store.plan_for(StoreCall::Update, Fault::Fail(StoreErrorKind::Unavailable));
    assert!(cleared(&browser.get("/n").await).is_empty());
    let reply = browser.get("/logout").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cleared(&reply), [r#""storage""#]);
}

#[tokio::test]
async fn u7_a_log_out_within_another_layer_spares_the_cookie_of_that_layer() {
    let all = [
        ClearSiteData::Cookies,
        ClearSiteData::Cache,
        ClearSiteData::ExecutionContexts,
    ];
    let inner = SessionLayer::default().clear_site_data(all);
    let outer = async |Path(changes): Path<bool>, Extension(outer): Extension<Session>| {
        changes.then(|| outer.insert("n", 1)).transpose().map(drop)
    };
    let begin = async |session: Session| session.insert("n", 1);
    let app = Router::new()
        .route("/n", get(begin))
        .route(
            "/logout/{changes}",
            get(async move |session: Session, path, extension| {
                session.destroy();
                outer(path, extension).await
            }),
        )
        .layer(inner)
        // The outer layer's session, which the inner one hides.
        .layer(middleware::from_fn(
            async |session: Session, mut request: Request, next: Next| {
                request.extensions_mut().insert(session);
                next.run(request).await
            },
        ))
        .layer(SessionLayer::default().cookie(SessionCookie::new("outer")));
    for (changes, expected) in [
        (true, r#""cache", "executionContexts""#),
        (false, r#""cookies", "cache", "executionContexts""#),
    ] {
        let browser = Browser::new(app.clone());
        browser.get("/n").await;
        let reply = browser.get(&format!("/logout/{changes}")).await;
        assert_eq!(cleared(&reply), [expected]);
        assert_eq!(browser.cookie("__Host-outer").is_some(), changes);
        assert_eq!(browser.cookie("__Host-id"), None);
    }
}

#[tokio::test]
async fn u7_no_cdn_stores_the_page_of_a_user_where_the_layer_says_so() {
    let page = async |_: Session| {
        [
            ("cdn-cache-control", "max-age=60"),
            ("cloudflare-cdn-cache-control", "max-age=60"),
            ("surrogate-control", "max-age=60"),
        ]
    };
    let app = Router::new()
        .route("/", get(page))
        .route("/n", get(async |session: Session| session.insert("n", 1)))
        .route(
            "/login",
            get(async |session: Session| session.log_in("ann")),
        )
        .layer(SessionLayer::default().no_store_for_users(true));
    let browser = Browser::new(app);
    browser.get("/n").await;
    let reply = browser.get("/").await;
    assert!(reply.headers.contains_key("cdn-cache-control"));
    browser.get("/login").await;
    let reply = browser.get("/").await;
    assert_eq!(reply.all(header::CACHE_CONTROL), ["no-store"]);
    for name in [
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "surrogate-control",
    ] {
        assert!(!reply.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn u7_pages_of_users_are_stored_nowhere_where_the_layer_says_so() {
    let browser = Browser::new(app(SessionLayer::default().no_store_for_users(true)));
    let cached = async |path: &str| browser.get(path).await.all(header::CACHE_CONTROL);
    browser.get("/n").await;
    assert_eq!(cached("/").await, ["private"]);
    assert_eq!(cached("/public").await, ["public, max-age=60"]);
    browser.get("/login").await;
    assert_eq!(cached("/").await, ["no-store"]);
    assert_eq!(cached("/name").await, ["no-store"]);
    assert_eq!(cached("/public").await, ["no-store"]);
    assert_eq!(cached("/stored-nowhere").await, ["no-store, no-transform"]);
    assert_eq!(cached("/unused").await, Vec::<String>::new());
    let browser = logged_in(SessionLayer::default()).await;
    assert_eq!(browser.get("/name").await.all("cache-control"), ["private"]);
}

#[tokio::test]
async fn u7_a_log_out_may_keep_chosen_values_in_an_anonymous_session() {
    let browser = logged_in(SessionLayer::default()).await;
    let (before, copy) = (browser.cookie("__Host-id"), browser.twin());
    let reply = browser.get("/logout/keeping").await;
    assert_eq!(reply.body, r#"None ["cart", "theme"]"#);
    let after = browser.cookie("__Host-id");
    assert!(after.is_some() && after != before);
    assert_eq!(browser.get("/name").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(copy.get("/name").await.status, StatusCode::UNAUTHORIZED);
    // Without any of them there is no session to keep.
    let browser = Browser::new(app(SessionLayer::default()));
    browser.get("/n").await;
    browser.get("/logout/keeping").await;
    assert_eq!(browser.cookie("__Host-id"), None);
}

#[tokio::test]
async fn u8_reading_the_time_left_does_not_keep_the_session_alive() {
    let clock = FixedClock::default();
    let layer = SessionLayer::default()
        .idle_timeout(10 * MINUTE)
        .absolute_timeout(15 * MINUTE)
        .clock(clock.clone());
    let browser = Browser::new(app(layer));
    let left = async || browser.get("/left").await.body;
    assert_eq!(left().await, r#"{"logged_in":false,"seconds_left":0}"#);
    browser.get("/n").await;
    assert_eq!(left().await, r#"{"logged_in":false,"seconds_left":600}"#);
    browser.get("/login").await;
    clock.advance(9 * MINUTE - Duration::from_millis(1));
    let reply = browser.get("/left").await;
    assert_eq!(reply.body, r#"{"logged_in":true,"seconds_left":60}"#);
    assert_eq!(reply.all("content-type"), ["application/json"]);
    assert_eq!(reply.all("cache-control"), ["no-store"]);
    assert_eq!(reply.all("vary"), ["Cookie"]);
    // Asking has moved nothing; a page does, up to the absolute timeout.
    browser.get("/").await;
    assert_eq!(left().await, r#"{"logged_in":true,"seconds_left":360}"#);
    clock.advance(7 * MINUTE);
    assert_eq!(left().await, r#"{"logged_in":false,"seconds_left":0}"#);
    let never = SessionLayer::default()
        .idle_timeout(None)
        .absolute_timeout(None);
    let reply = logged_in(never).await.get("/left").await;
    assert_eq!(reply.body, r#"{"logged_in":true,"seconds_left":null}"#);
}

#[tokio::test]
async fn expires_at_stays_the_same_for_a_peek_and_is_new_after_a_load() {
    let clock = FixedClock::default();
    let peek = async |handle: SessionHandle| {
        let session = handle.peek().await?.expect("a session");
        let before = session.expires_at();
        // Only such a change moves it.
        session.insert("n", 2)?;
        Ok::<_, Error>(format!(
            "{:?}",
            [before, session.expires_at()].map(since_start)
        ))
    };
    let load = async |session: Session| format!("{:?}", since_start(session.expires_at()));
    let app = Router::new()
        .route("/n", get(async |session: Session| session.insert("n", 1)))
        .route("/peek", get(peek))
        .route("/load", get(load))
        .layer(
            SessionLayer::default()
                .idle_timeout(10 * MINUTE)
                .clock(clock.clone()),
        );
    let browser = Browser::new(app);
    browser.get("/n").await;
    clock.advance(5 * MINUTE);
    assert_eq!(browser.get("/peek").await.body, "[600s, 900s]");
    assert_eq!(browser.get("/load").await.body, "900s");
}

fn since_start(at: Option<SystemTime>) -> Duration {
    let start = SystemTime::from(FixedClock::default().now());
    at.unwrap().duration_since(start).unwrap()
}
