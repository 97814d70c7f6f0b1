//! Rule U9: what tells a user's sessions apart.

use axum::{Router, body::Body, routing::get};
use cloakroom::{Error, ErrorKind, Record, Session, SessionFilter, SessionLayer, SessionSummary};
use http::Request;

use crate::support::{Browser, Client, session_cookie};

fn app(layer: SessionLayer) -> Router {
    let begin = async |session: Session| session.insert("n", 1);
    let write = async |session: Session| {
        session
            .update("n", |n: Option<u32>| n.unwrap_or(0) + 1)
            .map(drop)
    };
    let log_in = async |session: Session| session.log_in("ann");
    let name = async |session: Session| {
        session.log_in("ann")?;
        session.set_label("device", "Ann's phone")?;
        Ok::<_, Error>(session.label("user_agent").unwrap_or_default())
    };
    Router::new()
        .route("/begin", get(begin))
        .route("/write", get(write))
        .route("/cycle", get(async |session: Session| session.cycle_id()))
        .route("/login", get(log_in))
        .route("/name", get(name))
        .layer(layer)
}

/// Asks as this user agent; the cookie to come back with.
async fn ask(browser: &Browser, path: &str, agent: &str, cookie: Option<String>) -> Option<String> {
    let mut request = Request::get(path).header("user-agent", agent);
    if let Some(cookie) = &cookie {
        request = request.header("cookie", cookie);
    }
    let reply = browser.send(request.body(Body::empty()).unwrap()).await;
    assert!(reply.status.is_success(), "{reply:?}");
    let is_new = !reply.set_cookies().is_empty();
    if is_new {
        Some(session_cookie(&reply))
    } else {
        cookie
    }
}

async fn only(layer: &SessionLayer) -> SessionSummary {
    let sessions = layer.sessions();
    let page = sessions
        .list(&SessionFilter::default(), None, 9)
        .await
        .unwrap();
    assert_eq!(page.sessions.len(), 1);
    page.sessions[0].clone()
}

fn labels(summary: &SessionSummary) -> Vec<(&str, &str)> {
    summary.labels().collect()
}

#[tokio::test]
async fn u9_a_session_is_labelled_when_it_begins_and_when_it_logs_in() {
    let layer = SessionLayer::default()
        .label_user_agent()
        .label("path", |request| {
            assert!(request.extensions.get::<u8>().is_none());
            Some(request.uri.path()[..1].to_owned())
        });
    let browser = Browser::new(app(layer.clone()));
    let cookie = ask(&browser, "/begin", "first", None).await;
    assert_eq!(
        labels(&only(&layer).await),
        [("path", "/"), ("user_agent", "first")]
    );
    let cookie = ask(&browser, "/write", "second", cookie).await;
    let cookie = ask(&browser, "/cycle", "second", cookie).await;
    assert_eq!(only(&layer).await.label("user_agent"), Some("first"));
    let cookie = ask(&browser, "/login", "third", cookie).await;
    assert_eq!(only(&layer).await.label("user_agent"), Some("third"));
    ask(&browser, "/name", "fourth", cookie).await;
    let summary = only(&layer).await;
    let named = [
        ("device", "Ann's phone"),
        ("path", "/"),
        ("user_agent", "fourth"),
    ];
    assert_eq!(labels(&summary), named);
    assert_eq!(summary.label("none"), None);
}

#[tokio::test]
async fn u9_there_are_no_labels_by_default() {
    let layer = SessionLayer::default();
    let browser = Browser::new(app(layer.clone()));
    let cookie = ask(&browser, "/begin", "agent", None).await;
    ask(&browser, "/login", "agent", cookie).await;
    assert_eq!(labels(&only(&layer).await), []);
}

#[tokio::test]
async fn u9_what_a_client_sends_as_its_name_is_cut() {
    let layer = SessionLayer::default()
        .label_user_agent()
        .label("wide", |_| Some("ä".repeat(200)));
    let browser = Browser::new(app(layer.clone()));
    ask(&browser, "/begin", &"a".repeat(5000), None).await;
    let summary = only(&layer).await;
    assert_eq!(summary.label("user_agent"), Some(&*"a".repeat(256)));
    assert_eq!(summary.label("wide"), Some(&*"ä".repeat(128)));
}

#[tokio::test]
async fn u9_labels_that_are_too_long_or_too_many_are_refused() {
    let visitor = Client::new(SessionLayer::default());
    visitor
        .visit(async |session| {
            session.insert("n", 1).unwrap();
            for n in 0..8 {
                session
                    .set_label(&format!("label {n}"), &"x".repeat(256))
                    .unwrap();
            }
            session.set_label("label 0", "again").unwrap();
            let name = "n".repeat(32);
            for (name, label, message) in [
                (
                    "label 0",
                    "x".repeat(257),
                    "the label `label 0` would have 257 bytes, the limit is 256",
                ),
                (
                    "further",
                    String::new(),
                    "the session would have 9 labels, the limit is 8",
                ),
                ("", String::new(), "a label needs a name"),
                (
                    &*format!("{name}n"),
                    String::new(),
                    "a label's name would have 33 bytes, the limit is 32",
                ),
            ] {
                let error = session.set_label(name, &label).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TooLarge);
                assert_eq!(error.to_string(), message);
            }
            session.remove_label("label 1");
            session.set_label(&name, "").unwrap();
        })
        .await;
    visitor
        .visit(async |session| {
            assert_eq!(session.label("label 0").as_deref(), Some("again"));
            assert_eq!(session.label("label 1"), None);
            assert!(!session.is_modified());
            session.set_label("label 0", "again").unwrap();
            session.remove_label("none");
            assert!(!session.is_modified());
        })
        .await;
}

#[tokio::test]
async fn u9_another_users_log_in_begins_without_labels() {
    let visitor = Client::new(SessionLayer::default());
    visitor
        .visit(async |session| {
            session.log_in("ann").unwrap();
            session.set_label("device", "Ann's").unwrap();
        })
        .await;
    visitor
        .visit(async |session| session.log_in("ann").unwrap())
        .await;
    visitor
        .visit(async |session| {
            assert_eq!(session.label("device").as_deref(), Some("Ann's"));
            session.log_in("bob").unwrap();
            assert_eq!(session.label("device"), None);
        })
        .await;
    visitor
        .visit(async |session| assert_eq!(session.label("device"), None))
        .await;
}

#[test]
fn labels_are_kept_in_the_record_as_an_object() {
    let verifier = "A".repeat(43);
    let text = format!(
        r#"{{"format":1,"version":"1-0000000000000001","verifier":"{verifier}","created_at":5,"labels":{{"a":"b"}},"data":{{}}}}"#
    );
    let record = Record::from_bytes(text.as_bytes());
    let bytes = record.map(|record| record.to_bytes()).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

#[test]
#[should_panic(expected = "9 labels")]
fn a_layer_has_at_most_eight_labels() {
    let _ = (0..9).fold(SessionLayer::default(), |layer, n| {
        layer.label(&n.to_string(), |_| None)
    });
}
