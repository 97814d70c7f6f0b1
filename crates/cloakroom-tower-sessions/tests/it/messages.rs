//! axum-messages' example and its own test, on cloakroom.

use axum::{Router, response::Redirect, routing::get};
use axum_messages::{Messages, MessagesManagerLayer, Metadata};

use crate::support::{Fixture, on_cloakroom};

fn fixture() -> Fixture {
    let set = async |messages: Messages| {
        let metadata = Metadata::from([("foo".to_owned(), "bar".into())]);
        messages
            .debug_with_metadata("Hello, world!", metadata)
            .info("This is an info message.");
        Redirect::to("/read")
    };
    let read = async |messages: Messages| {
        let shown = messages.map(|it| format!("{}: {it} {:?}", it.level, it.metadata));
        shown.collect::<Vec<_>>().join(", ")
    };
    on_cloakroom(
        Router::new()
            .route("/", get(set))
            .route("/read", get(read))
            .layer(MessagesManagerLayer),
    )
}

#[tokio::test]
async fn messages_are_shown_in_the_next_request_and_once() {
    let fixture = fixture();
    let reply = fixture.browser.get("/").await;
    assert_eq!(reply.location(), "/read");
    assert_eq!(
        fixture.browser.page("/read").await,
        r#"Debug: Hello, world! Some({"foo": String("bar")}), Info: This is an info message. None"#
    );
    assert_eq!(fixture.browser.page("/read").await, "");
}

#[tokio::test]
async fn a_visitor_without_messages_gets_no_session() {
    let fixture = fixture();
    assert!(fixture.browser.get("/read").await.set_cookies().is_empty());
    assert_eq!(fixture.count().await, 0);
}
