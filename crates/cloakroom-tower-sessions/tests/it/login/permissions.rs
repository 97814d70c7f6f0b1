//! The example `permissions`: pages for groups of users.

use axum::{Router, routing::get};
use axum_login::{login_required, permission_required};

use super::{AuthSession, Example, log_in_and_out, users::Backend};

async fn name(auth_session: AuthSession) -> String {
    auth_session.user.unwrap().name
}

async fn example() -> Example {
    let restricted =
        Router::new()
            .route("/restricted", get(name))
            .route_layer(permission_required!(
                Backend,
                login_url = "/login",
                "restricted.read"
            ));
    let protected = Router::new()
        .route("/", get(name))
        .route_layer(permission_required!(
            Backend,
            login_url = "/login",
            "protected.read"
        ))
        .route_layer(login_required!(Backend, login_url = "/login"));
    Example::new(restricted.merge(protected).merge(log_in_and_out())).await
}

#[tokio::test]
async fn a_page_is_shown_to_those_whose_group_may_see_it() {
    let example = example().await;
    let browser = &example.browser;
    assert_eq!(browser.get("/").await.location(), "/login?next=%2F");
    example.log_in(browser, "ferris").await;
    assert_eq!(browser.page("/").await, "ferris");
    let reply = browser.get("/restricted").await;
    assert_eq!(reply.location(), "/login?next=%2Frestricted");
    example.log_in(browser, "admin").await;
    assert_eq!(browser.page("/restricted").await, "admin");
    browser.get("/logout").await;
    assert_eq!(browser.cookies.session(), None);
    assert_eq!(
        browser.get("/restricted").await.location(),
        "/login?next=%2Frestricted"
    );
}
