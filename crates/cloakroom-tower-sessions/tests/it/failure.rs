//! What is answered where the session cannot be loaded or kept.

use axum::{Router, routing::get};
use cloakroom::{
    ErrorKind, SessionLayer, StoreCall,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore},
};
use cloakroom_tower_sessions::TowerSessionsLayer;
use http::{StatusCode, header};

use crate::support::{Browser, Views, Visitor};

const DOWN: Fault = Fault::Refuse(StoreErrorKind::Unavailable);

async fn shopper() -> Visitor {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    visitor
}

/// As AuthManager and MessagesManager do.
async fn read(views: Views) -> StatusCode {
    match views.theirs.get::<u32>("cart").await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[tokio::test]
async fn b5_a_store_that_is_down_is_a_503_though_the_library_answers_500() {
    let visitor = shopper().await;
    visitor.store.plan_for(StoreCall::Load, DOWN);
    let reply = visitor.visit(read).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.headers[header::RETRY_AFTER], "5");
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    visitor.store.heal();
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_handler_that_does_without_the_session_is_believed() {
    let visitor = shopper().await;
    visitor.store.plan_for(StoreCall::Load, DOWN);
    let reply = visitor.visit(async |views: Views| {
        assert!(views.theirs.get::<u32>("cart").await.is_err());
        "cached page"
    });
    assert_eq!(reply.await.body, "cached page");
    // Nor is one bothered that does not use it.
    let reply = visitor.visit(async |_: Views| "static").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "static"));
}

#[tokio::test]
async fn a_500_of_the_handlers_own_stays() {
    let visitor = shopper().await;
    let reply = visitor.visit(async |views: Views| {
        views.theirs.get::<u32>("cart").await.unwrap();
        (StatusCode::INTERNAL_SERVER_ERROR, "a bug")
    });
    let reply = reply.await;
    assert_eq!(
        (reply.status, &*reply.body),
        (StatusCode::INTERNAL_SERVER_ERROR, "a bug")
    );
}

#[tokio::test]
async fn a_change_that_is_not_stored_is_a_503() {
    let visitor = shopper().await;
    visitor.store.plan_for(StoreCall::Update, DOWN);
    let reply = visitor.visit(async |views: Views| views.theirs.insert("more", 1).await.unwrap());
    assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
    visitor.store.heal();
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_log_out_that_is_not_stored_is_a_503_that_removes_the_cookie() {
    let visitor = shopper().await;
    visitor.store.plan_for(StoreCall::Update, DOWN);
    let reply = visitor
        .visit(async |views: Views| views.theirs.flush().await.unwrap())
        .await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.set_cookie().contains("Max-Age=0"));
}

#[tokio::test]
async fn too_much_data_is_a_500_and_nothing_of_it_is_kept() {
    let visitor = shopper().await;
    let reply = visitor.visit(async |views: Views| {
        views.theirs.remove_value("cart").await.unwrap();
        views.theirs.insert("small", 1).await.unwrap();
        views
            .theirs
            .insert("large", "x".repeat(100_000))
            .await
            .unwrap();
        views.theirs.insert("tiny", 1).await.unwrap();
    });
    assert_eq!(reply.await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_cycle_with_too_much_data_is_a_500_and_the_id_stays() {
    let visitor = shopper().await;
    let before = visitor.cookies.session();
    let reply = visitor.visit(async |views: Views| {
        views.theirs.cycle_id().await.unwrap();
        let large = "x".repeat(100_000);
        views.theirs.insert("large", large).await.unwrap();
    });
    assert_eq!(reply.await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(visitor.cookies.session(), before);
    assert_eq!(visitor.seen().await, "- cart");
    // Without it, a second save cycles.
    let reply = visitor.visit(async |views: Views| {
        views.theirs.cycle_id().await.unwrap();
        let large = "x".repeat(100_000);
        views.theirs.insert("large", large).await.unwrap();
        assert!(views.theirs.save().await.is_err());
        views.theirs.remove_value("large").await.unwrap();
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_ne!(visitor.cookies.session(), before);
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_handler_that_saves_gets_the_result() {
    let visitor = shopper().await;
    visitor.store.plan_for(StoreCall::Update, DOWN);
    let store = visitor.store.clone();
    let reply = visitor.visit(async move |views: Views| {
        views.theirs.insert("more", 1).await.unwrap();
        assert!(views.theirs.save().await.is_err());
        store.heal();
        // What was not saved stays pending.
        views.theirs.save().await.unwrap();
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(visitor.seen().await, "- cart,more");
}

#[tokio::test]
async fn a_change_to_a_session_that_ended_meanwhile_is_dropped() {
    let visitor = shopper().await;
    let other = visitor.copy();
    let reply = visitor.visit(async move |views: Views| {
        views.theirs.insert("more", 1).await.unwrap();
        other
            .visit(async |views: Views| views.theirs.flush().await.unwrap())
            .await;
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn without_a_session_layer_each_request_is_a_500() {
    let app = Router::new()
        .route("/", get(async || "unreachable"))
        .layer(TowerSessionsLayer::new());
    assert_eq!(
        Browser::new(app).get("/").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn a_record_that_does_not_decode_is_a_500_that_removes_the_cookie() {
    let store = FaultyStore::in_memory();
    let visitor = Visitor::of(SessionLayer::new(store.clone()), store);
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    visitor
        .store
        .plan_for(StoreCall::Load, Fault::Refuse(StoreErrorKind::Corrupt));
    let reply = visitor.visit(async |views: Views| {
        let error = views.handle.load().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        read(views).await
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reply.set_cookie().contains("Max-Age=0"));
}

#[tokio::test]
async fn a_save_of_a_session_that_ended_meanwhile_is_an_error() {
    let visitor = shopper().await;
    let other = visitor.copy();
    let reply = visitor.visit(async move |views: Views| {
        views.theirs.insert("more", 1).await.unwrap();
        other
            .visit(async |views: Views| views.theirs.flush().await.unwrap())
            .await;
        assert!(views.theirs.save().await.is_err());
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert_eq!(visitor.seen().await, "none");
    assert_eq!(crate::support::count(&visitor.sessions).await, 0);
}
