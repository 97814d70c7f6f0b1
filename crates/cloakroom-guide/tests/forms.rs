//! The program of the page "Forms", with curl, and with a visitor who clicks twice.

mod support;
mod transcript;

use self::support::Visitor;
use super::*;

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    transcript::follow(include_str!("../../../docs/guide/forms.md"), app()).await;
}

#[tokio::test]
async fn an_empty_note_is_an_error_that_is_shown_once() {
    let mut ann = Visitor::new(&app(), "Firefox");
    assert_eq!(ann.post("/save", "text=").await.to, "/");
    assert_eq!(ann.get("/").await.body, "error: The note is empty.\n");
    assert_eq!(ann.get("/").await.body, "");
}

/// The form that the button on the page sends.
async fn order_form(visitor: &mut Visitor) -> String {
    let page = visitor.get("/order").await.body;
    let (_, value) = page.split_once("value=\"").unwrap();
    format!("token={}", value.split('"').next().unwrap())
}

#[tokio::test]
async fn an_order_is_placed_once_and_an_older_form_leaves_the_newer_one() {
    let app = app();
    let mut ann = Visitor::new(&app, "Firefox");
    let older = order_form(&mut ann).await;
    let form = order_form(&mut ann).await;
    let refused = ann.post("/order", &older).await;
    assert!(refused.body.contains("a newer one is open"));
    let mut clicks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (mut again, form) = (ann.clone(), form.clone());
        clicks.spawn(async move { again.post("/order", &form).await.body });
    }
    let answers = clicks.join_all().await;
    let ordered = answers.iter().filter(|answer| *answer == "ordered");
    assert_eq!(ordered.count(), 1, "{answers:?}");
}
