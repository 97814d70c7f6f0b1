//! The example `sqlite`: log in by a form, see a protected page, log out.

use axum::{Router, routing::get};
use axum_login::login_required;
use axum_messages::Messages;
use cloakroom::SessionFilter;
use http::StatusCode;

use super::{AuthSession, Example, log_in_and_out, users::Backend};
use crate::support::count;

async fn example() -> Example {
    Example::new(routes()).await
}

pub(super) fn routes() -> Router {
    let protected = async |auth_session: AuthSession, messages: Messages| {
        let messages: Vec<_> = messages.map(|message| message.to_string()).collect();
        format!(
            "{}: {}",
            auth_session.user.unwrap().name,
            messages.join(", ")
        )
    };
    Router::new()
        .route("/", get(protected))
        .route_layer(login_required!(Backend, login_url = "/login"))
        .merge(log_in_and_out())
}

#[tokio::test]
async fn a_visitor_logs_in_sees_the_page_and_logs_out() {
    let example = example().await;
    let browser = &example.browser;
    // Who has not logged in is sent to the form, and gets no cookie.
    let reply = browser.get("/").await;
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(reply.location(), "/login?next=%2F");
    assert!(reply.set_cookies().is_empty());
    assert!(reply.varies());
    // With a wrong password there is a message, in a session.
    let reply = browser
        .post("/login", "username=ferris&password=bogus")
        .await;
    assert_eq!(reply.location(), "/login");
    let anonymous = browser.cookies.session().unwrap();
    assert_eq!(browser.page("/login").await, "Invalid credentials next=");
    // With the right one there is another session, of the user.
    example.log_in(browser, "ferris").await;
    assert_ne!(browser.cookies.session().unwrap(), anonymous);
    assert_eq!(
        browser.page("/").await,
        "ferris: Successfully logged in as ferris"
    );
    assert_eq!(browser.page("/").await, "ferris: ");
    let filter = SessionFilter::default().user("1");
    let page = example.sessions.list(&filter, None, 10).await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    // A log-out ends it.
    let old = browser.copy();
    let reply = browser.get("/logout").await;
    assert_eq!(reply.location(), "/login");
    assert!(reply.set_cookie().contains("Max-Age=0"));
    assert_eq!(browser.cookies.header(), None);
    assert_eq!(old.get("/").await.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(count(&example.sessions).await, 0);
}

#[tokio::test]
async fn the_page_that_was_asked_for_comes_after_the_log_in() {
    let example = example().await;
    let form = "username=ferris&password=hunter42&next=%2Fsomewhere";
    let reply = example.browser.post("/login", form).await;
    assert_eq!(reply.location(), "/somewhere");
}

#[tokio::test]
async fn a_changed_password_ends_the_users_sessions_and_who_knows_it_logs_in_again() {
    let example = example().await;
    let browser = &example.browser;
    example.log_in(browser, "ferris").await;
    let elsewhere = browser.other();
    example.log_in(&elsewhere, "ferris").await;
    example.backend.change_password("ferris", "swordfish").await;
    // axum-login flushes a session whose hash is another one.
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::TEMPORARY_REDIRECT
    );
    assert_eq!(browser.cookies.session(), None);
    // Here it flushes and cycles in one request.
    let reply = elsewhere
        .post("/login", "username=ferris&password=swordfish")
        .await;
    assert_eq!(reply.location(), "/");
    assert_eq!(
        elsewhere.page("/").await,
        "ferris: Successfully logged in as ferris"
    );
    assert_eq!(count(&example.sessions).await, 1);
}

#[tokio::test]
async fn another_user_who_logs_in_over_a_session_does_not_get_its_values() {
    let example = example().await;
    let browser = &example.browser;
    example.log_in(browser, "ferris").await;
    let old = browser.copy();
    example.log_in(browser, "admin").await;
    assert!(browser.page("/").await.starts_with("admin: "));
    assert_eq!(old.get("/").await.status, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn a_user_whose_sessions_are_revoked_has_to_log_in_again() {
    let example = example().await;
    example.log_in(&example.browser, "ferris").await;
    assert_eq!(example.sessions.revoke_user("1").await.unwrap(), 1);
    let reply = example.browser.get("/").await;
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
}
