//! The program of the page "Production", with curl, with a signal, and with a store that is down.

mod support;
mod transcript;

use std::process::Command;

use cloakroom::{
    StoreCall,
    store::StoreErrorKind,
    testing::{Fault, FaultyStore, FixedClock},
};

use tokio::io::AsyncWriteExt as _;

use self::support::Visitor;
use super::*;

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let page = include_str!("../../../docs/guide/production.md");
    transcript::follow(page, app(SessionLayer::default())).await;
}

/// What the program answers to a visit with this cookie, and its cookie. It is ended by SIGTERM.
async fn visit_of_one_run(saved: &Path, cookie: Option<&str>) -> (String, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = format!("http://{}", listener.local_addr().unwrap());
    let path = saved.to_owned();
    // Before the program waits for it, the signal would end the tests.
    let _terminate = signal(SignalKind::terminate()).unwrap();
    let program = tokio::spawn(async move { serve(listener, &path).await });
    let visit = reqwest::Client::new().get(site);
    let visit = cookie
        .into_iter()
        .fold(visit, |visit, cookie| visit.header("cookie", cookie));
    let reply = visit.send().await.unwrap();
    let cookie = reply.headers().get("set-cookie").map(|cookie| {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        pair.to_owned()
    });
    let body = reply.text().await.unwrap();
    assert!(!saved.exists());
    terminate();
    program.await.unwrap().unwrap();
    (body, cookie)
}

/// Sends SIGTERM to this process.
fn terminate() {
    let process = std::process::id().to_string();
    let sent = Command::new("kill").args(["-TERM", &process]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn sessions_go_on_after_a_signal_and_another_start() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("sessions");
    let (page, cookie) = visit_of_one_run(&saved, None).await;
    assert_eq!(page, "visit 1");
    assert!(saved.exists());
    let (page, _) = visit_of_one_run(&saved, cookie.as_deref()).await;
    assert_eq!(page, "visit 2");
}

#[tokio::test]
async fn a_client_that_sends_half_a_request_does_not_keep_sessions_from_being_saved() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("sessions");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let path = saved.clone();
    let _terminate = signal(SignalKind::terminate()).unwrap();
    let program = tokio::spawn(async move { serve(listener, &path).await });
    let page = reqwest::get(format!("http://{address}")).await.unwrap();
    assert_eq!(page.text().await.unwrap(), "visit 1");
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    terminate();
    program.await.unwrap().unwrap();
    assert!(saved.exists());
}

#[tokio::test]
async fn a_node_whose_store_is_down_is_not_ready() {
    let store = FaultyStore::in_memory();
    let app = app(SessionLayer::new(store.clone()));
    let mut probe = Visitor::new(&app, "probe");
    assert_eq!(probe.get("/ready").await.status, StatusCode::OK);
    store.plan_for(StoreCall::Ping, Fault::Fail(StoreErrorKind::Unavailable));
    let reply = probe.get("/ready").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_idle_session_ends_after_a_quarter_of_an_hour() {
    let clock = FixedClock::default();
    let app = app(SessionLayer::default().clock(clock.clone()));
    let mut ann = Visitor::new(&app, "Firefox");
    for (minutes, expected) in [(0, "visit 1"), (10, "visit 2"), (15, "visit 1")] {
        clock.advance(minutes * MINUTE);
        assert_eq!(ann.get("/").await.body, expected);
    }
}
