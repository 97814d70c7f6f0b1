//! What the crate offers to tests of handlers: a clock, a ticket, a store that fails on demand.

use std::time::{Duration, SystemTime};

use axum::{Router, body::Body, routing::get};
use cloakroom::{
    Activity, Clock, Error, ErrorKind, Session, SessionCookie, SessionLayer, SessionStore,
    StoreCall, Timestamp,
    store::{Former, Query, StoreErrorKind},
    testing::{Fault, FaultyStore, FixedClock, Ticket, second_node},
};
use http::StatusCode;
use tower::ServiceExt;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_fixed_clock_moves_when_it_is_told_to_and_stops_at_both_ends() {
    let clock = FixedClock::default();
    let same = clock.clone();
    assert_eq!(clock.now(), FixedClock::START);
    clock.advance(HOUR);
    assert_eq!(same.now(), FixedClock::START.saturating_add(HOUR));
    same.go_back(2 * HOUR);
    assert_eq!(clock.now(), FixedClock::START.saturating_sub(HOUR));
    clock.advance(Duration::MAX);
    assert_eq!(clock.now(), Timestamp::MAX);
    clock.go_back(Duration::MAX);
    assert_eq!(clock.now(), Timestamp::EPOCH);
    clock.set(SystemTime::from(FixedClock::START));
    assert_eq!(clock.now(), FixedClock::START);
}

async fn greet(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1)?;
    let user = session.user().unwrap_or_default();
    Ok(format!("{user}: {visits}"))
}

async fn leave(session: Session) {
    session.destroy();
}

async fn ask(layer: &SessionLayer, request: http::Request<Body>) -> String {
    let routes = Router::new()
        .route("/", get(greet))
        .route("/leave", get(leave));
    let response = routes.layer(layer.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = axum::body::to_bytes(response.into_body(), 1024)
        .await
        .unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_ticket_opens_the_session_that_was_begun() {
    let cookie = SessionCookie::new("sid").path("/app").build().unwrap();
    let layer = SessionLayer::default().cookie(cookie);
    let ticket = Ticket::new(&layer, |session| {
        session.log_in("ann")?;
        session.insert("visits", 41)
    })
    .await
    .unwrap();
    let request = || ticket.request().uri("/").body(Body::empty()).unwrap();
    assert!(
        request().headers()["cookie"]
            .as_bytes()
            .starts_with(b"__Secure-sid=")
    );
    assert_eq!(ask(&layer, request()).await, "ann: 42");

    let session = ticket.peek().await.unwrap().unwrap();
    assert_eq!(session.id(), Some(ticket.id()));
    assert_eq!(session.get("visits").unwrap(), Some(42));

    let request = ticket.request().uri("/leave").body(Body::empty()).unwrap();
    ask(&layer, request).await;
    assert!(ticket.peek().await.unwrap().is_none());
}

#[tokio::test]
async fn a_ticket_is_as_old_as_the_layers_clock_says() {
    let clock = FixedClock::default();
    let layer = SessionLayer::default()
        .clock(clock.clone())
        .idle_timeout(HOUR);
    let begin = |session: &Session| session.insert("n", 1);
    let ticket = Ticket::new(&layer, begin).await.unwrap();
    clock.advance(HOUR - Duration::from_millis(1));
    assert!(ticket.peek().await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert!(ticket.peek().await.unwrap().is_none());
}

#[tokio::test]
async fn a_ticket_shows_its_secret_in_the_cookie_alone() {
    let layer = SessionLayer::default();
    let ticket = Ticket::new(&layer, |session| session.insert("n", 1))
        .await
        .unwrap();
    let cookie = ticket.cookie();
    let token = cookie.to_str().unwrap().split_once('=').unwrap().1;
    for shown in [format!("{ticket:?}"), format!("{:?}", ticket.request())] {
        assert!(!shown.contains(token), "{shown}");
    }
}

#[tokio::test]
async fn no_ticket_is_given_where_nothing_was_stored() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone());
    let refused = Ticket::new(&layer, |_| Ok(())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Other);
    assert_eq!(store.calls(), []);
    store.plan_for(StoreCall::Create, Fault::Fail(StoreErrorKind::Unavailable));
    let failed = Ticket::new(&layer, |session| session.insert("n", 1)).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    let huge = "x".repeat(1 << 20);
    let failed = Ticket::new(&layer, |session| session.insert("n", huge)).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_faulty_store_writes_down_every_call_and_fails_those_it_is_told_to() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone());
    let ticket = Ticket::new(&layer, |session| session.insert("n", 1)).await;
    let id = ticket.unwrap().id();
    store.calls();

    let (record, activity) = store.load(id).await.unwrap().unwrap();
    store.load_latest(id).await.unwrap();
    store.create(id, &record, activity).await.unwrap();
    let former = Former::new(&record, activity);
    store.update(id, &record, activity, former).await.unwrap();
    store.touch(id, former, activity).await.unwrap();
    store.list(&Query::default(), None, 1).await.unwrap();
    store.count(&Query::default()).await.unwrap();
    store.ping().await.unwrap();
    store.delete_expired(Timestamp::EPOCH, 1).await.unwrap();
    store.delete(id).await.unwrap();
    let every = [
        StoreCall::Load,
        StoreCall::LoadLatest,
        StoreCall::Create,
        StoreCall::Update,
        StoreCall::Touch,
        StoreCall::List,
        StoreCall::Count,
        StoreCall::Ping,
        StoreCall::DeleteExpired,
        StoreCall::Delete,
    ];
    assert_eq!(store.calls(), every);
    assert_eq!(store.calls(), [], "asked once, forgotten");

    store.plan_for(StoreCall::Count, Fault::LoseReply(StoreErrorKind::Timeout));
    let lost = store.clone().count(&Query::default()).await.unwrap_err();
    assert_eq!(lost.kind(), StoreErrorKind::Timeout);
    store.plan_for(StoreCall::Create, Fault::LoseReply(StoreErrorKind::Timeout));
    let seen = Activity {
        expires_at: None,
        ..activity
    };
    store.create(id, &record, seen).await.unwrap_err();
    let (_, kept) = store.inner().load(id).await.unwrap().unwrap();
    assert_eq!(kept, seen, "it happened, and the reply was lost");
    store.heal();
    assert_eq!(store.count(&Query::default()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_ticket_takes_over_the_cookie_that_a_log_in_sets() {
    async fn log_in(session: Session) -> Result<(), Error> {
        session.log_in("ann")
    }
    let layer = SessionLayer::default();
    let ticket = Ticket::new(&layer, |session| session.insert("n", 1)).await;
    let mut ticket = ticket.unwrap();
    let (before, old) = (ticket.id(), ticket.clone());
    let send = async |ticket: &Ticket, path: &str| {
        let routes = Router::new()
            .route("/", get(greet))
            .route("/log-in", get(log_in))
            .route("/leave", get(leave));
        let request = ticket.request().uri(path).body(Body::empty()).unwrap();
        routes.layer(layer.clone()).oneshot(request).await.unwrap()
    };
    let response = send(&ticket, "/").await;
    assert!(!ticket.take_cookie(response.headers()), "nothing is set");
    let response = send(&ticket, "/log-in").await;
    assert!(ticket.take_cookie(response.headers()));
    assert_ne!(ticket.id(), before);
    let session = ticket.peek().await.unwrap().unwrap();
    assert_eq!(session.user().as_deref(), Some("ann"));
    assert!(old.peek().await.unwrap().is_none());

    // A removal leaves it as it is.
    let response = send(&ticket, "/leave").await;
    assert!(response.headers().contains_key("set-cookie"));
    assert!(!ticket.take_cookie(response.headers()));
    assert!(ticket.peek().await.unwrap().is_none());
}

#[tokio::test]
async fn a_second_node_has_the_store_in_common_and_counts_for_itself() {
    let store = FaultyStore::in_memory();
    let here = SessionLayer::new(store.clone());
    let there = second_node(&here);
    let (stats_here, stats_there) = (here.sessions(), there.sessions());
    let ticket = Ticket::new(&here, |session| session.insert("visits", 1)).await;
    let ticket = ticket.unwrap();
    assert!(ticket.peek_at(&there).await.unwrap().is_some());
    let request = ticket.request().uri("/").body(Body::empty()).unwrap();
    assert_eq!(ask(&there, request).await, ": 2");
    assert_eq!(stats_here.stats().created, 1);
    assert_eq!(stats_there.stats().created, 0);
}

#[tokio::test]
async fn the_first_sweep_goes_by_the_time_of_the_request_that_starts_it() {
    let clock = FixedClock::default();
    let layer = SessionLayer::default()
        .clock(clock.clone())
        .idle_timeout(HOUR);
    let ticket = Ticket::new(&layer, |session| session.insert("visits", 1)).await;
    let ticket = ticket.unwrap();
    let request = ticket.request().uri("/").body(Body::empty()).unwrap();
    // The task has been spawned, and has not run yet.
    ask(&layer, request).await;
    clock.advance(3 * HOUR);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(layer.sessions().count().await.unwrap(), 1);
    assert_eq!(layer.sessions().reap().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_faulty_store_picks_the_nth_call_and_a_session_and_applies_calls_late() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone());
    let begin = |session: &Session| session.insert("n", 1);
    let first = Ticket::new(&layer, begin).await.unwrap().id();
    let second = Ticket::new(&layer, begin).await.unwrap().id();

    store.plan_nth(StoreCall::Load, 2, Fault::Refuse(StoreErrorKind::Full));
    assert!(store.load(first).await.is_ok());
    assert!(store.load_latest(first).await.is_ok());
    let refused = store.load(first).await.unwrap_err();
    assert!(refused.is_not_applied());
    assert!(store.load(first).await.is_ok());

    store.plan_session(second, Fault::Fail(StoreErrorKind::Unavailable));
    assert!(store.load(first).await.is_ok());
    assert!(!store.load(second).await.unwrap_err().is_not_applied());
    assert!(store.delete(second).await.is_err());

    let lost = Fault::LoseReply(StoreErrorKind::Full);
    store.plan_for(StoreCall::Delete, lost);
    let error = store.delete(first).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(!error.is_not_applied(), "the first attempt was applied");
    assert!(store.inner().load(first).await.unwrap().is_none());

    store.plan_for(StoreCall::Delete, Fault::HangThenApply(HOUR));
    let given_up = tokio::time::timeout(Duration::from_secs(1), store.delete(second));
    given_up.await.unwrap_err();
    assert!(store.inner().load(second).await.unwrap().is_some());
    tokio::time::sleep(HOUR).await;
    assert!(store.inner().load(second).await.unwrap().is_none());
}
