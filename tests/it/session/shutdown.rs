//! A server with open event streams and background tasks comes to its end.

use std::{convert::Infallible, future::IntoFuture, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use cloakroom::{Session, SessionLayer, Shutdown, StoreCall, store::StoreErrorKind};
use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{Fault, FaultyStore, Visitor};

/// An event stream that goes on for as long as the server does.
async fn events(session: Session) -> Body {
    session.insert("n", 1).unwrap();
    let first = stream::once(async { Ok::<_, Infallible>(Bytes::from("data: hello\n\n")) });
    let never = stream::pending();
    Body::from_stream(first.chain(never).take_until(session.shutting_down()))
}

#[tokio::test]
async fn a_graceful_shutdown_ends_though_an_event_stream_is_open() {
    let shutdown = Shutdown::new();
    let app = Router::new()
        .route("/", get(events))
        .layer(SessionLayer::default().shutdown(&shutdown));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.begun());
    let serving = tokio::spawn(server.into_future());
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.windows(5).any(|bytes| bytes == b"hello") {
        assert_ne!(client.read_buf(&mut received).await.unwrap(), 0);
    }
    assert!(!serving.is_finished());
    shutdown.begin();
    let served = timeout(Duration::from_secs(10), serving).await;
    served.unwrap().unwrap().unwrap();
    client.read_to_end(&mut received).await.unwrap();
    assert!(received.ends_with(b"0\r\n\r\n"), "the stream ends in order");
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_request_has_begun_is_waited_for_at_the_end() {
    let (store, shutdown) = (FaultyStore::in_memory(), Shutdown::new());
    let layer = SessionLayer::new(store.clone())
        .reap_every(None)
        .shutdown(&shutdown);
    store.plan_for(
        StoreCall::Create,
        Fault::DelayReply(Duration::from_secs(60)),
    );
    let visitor = Visitor::new(&layer);
    let request = visitor.visit(async |session: Session| session.insert("n", 1));
    assert!(timeout(Duration::from_secs(1), request).await.is_err());
    assert_eq!(store.inner().len(), 1);
    store.heal();
    assert_eq!(shutdown.finish(Duration::from_secs(600)).await, 0);
    assert_eq!(store.inner().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_store_that_is_down_has_an_end_and_says_what_is_left() {
    let (store, shutdown) = (FaultyStore::in_memory(), Shutdown::new());
    let layer = SessionLayer::new(store.clone())
        .reap_every(None)
        .shutdown(&shutdown);
    let visitor = Visitor::new(&layer);
    store.plan_for(StoreCall::Create, Fault::Hang);
    let request = visitor.visit(async |session: Session| session.insert("n", 1));
    assert!(timeout(Duration::from_secs(1), request).await.is_err());
    store.plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    assert_eq!(shutdown.finish(Duration::from_secs(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn tracked_tasks_of_the_application_are_waited_for_at_the_end() {
    let shutdown = Shutdown::new();
    let (task, begun) = (shutdown.track(), shutdown.begun());
    let idle = shutdown.track();
    let working = tokio::spawn(async move {
        let _task = task;
        begun.await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    });
    assert_eq!(shutdown.finish(Duration::from_secs(5)).await, 1);
    assert!(working.is_finished());
    drop(idle);
    assert_eq!(shutdown.finish(Duration::ZERO).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_reaper_ends_when_the_shutdown_begins() {
    let (store, shutdown) = (FaultyStore::in_memory(), Shutdown::new());
    let layer = SessionLayer::new(store.clone()).shutdown(&shutdown);
    let visitor = Visitor::new(&layer);
    visitor.visit(async |_: Session| ()).await;
    tokio::time::sleep(Duration::from_secs(150)).await;
    let sweeps = |calls: Vec<StoreCall>| {
        let sweeps = calls
            .iter()
            .filter(|call| **call == StoreCall::DeleteExpired);
        sweeps.count()
    };
    assert_eq!(sweeps(store.calls()), 3);
    shutdown.begin();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(sweeps(store.calls()), 0);
}

#[tokio::test]
async fn a_shutdown_begins_once_by_its_signal_or_by_hand() {
    let shutdown = Shutdown::new();
    let (by_hand, by_signal) = (shutdown.clone(), shutdown.clone());
    assert!(!shutdown.has_begun());
    let waiting = tokio::spawn(shutdown.after(std::future::pending()));
    by_hand.begin();
    by_hand.begin();
    waiting.await.unwrap();
    by_signal.after(async {}).await;
    shutdown.begun().await;
    assert!(shutdown.has_begun());
    assert_eq!(shutdown.finish(Duration::ZERO).await, 0);
}
