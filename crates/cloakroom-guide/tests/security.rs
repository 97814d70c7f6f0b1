//! The program of the page "Security", with curl, and in the hands of its users.

mod support;
mod transcript;

use axum::http::StatusCode;
use cloakroom::testing::FixedClock;

use self::support::Visitor;
use super::*;

const PASSWORD: &str = "password=correct+horse";

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let page = include_str!("../../../docs/guide/security.md");
    transcript::follow(page, app(SessionLayer::default())).await;
}

#[tokio::test]
async fn a_payment_asks_for_the_password_again_after_five_minutes() {
    let clock = FixedClock::default();
    let app = app(SessionLayer::default().clock(clock.clone()));
    let mut ann = Visitor::new(&app, "Firefox");
    assert_eq!(ann.get("/payment").await.to, "/login?next=%2Fpayment");
    assert_eq!(ann.get("/login").await.status, StatusCode::OK);
    let refused = ann.post("/login?next=%2Fpayment", "password=guess").await;
    assert_eq!(refused.to, "/login?next=%2Fpayment");
    let accepted = ann.post("/login?next=%2Fpayment", PASSWORD).await;
    assert_eq!(accepted.to, "/payment");
    assert_eq!(ann.get("/payment").await.body, "What shall ann pay?");
    clock.advance(5 * MINUTE + Duration::from_secs(1));
    assert_eq!(ann.get("/payment").await.to, "/confirm?next=%2Fpayment");
    assert_eq!(ann.get("/account").await.body, "ann");
    assert_eq!(ann.get("/confirm").await.status, StatusCode::OK);
    let confirm = "/confirm?next=%2Fpayment";
    assert_eq!(ann.post(confirm, "password=guess").await.to, confirm);
    let before = ann.clone();
    assert_eq!(ann.post(confirm, PASSWORD).await.to, "/payment");
    assert_eq!(ann.get("/payment").await.body, "What shall ann pay?");
    // A copy of the cookie from before does not pay.
    assert_ne!(before.cookie, ann.cookie);
    assert_eq!(
        { before }.get("/payment").await.to,
        "/login?next=%2Fpayment"
    );
}

#[tokio::test]
async fn a_user_ends_their_other_sessions() {
    let app = app(SessionLayer::default());
    let (mut ann, mut phone) = (Visitor::new(&app, "Firefox"), Visitor::new(&app, "Phone"));
    for device in [&mut ann, &mut phone] {
        device.post("/login", PASSWORD).await;
        assert_eq!(device.get("/account").await.body, "ann");
    }
    assert_eq!(ann.post("/others", "").await.to, "/account");
    assert_eq!(ann.get("/account").await.body, "ann");
    assert_eq!(phone.get("/account").await.to, "/login?next=%2Faccount");
}
