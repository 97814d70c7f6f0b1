//! The id that tower-sessions' session shows.

use cloakroom::{SessionCookie, SessionId, SessionLayer, testing::FaultyStore};
use tower_sessions::session::Id;

use crate::support::{Views, Visitor};

fn id(id: SessionId) -> Id {
    Id(i128::from_le_bytes(*id.as_bytes()))
}

async fn shopper() -> Visitor {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    visitor
}

#[tokio::test]
async fn b4_before_loading_it_is_the_one_in_the_cookie() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            let theirs = views.theirs.id().unwrap();
            assert_eq!(theirs, id(views.ours().await.id().unwrap()));
            views.theirs.load().await.unwrap();
            assert_eq!(views.theirs.id(), Some(theirs));
        })
        .await;
}

#[tokio::test]
async fn it_is_not_looked_up_to_be_known() {
    let visitor = shopper().await;
    let _ = visitor.store.calls();
    let reply = visitor.visit(async |views: Views| views.theirs.id().unwrap().to_string());
    let shown = reply.await.body;
    assert_eq!(visitor.store.calls(), []);
    // Both are the cookie's first 16 bytes.
    assert!(visitor.cookies.session().unwrap().starts_with(&shown[..21]));
}

#[tokio::test]
async fn without_a_cookie_and_for_one_that_is_malformed_there_is_none() {
    let visitor = Visitor::new();
    for _ in 0..2 {
        visitor
            .visit(async |views: Views| assert_eq!(views.theirs.id(), None))
            .await;
        visitor.cookies.set("__Host-id", "malformed");
    }
}

#[tokio::test]
async fn a_session_that_is_gone_has_none_once_it_was_looked_up() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| views.theirs.flush().await.unwrap())
        .await;
    old.visit(async |views: Views| {
        assert!(views.theirs.id().is_some());
        assert_eq!(views.theirs.get::<u32>("cart").await.unwrap(), None);
        assert_eq!(views.theirs.id(), None);
    })
    .await;
}

#[tokio::test]
async fn b4_after_a_cycle_and_a_save_it_is_the_next_one() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            let before = views.theirs.id().unwrap();
            views.theirs.cycle_id().await.unwrap();
            assert_eq!(views.theirs.id(), None);
            views.theirs.save().await.unwrap();
            let after = views.theirs.id().unwrap();
            assert_ne!(after, before);
            assert_eq!(after, id(views.ours().await.next_id().unwrap()));
            // It still loads by it.
            views.theirs.load().await.unwrap();
            assert_eq!(views.theirs.get("cart").await.unwrap(), Some(1));
        })
        .await;
    let shown = visitor.visit(async |views: Views| views.theirs.id().unwrap().to_string());
    assert!(
        visitor
            .cookies
            .session()
            .unwrap()
            .starts_with(&shown.await.body[..21])
    );
}

#[tokio::test]
async fn after_a_log_in_and_a_save_it_is_the_next_one() {
    let visitor = shopper().await;
    let reply = visitor.visit(async |views: Views| {
        let user = serde_json::json!({ "user_id": 7 });
        views.theirs.cycle_id().await.unwrap();
        views.theirs.insert("user", user).await.unwrap();
        views.theirs.save().await.unwrap();
        views.theirs.id().unwrap().to_string()
    });
    let shown = reply.await.body;
    assert!(visitor.cookies.session().unwrap().starts_with(&shown[..21]));
    assert_eq!(visitor.seen().await, "7 cart,user");
}

#[tokio::test]
async fn a_new_session_has_one_once_it_was_saved() {
    let visitor = Visitor::new();
    let reply = visitor.visit(async |views: Views| {
        views.theirs.insert("cart", 1).await.unwrap();
        assert_eq!(views.theirs.id(), None);
        views.theirs.save().await.unwrap();
        views.theirs.id().unwrap().to_string()
    });
    let shown = reply.await.body;
    assert!(visitor.cookies.session().unwrap().starts_with(&shown[..21]));
}

#[tokio::test]
async fn of_two_cookies_it_is_that_of_the_one_that_proves_itself() {
    // Not `__Host-`: a sibling domain can plant a cookie.
    let store = FaultyStore::in_memory();
    let cookie = SessionCookie::new("id")
        .domain("shop.example")
        .build()
        .unwrap();
    let layer = SessionLayer::new(store.clone()).cookie(cookie);
    let visitor = Visitor::of(layer, store);
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    let header = visitor.cookies.header().unwrap();
    let (name, value) = header.split_once('=').unwrap();
    // A token that opens nothing, and the visitor's.
    let planted = format!("{}{}", &"BBBB".repeat(2), &value[8..]);
    visitor
        .cookies
        .set(name, &format!("{planted}; {name}={value}"));
    visitor
        .visit(async |views: Views| {
            let shown = views.theirs.id();
            assert_eq!(shown, Some(id(views.ours().await.id().unwrap())));
            assert_eq!(views.theirs.get("cart").await.unwrap(), Some(1));
        })
        .await;
}

#[tokio::test]
async fn a_visitor_without_a_session_is_told_apart_by_caches() {
    let visitor = Visitor::new();
    let reply = visitor.visit(async |views: Views| {
        views
            .theirs
            .get::<u32>("cart")
            .await
            .unwrap()
            .is_some()
            .to_string()
    });
    assert!(reply.await.varies());
    assert_eq!(visitor.store.calls(), []);
    // One with a session, where nobody asks for it, is not.
    let visitor = shopper().await;
    let reply = visitor.visit(async |views: Views| assert!(views.theirs.id().is_some()));
    assert!(!reply.await.varies());
}
