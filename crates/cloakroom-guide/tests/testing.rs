//! The program of the page "Testing".

use std::time::Duration;

use axum::{Router, body::Body, http::StatusCode, routing::get};
use cloakroom::{
    CurrentUser, MemoryStore, SessionLayer, StoreCall,
    store::StoreErrorKind,
    testing::{Conformance, Fault, FaultyStore, FixedClock, Ticket},
};
use tower::ServiceExt;

async fn account(CurrentUser(name): CurrentUser) -> String {
    name
}

/// What the program serves, with any layer.
fn app(layer: SessionLayer) -> Router {
    Router::new().route("/account", get(account)).layer(layer)
}

async fn status(app: &Router, ticket: &Ticket) -> StatusCode {
    let request = ticket.request().uri("/account");
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_store_that_is_down_logs_nobody_out() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone());
    let app = app(layer.clone());
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let ann = ann.await.unwrap();
    assert_eq!(status(&app, &ann).await, StatusCode::OK);

    let fault = Fault::Fail(StoreErrorKind::Unavailable);
    store.plan_for(StoreCall::Load, fault);
    assert_eq!(status(&app, &ann).await, StatusCode::SERVICE_UNAVAILABLE);
    store.heal();
    assert_eq!(status(&app, &ann).await, StatusCode::OK);
}

#[tokio::test]
async fn a_session_expires_after_an_hour_without_a_request() {
    let clock = FixedClock::default();
    let layer = SessionLayer::default().clock(clock.clone());
    let app = app(layer.clone());
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let ann = ann.await.unwrap();

    clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(status(&app, &ann).await, StatusCode::OK);
    clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(status(&app, &ann).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn my_store_keeps_the_contract() {
    Conformance::new(async || MemoryStore::default())
        .run()
        .await;
}
