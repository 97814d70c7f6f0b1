//! Rules F1 to F4: a store that fails, hangs, answers late, loses replies, panics, or has something
//! that is no record.

use std::time::Duration;

use axum::response::IntoResponse;
use cloakroom::{
    Error, ErrorKind, MemoryStore, Session, SessionHandle, SessionLayer,
    store::{StoreErrorKind, TieredStore},
};
use futures::{StreamExt, stream::FuturesUnordered};
use http::{StatusCode, header};
use tokio::time::Instant;

use crate::support::{Fault, FaultyStore, FixedClock, Reply, StoreCall, Visitor, fixture::SECOND};

const TIMEOUT: Duration = Duration::from_secs(5);

struct Site {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
}

impl Site {
    fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let layer = SessionLayer::new(store.clone()).clock(clock.clone());
        Self {
            store,
            clock,
            layer,
        }
    }

    /// A visitor whose session has `n` = 1.
    async fn visitor(&self) -> Visitor {
        let visitor = Visitor::new(&self.layer);
        assert_eq!(insert(&visitor, 1).await.status, StatusCode::OK);
        self.store.calls();
        visitor
    }
}

async fn insert(visitor: &Visitor, value: u64) -> Reply {
    visitor
        .visit(async |session: Session| session.insert("n", value).map(|()| "told so"))
        .await
}

async fn read(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| {
            let value: Option<u64> = session.get("n")?;
            Ok::<_, Error>(value.map(|value| value.to_string()).unwrap_or_default())
        })
        .await
}

/// The empty answer of rule F2.
fn assert_withdrawn(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.all(header::RETRY_AFTER), ["5"]);
    assert_eq!(reply.all(header::CACHE_CONTROL), ["no-store"]);
    assert_eq!(reply.body, "");
}

fn assert_removes_cookie(reply: &Reply) {
    let cookies = reply.set_cookies();
    assert_eq!(cookies.len(), 1);
    assert!(cookies[0].starts_with("__Host-id=;"), "{cookies:?}");
    assert!(cookies[0].contains("Max-Age=0"), "{cookies:?}");
}

/// What a store does that cannot be relied on, and how long the visitor waits for it.
const FAULTS: [(Fault, Duration); 6] = [
    (Fault::Fail(StoreErrorKind::Unavailable), Duration::ZERO),
    (Fault::Fail(StoreErrorKind::Timeout), Duration::ZERO),
    (Fault::Fail(StoreErrorKind::Incompatible), Duration::ZERO),
    (Fault::Hang, TIMEOUT),
    (Fault::Delay(Duration::from_secs(6)), TIMEOUT),
    (Fault::DelayReply(Duration::from_secs(6)), TIMEOUT),
];

#[tokio::test(start_paused = true)]
async fn f1_a_failing_or_slow_load_is_503_and_never_an_empty_session() {
    for (fault, wait) in FAULTS {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.store.plan_for(StoreCall::Load, fault);
        let start = Instant::now();
        let reply = read(&visitor).await;
        assert_eq!(start.elapsed().as_secs(), wait.as_secs(), "{fault:?}");
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert_eq!(reply.all(header::RETRY_AFTER), ["5"]);
        assert!(reply.set_cookies().is_empty());
        site.store.heal();
        assert_eq!(read(&visitor).await.body, "1");
    }
}

#[tokio::test(start_paused = true)]
async fn f1_a_load_that_is_late_but_in_time_is_a_load() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let fault = Fault::DelayReply(Duration::from_millis(4990));
    site.store.plan_for(StoreCall::Load, fault);
    assert_eq!(read(&visitor).await.body, "1");
}

#[tokio::test]
async fn f1_a_rejection_that_the_store_cannot_confirm_is_503() {
    let cached = TieredStore::new(MemoryStore::default(), MemoryStore::default());
    let store = FaultyStore::new(cached);
    let visitor = Visitor::new(&SessionLayer::new(store.clone()));
    assert_eq!(insert(&visitor, 1).await.status, StatusCode::OK);
    visitor
        .twin()
        .visit(async |session: Session| session.destroy())
        .await;
    let fault = Fault::Fail(StoreErrorKind::Unavailable);
    store.plan_for(StoreCall::LoadLatest, fault);
    assert_eq!(read(&visitor).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn f1_the_failure_is_remembered_for_the_rest_of_the_request() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let store = site.store.clone();
    store.plan_for(StoreCall::Load, Fault::Fail(StoreErrorKind::Unavailable));
    let reply = visitor.ask(async |handle: SessionHandle| {
        let first = handle.load().await.unwrap_err();
        assert_eq!(first.kind(), ErrorKind::Unavailable);
        assert!(std::error::Error::source(&first).is_some());
        store.heal();
        let second = handle.peek().await.unwrap_err();
        assert_eq!(second.kind(), ErrorKind::Unavailable);
        "answered all the same".into_response()
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert_eq!(site.store.calls(), [StoreCall::Load]);
}

#[tokio::test(start_paused = true)]
async fn f2_a_failing_create_withdraws_the_response() {
    for (fault, wait) in FAULTS {
        let site = Site::new();
        let visitor = Visitor::new(&site.layer);
        site.store.plan_for(StoreCall::Create, fault);
        let start = Instant::now();
        let reply = insert(&visitor, 1).await;
        assert_eq!(start.elapsed().as_secs(), wait.as_secs(), "{fault:?}");
        assert_withdrawn(&reply);
        assert!(reply.set_cookies().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn f2_a_failing_update_withdraws_the_response() {
    for (fault, wait) in FAULTS {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.store.plan_for(StoreCall::Update, fault);
        let start = Instant::now();
        let reply = insert(&visitor, 2).await;
        assert_eq!(start.elapsed().as_secs(), wait.as_secs(), "{fault:?}");
        assert_withdrawn(&reply);
        assert!(reply.set_cookies().is_empty());
        site.store.heal();
        let kept = if matches!(fault, Fault::DelayReply(_)) {
            "2"
        } else {
            "1"
        };
        assert_eq!(read(&visitor).await.body, kept, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f2_a_failing_move_withdraws_the_response() {
    for call in [StoreCall::Create, StoreCall::Update] {
        for (fault, wait) in FAULTS {
            let site = Site::new();
            let visitor = site.visitor().await;
            site.store.plan_for(call, fault);
            let start = Instant::now();
            let reply = visitor.visit(async |session: Session| session.log_in("ann"));
            let reply = reply.await;
            assert_eq!(start.elapsed().as_secs(), wait.as_secs(), "{fault:?}");
            assert_withdrawn(&reply);
            // Where the old session may have been left, the new token works in either case.
            let is_in_doubt = call == StoreCall::Update;
            assert_eq!(reply.set_cookies().len(), usize::from(is_in_doubt));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f2_a_failing_log_out_withdraws_the_response_and_removes_the_cookie() {
    for (fault, wait) in FAULTS {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.store.plan_for(StoreCall::Update, fault);
        let start = Instant::now();
        let reply = visitor.visit(async |session: Session| {
            session.destroy();
            "goodbye"
        });
        let reply = reply.await;
        assert_eq!(start.elapsed().as_secs(), wait.as_secs(), "{fault:?}");
        assert_withdrawn(&reply);
        assert_removes_cookie(&reply);
    }
}

#[tokio::test]
async fn f2_a_destroyed_session_has_ended_even_if_its_successor_cannot_be_stored() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let fault = Fault::Fail(StoreErrorKind::Unavailable);
    site.store.plan_for(StoreCall::Create, fault);
    let reply = visitor.visit(async |session: Session| {
        session.destroy();
        session.insert("n", 2)
    });
    let reply = reply.await;
    assert_withdrawn(&reply);
    assert_removes_cookie(&reply);
    assert!(site.store.inner().is_empty());
}

#[tokio::test]
async fn f2_a_saved_log_out_removes_the_cookie_even_if_its_successor_cannot_be_stored() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let fault = Fault::Fail(StoreErrorKind::Unavailable);
    site.store.plan_for(StoreCall::Create, fault);
    let reply = visitor.visit(async |session: Session| {
        session.destroy();
        session.save().await?;
        session.insert("n", 2)
    });
    let reply = reply.await;
    assert_withdrawn(&reply);
    assert_removes_cookie(&reply);
}

#[tokio::test(start_paused = true)]
async fn f2_a_failing_touch_is_only_logged() {
    for (fault, wait) in FAULTS {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.clock.advance(600 * SECOND);
        site.store.plan_for(StoreCall::Touch, fault);
        let start = Instant::now();
        let reply = read(&visitor).await;
        assert_eq!(start.elapsed().as_secs(), wait.as_secs(), "{fault:?}");
        assert_eq!(
            (reply.status, &*reply.body),
            (StatusCode::OK, "1"),
            "{fault:?}"
        );
        assert!(site.store.calls().contains(&StoreCall::Touch));
    }
}

#[tokio::test(start_paused = true)]
async fn f2_a_touch_after_a_slow_store_call_is_only_logged() {
    for saves in [false, true] {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.clock.advance(600 * SECOND);
        site.store.plan_for(StoreCall::Touch, Fault::Hang);
        let start = Instant::now();
        let reply = visitor.visit(async |session: Session| {
            let background = session.clone();
            tokio::spawn(async move {
                if saves {
                    background.save().await
                } else {
                    background.touch().await
                }
            });
            tokio::time::sleep(SECOND).await;
            "told so"
        });
        let reply = reply.await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "told so"));
        assert_eq!(start.elapsed(), SECOND + TIMEOUT);
    }
}

#[tokio::test]
async fn f2_a_touch_that_panics_is_only_logged() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.clock.advance(600 * SECOND);
    site.store.plan_for(StoreCall::Touch, Fault::Panic);
    let reply = read(&visitor).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "1"));
}

#[tokio::test]
async fn f2_a_store_that_panics_fails() {
    for (call, destroys) in [
        (StoreCall::Create, false),
        (StoreCall::Update, false),
        (StoreCall::Update, true),
    ] {
        let site = Site::new();
        let visitor = match call {
            StoreCall::Create => Visitor::new(&site.layer),
            _ => site.visitor().await,
        };
        site.store.plan_for(call, Fault::Panic);
        let reply = visitor.visit(async |session: Session| {
            if destroys {
                session.destroy();
                return Ok(());
            }
            session.insert("n", 2)
        });
        let reply = reply.await;
        assert_withdrawn(&reply);
        assert_eq!(reply.set_cookies().len(), usize::from(destroys));
    }
    let site = Site::new();
    let visitor = site.visitor().await;
    site.store.plan_for(StoreCall::Load, Fault::Panic);
    let reply = read(&visitor).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.set_cookies().is_empty());
    site.store.heal();
    assert_eq!(read(&visitor).await.body, "1");
}

#[tokio::test]
async fn f2_lost_replies_fail_nothing() {
    let site = Site::new();
    let mut writes = 0;
    site.store.plan(move |call| match call {
        StoreCall::Load | StoreCall::LoadLatest => Fault::None,
        _ => {
            writes += 1;
            if writes % 2 == 1 {
                Fault::LoseReply(StoreErrorKind::Unavailable)
            } else {
                Fault::None
            }
        }
    });
    let visitor = Visitor::new(&site.layer);
    assert_eq!(insert(&visitor, 1).await.status, StatusCode::OK);
    assert_eq!(insert(&visitor, 2).await.status, StatusCode::OK);
    assert_eq!(read(&visitor).await.body, "2");
    let reply = visitor.visit(async |session: Session| session.log_in("ann"));
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(read(&visitor).await.body, "2");
    let reply = visitor.visit(async |session: Session| session.destroy());
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(read(&visitor).await.body, "");
}

#[tokio::test(start_paused = true)]
async fn f2_save_touch_reload_and_claim_end_at_the_deadline() {
    for call in [StoreCall::Update, StoreCall::Touch, StoreCall::LoadLatest] {
        let site = Site::new();
        let visitor = site.visitor().await;
        let store = site.store.clone();
        let reply = visitor.visit(async |session: Session| {
            store.plan_for(call, Fault::Hang);
            let start = Instant::now();
            let kind = |result: Result<(), Error>| result.unwrap_err().kind();
            let mut late = 1;
            match call {
                StoreCall::Update => {
                    let claimed = session.claim::<u64>("n").await.map(drop);
                    assert_eq!(kind(claimed), ErrorKind::Timeout);
                    session.insert("n", 2)?;
                    assert_eq!(kind(session.save().await), ErrorKind::Timeout);
                    assert!(session.is_modified());
                    late = 2;
                }
                StoreCall::Touch => assert_eq!(kind(session.touch().await), ErrorKind::Timeout),
                _ => assert_eq!(kind(session.reload().await), ErrorKind::Timeout),
            }
            assert_eq!(start.elapsed().as_secs(), late * TIMEOUT.as_secs());
            store.heal();
            Ok::<_, Error>(())
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        let kept = if call == StoreCall::Update { "2" } else { "1" };
        assert_eq!(read(&visitor).await.body, kept);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_hangs_past_the_store_timeout() {
    let site = Site::new();
    let layer = site.layer.clone().store_timeout(SECOND);
    let first = Visitor::new(&layer);
    insert(&first, 1).await;
    site.store.plan(|call| match call {
        StoreCall::Load => Fault::None,
        _ => Fault::Hang,
    });
    let start = Instant::now();
    // All of them wait in one queue.
    let visits = (0..20).map(|value| {
        let visitor = first.twin();
        async move { insert(&visitor, value + 2).await }
    });
    let mut visits = visits.collect::<FuturesUnordered<_>>();
    while let Some(reply) = visits.next().await {
        assert_withdrawn(&reply);
    }
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn f3_a_handler_that_does_not_use_the_session_is_not_affected() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.store.plan(|_| Fault::Hang);
    let reply = visitor.ask(async |_| "hello".into_response()).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "hello"));
    assert!(reply.set_cookies().is_empty());
    assert!(!reply.headers.contains_key(header::VARY));
    assert!(site.store.calls().is_empty());
}

#[tokio::test]
async fn f3_a_visitor_without_a_cookie_and_without_changes_is_not_affected() {
    let site = Site::new();
    site.store.plan(|_| Fault::Hang);
    let reply = read(&Visitor::new(&site.layer)).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, ""));
    assert!(site.store.calls().is_empty());
}

#[tokio::test]
async fn f4_a_corrupt_record_is_500_and_removes_the_cookie() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let fault = Fault::Fail(StoreErrorKind::Corrupt);
    site.store.plan_for(StoreCall::Load, fault);
    let reply = read(&visitor).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!reply.headers.contains_key(header::RETRY_AFTER));
    assert_removes_cookie(&reply);
    assert_eq!(site.store.calls(), [StoreCall::Load]);
    assert_eq!(site.store.inner().len(), 1);
    // He is not locked out.
    assert_eq!(insert(&visitor, 2).await.set_cookies().len(), 1);
    site.store.heal();
    assert_eq!(read(&visitor).await.body, "2");
}

#[tokio::test]
async fn f4_a_corrupt_record_under_a_former_name_removes_that_cookie_too() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let cookie = cloakroom::SessionCookie::new("new").also_read("__Host-id");
    let layer = SessionLayer::new(site.store.clone()).cookie(cookie.build().unwrap());
    let fault = Fault::Fail(StoreErrorKind::Corrupt);
    site.store.plan_for(StoreCall::Load, fault);
    let mut request = http::Request::new(axum::body::Body::empty());
    let cookie = visitor.cookie().unwrap().parse().unwrap();
    request.headers_mut().insert(header::COOKIE, cookie);
    let read = axum::routing::get(async |_: Session| ());
    let app = axum::Router::new().route("/", read).layer(layer);
    let reply = crate::support::Browser::new(app).send(request).await;
    let removed = reply.set_cookies();
    assert!(removed[0].starts_with("__Host-new=;"), "{removed:?}");
    assert!(removed[1].starts_with("__Host-id=;"), "{removed:?}");
    assert!(removed.iter().all(|cookie| cookie.contains("Max-Age=0")));
}

#[tokio::test]
async fn f4_a_handler_may_answer_in_spite_of_a_corrupt_record() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let fault = Fault::Fail(StoreErrorKind::Corrupt);
    site.store.plan_for(StoreCall::Load, fault);
    let reply = visitor.ask(async |handle: SessionHandle| {
        let error = handle.load().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        "as a stranger".into_response()
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_removes_cookie(&reply);
}

#[tokio::test]
async fn f4_a_record_of_a_newer_format_is_503_and_keeps_the_cookie() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let fault = Fault::Fail(StoreErrorKind::Incompatible);
    site.store.plan_for(StoreCall::Load, fault);
    let reply = read(&visitor).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.all(header::RETRY_AFTER), ["5"]);
    assert!(reply.set_cookies().is_empty());
    site.store.heal();
    assert_eq!(read(&visitor).await.body, "1");
}
