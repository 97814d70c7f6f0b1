//! The program of the page "Operating", with curl, and what it logs.

mod support;
mod transcript;

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::http::StatusCode;
use cloakroom::testing::Ticket;

use self::support::Visitor;
use super::*;

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let page = include_str!("../../../docs/guide/operating.md");
    transcript::follow(page, app(SessionLayer::default())).await;
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_the_user_of_each_request_and_no_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let layer = SessionLayer::default();
    let sessions = layer.sessions();
    let mut ann = Visitor::new(&app(layer), "Firefox");
    ann.post("/login", "").await;
    let token = ann.cookie.clone().unwrap();
    let token = token.split_once('=').unwrap().1;
    assert_eq!(ann.get("/devices").await.body.lines().count(), 1);
    assert_eq!(ann.post("/logout", "").await.body, "1 sessions ended");
    assert_eq!(ann.get("/devices").await.status, StatusCode::UNAUTHORIZED);
    report(&sessions);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let has = |words: &[&str]| {
        let mut lines = log.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        has(&["request{path=\"/devices\" user.id=\"ann\"}", "status=200"]),
        "{log}"
    );
    assert!(has(&["user=\"ann\"", "logged in"]), "{log}");
    assert!(
        has(&["user=\"ann\" reason=Revoked", "the session ended"]),
        "{log}"
    );
    assert!(has(&["live=0", "the last hour"]), "{log}");
    assert!(!log.contains(token), "{log}");
}

#[tokio::test]
async fn more_devices_than_a_page_has_are_listed() {
    let layer = SessionLayer::default();
    let app = app(layer.clone());
    let mut ann = Visitor::new(&app, "Firefox");
    for _ in 0..101 {
        let ticket = Ticket::new(&layer, |session| session.log_in("ann"));
        let cookie = ticket.await.unwrap().cookie();
        ann.cookie = Some(cookie.to_str().unwrap().to_owned());
    }
    assert_eq!(ann.get("/devices").await.body.lines().count(), 101);
}
