//! Rule U3: pages for users alone, and for those who have lately proven who they are.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use cloakroom::{
    CurrentUser, Error, ErrorKind, RequireUser, Session, SessionLayer, StoreCall,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore, FixedClock},
};
use http::{Method, Request, StatusCode};

use crate::support::{Browser, Client, Reply};

const MINUTE: Duration = Duration::from_secs(60);

async fn log_in(session: Session) -> Result<(), Error> {
    session.log_in("ann")
}

async fn confirm(session: Session) -> Result<(), Error> {
    session.confirm()
}

fn app(layer: SessionLayer) -> Router {
    let admin = Router::new()
        .route("/users", get(async || "the users"))
        .route_layer(RequireUser::new());
    let payments = Router::new()
        .route("/pay", get(async || "paid").post(async || "paid"))
        .route_layer(RequireUser::new().fresh(5 * MINUTE));
    Router::new()
        .route(
            "/orders",
            get(async |CurrentUser(user): CurrentUser| user).post(async || "ordered"),
        )
        .route_layer(RequireUser::new())
        .merge(payments)
        .nest("/admin", admin)
        .route("/login", post(log_in).get(log_in))
        .route("/confirm", get(confirm))
        .layer(layer)
}

fn layer() -> SessionLayer {
    SessionLayer::default().log_in_page("/login")
}

async fn ask(browser: &Browser, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(cookie) = browser.cookie("__Host-id") {
        request = request.header("cookie", format!("__Host-id={cookie}"));
    }
    browser.send(request.body(Body::empty()).unwrap()).await
}

async fn navigate(browser: &Browser, path: &str) -> Reply {
    ask(
        browser,
        Method::GET,
        path,
        &[("sec-fetch-mode", "navigate")],
    )
    .await
}

fn location(reply: &Reply) -> (StatusCode, Vec<String>) {
    (reply.status, reply.all("location"))
}

#[tokio::test]
async fn u3_a_page_leads_to_the_log_in_page_and_back() {
    let browser = Browser::new(app(layer()));
    let reply = navigate(&browser, "/orders?page=2&q=%2F").await;
    let to = "/login?next=%2Forders%3Fpage%3D2%26q%3D%252F";
    assert_eq!(
        location(&reply),
        (StatusCode::SEE_OTHER, vec![to.to_owned()])
    );
    assert_eq!(reply.all("vary"), ["Sec-Fetch-Mode, Accept, Cookie"]);
    assert_eq!(reply.all("cache-control"), ["no-store"]);
    assert!(reply.set_cookies().is_empty());
}

#[tokio::test]
async fn a_page_of_a_nested_router_leads_back_to_where_it_is_for_the_visitor() {
    let browser = Browser::new(app(layer()));
    let reply = navigate(&browser, "/admin/users?page=2").await;
    let to = "/login?next=%2Fadmin%2Fusers%3Fpage%3D2";
    assert_eq!(
        location(&reply),
        (StatusCode::SEE_OTHER, vec![to.to_owned()])
    );
}

#[tokio::test]
async fn u3_only_a_get_that_navigates_is_a_page() {
    let browser = Browser::new(app(layer()));
    let pages: [(Method, &[(&str, &str)]); 4] = [
        (
            Method::GET,
            &[("sec-fetch-mode", "navigate"), ("accept", "*/*")],
        ),
        (Method::HEAD, &[("sec-fetch-mode", "navigate")]),
        (
            Method::GET,
            &[("accept", "text/html,application/xhtml+xml;q=0.9")],
        ),
        (Method::GET, &[("accept", "application/xml, Text/HTML")]),
    ];
    for (method, headers) in pages {
        let reply = ask(&browser, method, "/orders", headers).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{headers:?}");
    }
    let others: [(Method, &[(&str, &str)]); 6] = [
        (
            Method::POST,
            &[("sec-fetch-mode", "navigate"), ("accept", "text/html")],
        ),
        (
            Method::GET,
            &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
        ),
        (Method::GET, &[("sec-fetch-mode", "no-cors")]),
        (Method::GET, &[("accept", "application/json")]),
        (Method::GET, &[("accept", "*/*")]),
        (Method::GET, &[]),
    ];
    for (method, headers) in others {
        let reply = ask(&browser, method, "/orders", headers).await;
        assert_eq!(
            location(&reply),
            (StatusCode::UNAUTHORIZED, vec![]),
            "{headers:?}"
        );
        assert!(reply.headers.contains_key("www-authenticate"));
        assert_eq!(reply.all("vary"), ["Sec-Fetch-Mode, Accept, Cookie"]);
    }
}

#[tokio::test]
async fn u3_a_media_range_that_only_resembles_html_asks_for_no_page() {
    let browser = Browser::new(app(layer()));
    for (accept, status) in [
        ("text/html;q=0", StatusCode::UNAUTHORIZED),
        ("text/html; Q=0.000, */*", StatusCode::UNAUTHORIZED),
        ("text/htmlx", StatusCode::UNAUTHORIZED),
        (
            "application/json;profile=text/html",
            StatusCode::UNAUTHORIZED,
        ),
        ("text/html;q=0.001", StatusCode::SEE_OTHER),
        ("text/html;level=1;q=high", StatusCode::SEE_OTHER),
        ("\u{e9}, text/html", StatusCode::SEE_OTHER),
    ] {
        let reply = ask(&browser, Method::GET, "/orders", &[("accept", accept)]).await;
        assert_eq!(reply.status, status, "{accept}");
    }
}

#[tokio::test]
async fn u3_the_path_goes_before_the_fragment_of_the_log_in_page() {
    let layer = SessionLayer::default().log_in_page("/login?by=mail#form");
    let browser = Browser::new(app(layer));
    assert_eq!(
        navigate(&browser, "/orders").await.all("location"),
        ["/login?by=mail&next=%2Forders#form"]
    );
}

#[tokio::test]
async fn a_user_gets_the_page_and_a_path_that_does_not_exist_is_404() {
    let browser = Browser::new(app(layer()));
    assert_eq!(
        navigate(&browser, "/nowhere").await.status,
        StatusCode::NOT_FOUND
    );
    browser.get("/login").await;
    let reply = navigate(&browser, "/orders").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "ann"));
    assert_eq!(navigate(&browser, "/admin/users").await.body, "the users");
    assert_eq!(reply.all("vary"), ["Cookie"]);
}

#[tokio::test]
async fn u3_without_a_log_in_page_everything_is_401() {
    let browser = Browser::new(app(SessionLayer::default()));
    let reply = navigate(&browser, "/orders").await;
    assert_eq!(location(&reply), (StatusCode::UNAUTHORIZED, vec![]));
}

#[tokio::test]
async fn some_routes_may_have_another_log_in_page() {
    let staff = RequireUser::new().log_in_page("/staff/enter?from=shop");
    let app = Router::new()
        .route("/staff", get(async || "staff"))
        .route_layer(staff)
        .layer(layer());
    let reply = navigate(&Browser::new(app), "/staff").await;
    assert_eq!(
        reply.all("location"),
        ["/staff/enter?from=shop&next=%2Fstaff"]
    );
}

#[tokio::test]
async fn a_path_that_the_log_in_page_would_refuse_is_left_out() {
    let browser = Browser::new(app(layer()));
    let long = format!("/orders?q={}", "a".repeat(3000));
    assert_eq!(navigate(&browser, &long).await.all("location"), ["/login"]);
}

#[tokio::test]
async fn a_store_that_fails_is_503_and_a_missing_layer_500() {
    let store = FaultyStore::in_memory();
    let browser = Browser::new(app(SessionLayer::new(store.clone()).log_in_page("/login")));
    browser.get("/login").await;
    store.plan_for(StoreCall::Load, Fault::Fail(StoreErrorKind::Unavailable));
    let reply = navigate(&browser, "/orders").await;
    assert_eq!(location(&reply), (StatusCode::SERVICE_UNAVAILABLE, vec![]));
    let app = Router::new()
        .route("/orders", get(async || ""))
        .route_layer(RequireUser::new());
    let reply = navigate(&Browser::new(app), "/orders").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reply.body.contains("SessionLayer"));
}

#[tokio::test]
async fn u3_a_log_in_or_a_confirmation_is_fresh_for_so_long() {
    let clock = FixedClock::default();
    let browser = Browser::new(app(layer().clock(clock.clone())));
    let status = async || navigate(&browser, "/pay").await.status;
    assert_eq!(status().await, StatusCode::SEE_OTHER);
    browser.get("/login").await;
    clock.advance(5 * MINUTE);
    assert_eq!(status().await, StatusCode::OK);
    clock.advance(Duration::from_millis(1));
    assert_eq!(status().await, StatusCode::SEE_OTHER);
    assert_eq!(navigate(&browser, "/orders").await.status, StatusCode::OK);
    let before = browser.cookie("__Host-id");
    browser.get("/confirm").await;
    assert_ne!(browser.cookie("__Host-id"), before);
    clock.advance(5 * MINUTE);
    assert_eq!(status().await, StatusCode::OK);
    clock.advance(MINUTE);
    assert_eq!(status().await, StatusCode::SEE_OTHER);
    browser.get("/login").await;
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test]
async fn u3_a_cookie_copied_before_a_confirmation_is_not_confirmed() {
    let clock = FixedClock::default();
    let browser = Browser::new(app(layer().clock(clock.clone())));
    browser.get("/login").await;
    clock.advance(10 * MINUTE);
    let copy = browser.twin();
    browser.get("/confirm").await;
    assert_eq!(navigate(&browser, "/pay").await.status, StatusCode::OK);
    assert_eq!(navigate(&copy, "/pay").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn u3_a_page_redirects_to_the_confirmation_and_an_api_gets_the_challenge() {
    let clock = FixedClock::default();
    let layer = layer()
        .confirm_page("/confirm?by=password")
        .clock(clock.clone());
    let browser = Browser::new(app(layer));
    assert_eq!(
        navigate(&browser, "/pay").await.all("location"),
        ["/login?next=%2Fpay"]
    );
    browser.get("/login").await;
    clock.advance(6 * MINUTE);
    let reply = navigate(&browser, "/pay").await;
    assert_eq!(reply.all("location"), ["/confirm?by=password&next=%2Fpay"]);
    let reply = ask(&browser, Method::POST, "/pay", &[]).await;
    assert_eq!(location(&reply), (StatusCode::UNAUTHORIZED, vec![]));
    assert_eq!(
        reply.all("www-authenticate"),
        [
            "Cookie realm=\"__Host-id\", error=\"insufficient_user_authentication\", \
          error_description=\"A more recent authentication is required\", max_age=\"300\""
        ]
    );
}

#[tokio::test]
async fn a_confirmation_keeps_user_data_and_deadline_and_is_seen_at_once() {
    let clock = FixedClock::default();
    let visitor = Client::new(SessionLayer::default().clock(clock.clone()));
    let none = visitor.visit(async |session| session.confirm().unwrap_err());
    assert_eq!(none.await.kind(), ErrorKind::NoUser);
    let logged_in_at = visitor
        .visit(async |session| {
            session.insert("n", 1).unwrap();
            session.log_in("ann").unwrap();
            assert_eq!(session.confirmed_at(), session.authenticated_at());
            // The log-in counts.
            session.confirm().unwrap();
            session.authenticated_at()
        })
        .await;
    clock.advance(MINUTE);
    let confirmed_at = visitor
        .visit(async |session| {
            assert_eq!(session.confirmed_at(), logged_in_at);
            session.confirm().unwrap();
            assert_eq!(session.confirmed_at(), Some(logged_in_at.unwrap() + MINUTE));
            // A save gives the holder of the old token nothing.
            session.insert("n", 2).unwrap();
            session.save().await.unwrap();
            session.confirmed_at()
        })
        .await;
    clock.advance(MINUTE);
    visitor
        .visit(async |session| {
            assert_eq!(session.user().as_deref(), Some("ann"));
            assert_eq!(session.get::<u32>("n").unwrap(), Some(2));
            assert_eq!(session.authenticated_at(), logged_in_at);
            assert_eq!(session.confirmed_at(), confirmed_at);
            session.cycle_id().unwrap();
        })
        .await;
    let after = visitor.visit(async |session| session.confirmed_at()).await;
    assert_eq!(after, confirmed_at);
}

#[test]
#[should_panic(expected = "begins with one `/`")]
fn a_log_in_page_of_another_host_is_a_mistake() {
    let _ = SessionLayer::default().log_in_page("https://login.example/");
}
