//! What tower-sessions' layer does, and what takes its place on cloakroom.

use std::time::Duration;

use axum::{Router, routing::get};
use cloakroom::{SessionLayer, testing::FaultyStore};
use cloakroom_tower_sessions::TowerSessionsLayer;
use http::StatusCode;
use tower_cookies::{Cookie, CookieManagerLayer, Cookies};
use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer};

use crate::support::{Browser, Views, Visitor, on_cloakroom};

fn routes() -> Router {
    let cookies = async |session: Session, cookies: Cookies| {
        session.insert("cart", 1).await.unwrap();
        cookies.add(Cookie::new("language", "en"));
        format!("{:?}", cookies.get("id").map(|cookie| cookie.value().len()))
    };
    let read = async |session: Session| format!("{:?}", session.get_value("cart").await.unwrap());
    Router::new()
        .route(
            "/add",
            get(async |session: Session| session.insert("cart", 1).await.unwrap()),
        )
        .route("/read", get(read))
        .route("/cookies", get(cookies))
}

fn on_tower_sessions(expiry: Expiry) -> Browser {
    let layer = SessionManagerLayer::new(MemoryStore::default()).with_expiry(expiry);
    Browser::new(routes().layer(layer))
}

#[tokio::test]
async fn the_requests_cookies_need_a_layer_of_their_own() {
    let browser = on_tower_sessions(Expiry::OnSessionEnd);
    assert_eq!(browser.get("/cookies").await.set_cookies().len(), 2);
    assert_eq!(browser.page("/cookies").await, "Some(22)");
    let without = on_cloakroom(routes()).browser;
    assert_eq!(
        without.get("/cookies").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    // Inside or outside of cloakroom's layer.
    let inside = on_cloakroom(routes().layer(CookieManagerLayer::new())).browser;
    let outside = routes()
        .layer(TowerSessionsLayer::new())
        .layer(SessionLayer::default())
        .layer(CookieManagerLayer::new());
    for browser in [inside, Browser::new(outside)] {
        let reply = browser.get("/cookies").await;
        assert_eq!(reply.set_cookies().len(), 2, "{reply:?}");
        assert_eq!(browser.cookies.get("language").as_deref(), Some("en"));
        assert_eq!(browser.page("/read").await, "Some(Number(1))");
    }
}

#[tokio::test]
async fn a_cookie_that_opens_nothing_stays_until_a_session_begins() {
    let browser = on_tower_sessions(Expiry::OnSessionEnd);
    let unknown = tower_sessions::session::Id::default().to_string();
    browser.cookies.set("id", &unknown);
    assert!(
        browser
            .get("/read")
            .await
            .set_cookie()
            .contains("Max-Age=0")
    );

    let fixture = on_cloakroom(routes());
    let browser = &fixture.browser;
    browser.get("/add").await;
    let gone = browser.cookies.session().unwrap();
    fixture.sessions.revoke_all(|_| {}).await.unwrap();
    for value in [&*gone, "malformed"] {
        browser.cookies.set("__Host-id", value);
        assert!(browser.get("/read").await.set_cookies().is_empty());
        browser.get("/add").await;
        assert_ne!(browser.cookies.session().unwrap(), value);
    }
}

/// The `Max-Age` of a new session's cookie.
fn max_age(cookie: &str) -> Option<&str> {
    let (_, age) = cookie.split_once("Max-Age=")?;
    age.split(';').next()
}

#[tokio::test]
async fn the_layers_expiry_is_an_idle_timeout_and_persistence() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    let forever = || SessionLayer::default().absolute_timeout(None);
    let inactivity = Expiry::OnInactivity(WEEK.try_into().unwrap());
    for (theirs, ours, expected) in [
        (
            inactivity,
            forever().idle_timeout(WEEK).persistent(true),
            Some("604800"),
        ),
        (Expiry::OnSessionEnd, forever().idle_timeout(2 * WEEK), None),
    ] {
        let reply = on_tower_sessions(theirs).get("/add").await;
        assert_eq!(max_age(reply.set_cookie()), expected);
        let app = routes().layer(TowerSessionsLayer::new()).layer(ours);
        let reply = Browser::new(app).get("/add").await;
        assert_eq!(max_age(reply.set_cookie()), expected);
    }
}

#[tokio::test]
async fn where_a_session_would_be_always_saved_a_touch_now_and_then_is_enough() {
    let (clock, store) = (
        cloakroom::testing::FixedClock::default(),
        FaultyStore::in_memory(),
    );
    let layer = SessionLayer::new(store.clone()).clock(clock.clone());
    let visitor = Visitor::of(layer.idle_timeout(Duration::from_secs(100 * 60)), store);
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    let _ = visitor.store.calls();
    for _ in 0..20 {
        clock.advance(Duration::from_secs(60));
        visitor
            .visit(async |views: Views| drop(views.theirs.get_value("cart").await.unwrap()))
            .await;
    }
    let calls = visitor.store.calls();
    let touches = calls
        .iter()
        .filter(|call| **call == cloakroom::StoreCall::Touch);
    assert_eq!((touches.count(), calls.len()), (2, 22), "{calls:?}");
}
