//! The program of the page "JSON and apps", with curl, and with keys that change.

mod transcript;

use axum::{
    body::Body,
    http::{Request, Response},
};
use cloakroom::{MemoryStore, testing::FixedClock};
use tower::ServiceExt as _;

use super::*;

const OLD: &str = "00112233445566778899aabbccddeeff";
const NEW: &str = "ffeeddccbbaa99887766554433221100";

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let layer = SessionLayer::default()
        .clock(FixedClock::default())
        .token_keys(token_keys(OLD).unwrap());
    transcript::follow(
        include_str!("../../../docs/guide/json-and-apps.md"),
        app(layer),
    )
    .await;
}

async fn me(app: &Router, authorization: &HeaderValue) -> Response<Body> {
    let request = Request::get("/api/me").header(header::AUTHORIZATION, authorization);
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_token_of_the_former_key_is_replaced_and_no_node_refuses_it_during_a_rotation() {
    let store = MemoryStore::default();
    let node =
        |keys: &str| app(SessionLayer::new(store.clone()).token_keys(token_keys(keys).unwrap()));
    let log_in = Request::post("/app/login")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"name":"ann","password":"correct horse"}"#));
    let answer = node(OLD).oneshot(log_in.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let old = answer.headers()[header::AUTHORIZATION].clone();
    // First every node accepts the new key, then they use it.
    let (before, after) = (node(&format!("{OLD},{NEW}")), node(&format!("{NEW},{OLD}")));
    let answer = me(&before, &old).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key(header::AUTHORIZATION));
    let answer = me(&after, &old).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let new = answer.headers()[header::AUTHORIZATION].clone();
    assert_ne!(new, old);
    for app in [before, after, node(NEW)] {
        assert_eq!(me(&app, &new).await.status(), StatusCode::OK);
    }
    let refused = me(&node(NEW), &old).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_short_key_is_refused_and_not_shown() {
    for keys in ["", "short", &format!("{OLD},short")] {
        let refused = token_keys(keys).unwrap_err();
        assert!(!refused.to_string().contains("short,"), "{refused}");
    }
}
