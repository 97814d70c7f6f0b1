//! T7: what comes under a former name gets a new id.

use cloakroom::{FormerCookie, SameSite, SessionCookie, SessionCookieBuilder, SessionHandle};
use insta::assert_snapshot;

use crate::support::{
    Browser, Client, Visitor,
    fixture::{Fixture, plain_cookie, visitor_of},
};

/// Somebody whose session began under the cookie `old`, at the layer of today.
async fn renamed(fixture: &Fixture, cookie: SessionCookieBuilder) -> Browser {
    let visitor = fixture
        .known(fixture.layer().cookie(plain_cookie("old")))
        .await;
    let browser = visitor_of(fixture.layer().cookie(cookie));
    browser.set_cookie("old", &visitor.cookie("old").unwrap());
    browser
}

#[tokio::test]
async fn t7_a_planted_or_copied_former_cookie_opens_nothing_afterwards() {
    let fixture = Fixture::new();
    let visitor = renamed(&fixture, SessionCookie::new("new").also_read("old")).await;
    let thief = visitor.twin();
    assert_eq!(visitor.get("/load").await.body, "n=1 user=-");
    assert_eq!(thief.get("/load").await.body, "nobody");
    assert!(thief.cookie("__Host-new").is_none());
    visitor.get("/in/ann").await;
    assert_eq!(thief.get("/load").await.body, "nobody");
    assert_eq!(visitor.get("/load").await.body, "n=1 user=ann");
}

#[tokio::test]
async fn t7_the_former_cookie_is_removed_as_it_was_set() {
    let fixture = Fixture::new();
    let former = FormerCookie::new("old").path("/app").domain("example.com");
    let visitor = renamed(&fixture, SessionCookie::new("new").also_read(former)).await;
    let removal = visitor.get("/load").await.set_cookies().remove(1);
    assert_snapshot!(removal, @"old=; HttpOnly; SameSite=Lax; Secure; Path=/app; Domain=example.com; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    assert!(visitor.cookie("old").is_none());
    // One who did not bring it loses nothing.
    assert_eq!(visitor.get("/cycle").await.set_cookies().len(), 1);
}

#[tokio::test]
async fn t7_the_former_cookie_is_removed_where_browsers_keep_it() {
    let fixture = Fixture::new();
    for (was, is) in [(true, false), (false, true)] {
        let former = FormerCookie::new("old").partitioned(was);
        let cookie = SessionCookie::new("new").same_site(SameSite::None);
        let cookie = cookie.partitioned(is).also_read(former);
        let visitor = renamed(&fixture, cookie).await;
        let cookies = visitor.get("/load").await.set_cookies();
        let is_partitioned = |cookie: &String| cookie.contains("Partitioned");
        assert_eq!(
            cookies.iter().map(is_partitioned).collect::<Vec<_>>(),
            [is, was]
        );
        assert!(cookies.iter().all(|cookie| cookie.contains("Secure")));
    }
}

#[tokio::test]
async fn t7_a_request_that_only_peeks_moves_nothing() {
    let fixture = Fixture::new();
    let visitor = renamed(&fixture, SessionCookie::new("new").also_read("old")).await;
    for _ in 0..2 {
        let reply = visitor.get("/peek").await;
        assert_eq!(reply.body, "n=1 user=-");
        assert!(reply.set_cookies().is_empty());
    }
}

#[tokio::test]
async fn t7_a_log_in_and_a_log_out_work_under_a_former_name() {
    let fixture = Fixture::new();
    let cookie = || SessionCookie::new("new").also_read("old");
    let visitor = renamed(&fixture, cookie()).await;
    let set = visitor.get("/in/ann").await.set_cookies();
    assert_eq!(set.len(), 2, "{set:?}");
    assert_eq!(visitor.get("/load").await.body, "n=1 user=ann");
    let visitor = renamed(&fixture, cookie()).await;
    let twin = visitor.twin();
    visitor.get("/destroy").await;
    assert_eq!(
        (visitor.cookie("old"), visitor.cookie("__Host-new")),
        (None, None)
    );
    assert_eq!(twin.get("/load").await.body, "nobody");
}

#[tokio::test]
async fn t7_changes_of_the_request_go_with_the_session() {
    let fixture = Fixture::new();
    let visitor = renamed(&fixture, SessionCookie::new("new").also_read("old")).await;
    assert_eq!(visitor.get("/set/n/7").await.body, "set");
    assert_eq!(visitor.get("/load").await.body, "n=7 user=-");
}

#[tokio::test]
async fn t7_the_new_id_is_known_to_the_handler() {
    let fixture = Fixture::new();
    let old = renamed(&fixture, SessionCookie::new("new").also_read("old")).await;
    let cookie = SessionCookie::new("new").also_read("old");
    let layer = fixture.layer().cookie(cookie);
    let value = format!("old={}", old.cookie("old").unwrap());
    let client = Client::with_cookie(layer.clone(), value.clone());
    let next = client.visit(async |session| session.next_id()).await;
    assert!(next.is_some());
    assert_eq!(client.visit(async |session| session.id()).await, next);
    // A response head that is gone moves nothing: its cookie could not follow.
    let visitor = Visitor::new(&layer);
    visitor.set_cookie(client.cookie());
    let kept: std::sync::Arc<parking_lot::Mutex<Option<SessionHandle>>> = Default::default();
    let slot = kept.clone();
    visitor
        .ask(async move |handle: SessionHandle| {
            *slot.lock() = Some(handle);
            http::Response::new(axum::body::Body::empty())
        })
        .await;
    let handle = kept.lock().take().unwrap();
    assert_eq!(handle.load().await.unwrap().next_id(), None);
}

#[test]
fn t7_a_former_cookie_that_no_browser_could_have_is_refused() {
    let refused = |former: FormerCookie| {
        let built = SessionCookie::new("new").also_read(former).build();
        built.unwrap_err().to_string()
    };
    for former in [
        FormerCookie::new("__Host-old").path("/app"),
        FormerCookie::new("__host-old").domain("example.com"),
    ] {
        assert!(refused(former).contains("remove them"));
    }
    for former in [
        FormerCookie::new("my old"),
        FormerCookie::new("old").path("app"),
        FormerCookie::new("old").domain(".example.com"),
        FormerCookie::new("__Host-new"),
    ] {
        refused(former);
    }
    let same = FormerCookie::new("__Host-old").path("/");
    assert!(SessionCookie::new("new").also_read(same).build().is_ok());
}
