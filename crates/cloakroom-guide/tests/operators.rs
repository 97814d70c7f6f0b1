//! The program of the page "For operators", with curl, and with a flood of visitors.

mod support;
mod transcript;

use cloakroom::testing::Ticket;

use self::support::Visitor;
use super::*;

/// With the sessions of twelve visitors.
async fn visited() -> SessionLayer {
    let layer = SessionLayer::default();
    for _ in 0..12 {
        let visitor = Ticket::new(&layer, |session| session.insert("visits", 1));
        visitor.await.unwrap();
    }
    layer
}

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let layer = visited().await;
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let ann = ann.await.unwrap().id().to_string();
    let page = include_str!("../../../docs/guide/operators.md");
    let page = page.replace("67e55044-10b1-426f-9247-bb680e5fe0c8", &ann);
    transcript::follow(&page, app(layer)).await;
}

#[tokio::test]
async fn an_operator_and_nobody_else_ends_a_flood() {
    let layer = visited().await;
    let ann = Ticket::new(&layer, |session| session.log_in("ann"));
    let ann = ann.await.unwrap().cookie();
    let app = app(layer);
    let mut visitor = Visitor::new(&app, "Firefox");
    assert_eq!(
        visitor.post("/flood", "").await.status,
        StatusCode::FORBIDDEN
    );
    visitor.cookie = Some(ann.to_str().unwrap().to_owned());
    assert_eq!(
        visitor.post("/flood", "").await.status,
        StatusCode::FORBIDDEN
    );
    let mut olga = Visitor::new(&app, "Firefox");
    olga.post("/login", "").await;
    assert_eq!(olga.post("/flood", "").await.body, "12 ended");
    assert_eq!(olga.post("/flood", "").await.body, "0 ended");
}
