//! The layer without axum, and without a tokio runtime.

use std::{convert::Infallible, time::Duration};

use cloakroom::{Error, MemoryStore, Session, SessionHandle, SessionLayer};
use futures::executor::block_on;
use http::{Request, Response, StatusCode, header};
use tokio::runtime::Handle;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::support::{Client, Fault, FaultyStore, FixedClock, StoreCall};

async fn count(request: Request<()>) -> Result<Response<String>, Error> {
    let handle = request.extensions().get::<SessionHandle>().unwrap();
    let session = handle.load().await?;
    let visits = session.update("visits", |n: Option<u32>| n.unwrap_or(0) + 1)?;
    Ok(Response::new(visits.to_string()))
}

#[test]
fn a_service_fn_has_sessions_without_axum_and_without_a_runtime() {
    assert!(Handle::try_current().is_err());
    let layer = SessionLayer::new(MemoryStore::default());
    let mut service = layer.layer(service_fn(count));
    block_on(async {
        let first = service.ready().await.unwrap();
        let first = first.call(Request::new(())).await.unwrap();
        assert_eq!(first.body(), "1");
        let set = first.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(set.starts_with("__Host-id="), "{set}");
        let cookie = set.split(';').next().unwrap();
        for expected in ["2", "3"] {
            let again = Request::get("/").header(header::COOKIE, cookie);
            let again = service.ready().await.unwrap().call(again.body(()).unwrap());
            let again = again.await.unwrap();
            assert_eq!(again.body(), expected);
            assert!(!again.headers().contains_key(header::SET_COOKIE));
        }
    });
}

#[test]
fn the_whole_life_of_a_session_needs_no_runtime() {
    let store = MemoryStore::default();
    let clock = FixedClock::default();
    let ann = Client::new(SessionLayer::new(store.clone()).clock(clock.clone()));
    block_on(async {
        ann.visit(async |session| {
            session.insert("cart", ["tea"]).unwrap();
            session.save().await.unwrap();
            assert!(session.id().is_some());
        })
        .await;
        let anonymous = ann.cookie();
        ann.visit(async |session| session.log_in("ann"))
            .await
            .unwrap();
        assert_ne!(ann.cookie(), anonymous);
        clock.advance(Duration::from_secs(30 * 60));
        ann.visit(async |session| {
            session.touch().await.unwrap();
            session.reload().await.unwrap();
            assert_eq!(session.user().as_deref(), Some("ann"));
            let cart: Option<Vec<String>> = session.claim("cart").await.unwrap();
            assert_eq!(cart, Some(vec!["tea".to_owned()]));
            assert_eq!(session.claim::<Vec<String>>("cart").await.unwrap(), None);
        })
        .await;
        ann.visit(async |session| session.cycle_id()).await.unwrap();
        ann.visit(async |session| session.destroy()).await;
        assert_eq!(ann.cookie(), None);
        assert!(ann.visit(async |session| session.is_new()).await);
    });
    assert!(store.is_empty());
}

#[test]
fn without_a_runtime_expired_sessions_leave_as_new_ones_come() {
    let store = MemoryStore::builder().max_sessions(1000).build();
    let clock = FixedClock::default();
    let layer = SessionLayer::new(store.clone()).clock(clock.clone());
    block_on(async {
        for _ in 0..200 {
            let visitor = Client::new(layer.clone());
            visitor
                .visit(async |session| session.insert("n", 1))
                .await
                .unwrap();
            clock.advance(Duration::from_secs(60));
        }
    });
    // One a minute, for an hour of idleness and five minutes of grace.
    assert!((65..=67).contains(&store.len()), "{}", store.len());
}

#[test]
fn a_conflict_is_merged_without_a_runtime() {
    let layer = SessionLayer::new(MemoryStore::default());
    let ann = Client::new(layer);
    block_on(async {
        ann.visit(async |session| session.insert("visits", 0))
            .await
            .unwrap();
        let add = |n: Option<u32>| n.unwrap_or(0) + 1;
        ann.visit(async |session| {
            session.update("visits", add).unwrap();
            // Another request is faster.
            ann.visit(async |other| other.update("visits", add))
                .await
                .unwrap();
        })
        .await;
        let visits = ann
            .visit(async |session| session.get::<u32>("visits"))
            .await;
        assert_eq!(visits.unwrap(), Some(2));
    });
}

#[test]
fn m3_many_at_once_lose_nothing_without_a_runtime() {
    let store = FaultyStore::in_memory();
    let ann = Client::new(SessionLayer::new(store.clone()));
    let add =
        async |session: Session| session.update("visits", |n: Option<u32>| n.unwrap_or(0) + 1);
    block_on(async {
        ann.visit(add).await.unwrap();
        store.plan(|_| Fault::Yield);
        let visits = futures::future::join_all((0..20).map(|_| ann.visit(add)));
        for visit in visits.await {
            visit.unwrap();
        }
        let visits = ann.visit(async |session| session.get::<u32>("visits"));
        assert_eq!(visits.await.unwrap(), Some(21));
    });
    let calls = store.calls();
    let updates = calls
        .iter()
        .filter(|call| **call == StoreCall::Update)
        .count();
    assert!(updates > 20, "there were conflicts: {calls:?}");
}

#[test]
fn the_body_and_the_error_are_whatever_the_service_has() {
    #[derive(Debug, PartialEq)]
    struct Broken;

    #[derive(Default)]
    struct Body(Option<&'static str>);

    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone());
    let service = layer.layer(service_fn(async |request: Request<u8>| {
        let handle = request.extensions().get::<SessionHandle>().unwrap();
        let session = handle.load().await.unwrap();
        session.insert("n", request.body()).unwrap();
        if *request.body() > 100 {
            return Err(Broken);
        }
        Ok(Response::new(Body(Some("done"))))
    }));
    block_on(async {
        let done = service.clone().oneshot(Request::new(7)).await.unwrap();
        assert_eq!(done.status(), StatusCode::OK);
        assert_eq!(done.body().0, Some("done"));
        let broken = service.oneshot(Request::new(200)).await;
        assert_eq!(broken.err(), Some(Broken));
    });
    assert_eq!(store.inner().len(), 1);
}

#[test]
fn a_layer_is_a_layer_for_a_boxed_service_too() {
    let inner = service_fn(async |request: Request<String>| {
        assert!(request.extensions().get::<SessionHandle>().is_some());
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let service = SessionLayer::default().layer(inner).boxed_clone();
    let reply = block_on(service.oneshot(Request::new("echo".to_owned()))).unwrap();
    assert_eq!(reply.body(), "echo");
    assert!(reply.headers().is_empty());
}

/// A runtime of its own, with a timer, that ends when it is dropped.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn several_runtimes_share_one_static_layer() {
    static STORE: std::sync::LazyLock<MemoryStore> = std::sync::LazyLock::new(MemoryStore::default);
    static CLOCK: std::sync::LazyLock<FixedClock> = std::sync::LazyLock::new(FixedClock::default);
    static LAYER: std::sync::LazyLock<SessionLayer> = std::sync::LazyLock::new(|| {
        SessionLayer::new(STORE.clone())
            .clock(CLOCK.clone())
            .reap_every(Duration::from_millis(5))
    });
    let ann = Client::new(LAYER.clone());
    let visit = async || {
        ann.visit(async |session| {
            session
                .update("n", |n: Option<u32>| n.unwrap_or(0) + 1)
                .unwrap()
        })
        .await
    };
    let (first, second) = (runtime(), runtime());
    assert_eq!(first.block_on(visit()), 1);
    assert_eq!(second.block_on(visit()), 2);
    assert_eq!(first.block_on(visit()), 3);
    // The runtime that has the background task ends: another one goes on.
    drop(first);
    assert_eq!(second.block_on(visit()), 4);
    CLOCK.advance(Duration::from_secs(24 * 60 * 60));
    second.block_on(async {
        let bob = Client::new(LAYER.clone());
        bob.visit(async |session| session.insert("n", 1).unwrap())
            .await;
        let reaped = async {
            while STORE.len() > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reaped = tokio::time::timeout(Duration::from_secs(60), reaped).await;
        reaped.expect("the second runtime has a background task");
    });
}
