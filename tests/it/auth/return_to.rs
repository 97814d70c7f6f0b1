//! Rule U4: where a visitor goes after the log-in.

use axum::{Router, routing::get};
use cloakroom::{ReturnTo, SessionLayer};
use http::StatusCode;

use crate::support::Browser;

fn browser() -> Browser {
    let show = async |to: ReturnTo| format!("{}{}", to.or("-"), to.query());
    let inner = Router::new().route("/enter", get(show));
    let app = Router::new()
        .route("/login", get(show))
        .nest("/nested", inner)
        .layer(
            SessionLayer::default()
                .log_in_page("/login")
                .log_out_page("/logout"),
        );
    Browser::new(app)
}

#[tokio::test]
async fn u4_a_path_of_this_host_is_returned_to_with_its_query() {
    for (next, path) in [
        ("%2F", "/"),
        ("/orders", "/orders"),
        (
            "%2Forders%3Fpage%3D2%26q%3Da%252Fb",
            "/orders?page=2&q=a%2Fb",
        ),
        ("/login-help", "/login-help"),
    ] {
        let reply = browser().get(&format!("/login?lang=en&next={next}")).await;
        let (shown, query) = reply.body.split_at(path.len());
        assert_eq!(shown, path);
        // What is handed on is read as the same.
        let again = browser().get(&format!("/login{query}")).await;
        assert_eq!(again.body, reply.body);
        assert!(
            query
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"?=%.-_*+".contains(&byte))
        );
    }
}

#[tokio::test]
async fn u4_a_next_that_leads_to_another_host_is_none() {
    for next in [
        "https%3A%2F%2Fevil.example",
        "https:evil.example",
        "%2F%2Fevil.example",
        "%2F%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%5C%2Fevil.example",
        "%5C%5Cevil.example",
        "%2F%09%2Fevil.example",
        "%2F%0A%2Fevil.example",
        "%2F%0D%2Fevil.example",
        "+%2F%2Fevil.example",
        "%09%2F%2Fevil.example",
        "javascript%3Aalert(1)",
        "data%3Atext%2Fhtml%2C",
        "evil.example",
        "%2Forders%00",
        "%2Fa%5Cb",
        "%2F%FF",
        "%2F%E2%81%84evil.example",
        "%252F%252Fevil.example",
        "",
    ] {
        let reply = browser().get(&format!("/login?next={next}")).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (StatusCode::OK, "-"),
            "{next}"
        );
    }
}

#[tokio::test]
async fn u4_the_log_in_and_the_log_out_page_are_not_returned_to_in_any_spelling() {
    for next in [
        "/login",
        "/login/",
        "/login%3Fnext%3D%2F",
        "/LOGIN",
        "/%256Cogin",
        "/a/../login",
        "/./login",
        "/logout",
        "/logout%3Fnow",
        "/%2e%2e/logout",
    ] {
        let reply = browser().get(&format!("/login?next={next}")).await;
        assert_eq!(reply.body, "-", "{next}");
    }
    // Nor the page that asks, where it is nested too.
    let reply = browser().get("/nested/enter?next=/nested/enter").await;
    assert_eq!(reply.body, "-");
    let reply = browser().get("/nested/enter?next=/enter").await;
    assert!(reply.body.starts_with("/enter"));
}

#[tokio::test]
async fn u4_a_next_that_is_given_twice_or_too_long_or_not_at_all_is_none() {
    for query in [
        "",
        "?",
        "?next",
        "?next=",
        "?next=/a&next=/a",
        "?next=/a&next=//evil.example",
    ] {
        let reply = browser().get(&format!("/login{query}")).await;
        assert_eq!(reply.body, "-", "{query}");
    }
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    let longest = browser().get(&format!("/login?next={}", path(2048))).await;
    assert!(longest.body.starts_with(&path(2048)));
    let longer = browser().get(&format!("/login?next={}", path(2049))).await;
    assert_eq!(longer.body, "-");
}

#[tokio::test]
async fn without_a_session_layer_it_is_checked_all_the_same() {
    let app = Router::new().route("/login", get(async |to: ReturnTo| to.or("-").to_owned()));
    let browser = Browser::new(app);
    assert_eq!(browser.get("/login?next=/orders").await.body, "/orders");
    assert_eq!(browser.get("/login?next=//evil.example").await.body, "-");
    assert_eq!(browser.get("/login?next=/login").await.body, "-");
}
