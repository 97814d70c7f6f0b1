//! tower-sessions' session and cloakroom's in one request, and two versions of tower-sessions.

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    routing::get,
};
use cloakroom::{ErrorKind, SessionHandle, SessionLayer};
use cloakroom_tower_sessions::TowerSessionsLayer;
use http::StatusCode;
use serde_json::json;
use tower_sessions::Session;

use crate::support::{Browser, Views, Visitor};

/// A visitor with a session that has the value `cart`.
async fn shopper() -> Visitor {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    visitor
}

#[tokio::test]
async fn a_change_through_theirs_is_seen_by_ours_once_it_was_saved() {
    shopper()
        .await
        .visit(async |views: Views| {
            let ours = views.ours().await;
            assert_eq!(ours.get("cart").unwrap(), Some(1));
            views.theirs.insert("x", 1).await.unwrap();
            assert_eq!(ours.get::<u32>("x").unwrap(), None);
            views.theirs.save().await.unwrap();
            assert_eq!(ours.get("x").unwrap(), Some(1));
        })
        .await;
}

#[tokio::test]
async fn a_change_through_ours_is_seen_by_theirs_until_they_first_read() {
    shopper()
        .await
        .visit(async |views: Views| {
            let ours = views.ours().await;
            ours.insert("early", 1).unwrap();
            assert_eq!(views.theirs.get("early").await.unwrap(), Some(1));
            ours.insert("late", 1).unwrap();
            assert_eq!(views.theirs.get::<u32>("late").await.unwrap(), None);
        })
        .await;
}

#[tokio::test]
async fn a_change_through_ours_is_seen_by_theirs_after_a_load() {
    shopper()
        .await
        .visit(async |views: Views| {
            assert_eq!(views.theirs.get("cart").await.unwrap(), Some(1));
            views.ours().await.insert("late", 1).unwrap();
            views.theirs.load().await.unwrap();
            assert_eq!(views.theirs.get("late").await.unwrap(), Some(1));
        })
        .await;
}

#[tokio::test]
async fn at_the_head_theirs_are_applied_last() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            views.theirs.insert("cart", "theirs").await.unwrap();
            let ours = views.ours().await;
            ours.insert("cart", "ours").unwrap();
            ours.insert("other", "ours").unwrap();
        })
        .await;
    visitor
        .visit(async |views: Views| {
            let ours = views.ours().await;
            assert_eq!(ours.get::<String>("cart").unwrap().unwrap(), "theirs");
            assert_eq!(ours.get::<String>("other").unwrap().unwrap(), "ours");
        })
        .await;
}

#[tokio::test]
async fn b1_a_clear_removes_the_keys_that_the_request_saw_and_no_other() {
    for reads in [true, false] {
        let visitor = shopper().await;
        let other = visitor.copy();
        visitor
            .visit(async move |views: Views| {
                if reads {
                    assert_eq!(views.theirs.get("cart").await.unwrap(), Some(1));
                }
                views.theirs.clear().await;
                views.theirs.insert("after", 1).await.unwrap();
                if reads {
                    other
                        .ask(async |views: Views| {
                            views.theirs.insert("meanwhile", 1).await.unwrap();
                        })
                        .await;
                }
            })
            .await;
        let left = if reads {
            "- after,meanwhile"
        } else {
            "- after"
        };
        assert_eq!(visitor.seen().await, left);
    }
}

#[tokio::test]
async fn b1_a_value_that_is_put_back_is_no_change() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| {
            let value = json!({ "a": 1, "b": [1.0, null] });
            views.theirs.insert("value", value).await.unwrap();
        })
        .await;
    let _ = visitor.store.calls();
    let reply = visitor.visit(async |views: Views| {
        views.theirs.remove_value("value").await.unwrap();
        let value = json!({ "b": [1.0, null], "a": 1 });
        views.theirs.insert("value", value).await.unwrap();
        assert!(views.theirs.is_modified());
    });
    assert!(reply.await.set_cookies().is_empty());
    assert_eq!(visitor.store.calls(), [cloakroom::StoreCall::Load]);
}

#[tokio::test]
async fn a_number_that_theirs_cannot_hold_stays_as_it_is() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.ours().await.insert("large", u128::MAX).unwrap())
        .await;
    visitor
        .visit(async |views: Views| views.theirs.insert("x", 1).await.unwrap())
        .await;
    visitor
        .visit(async |views: Views| {
            assert_eq!(views.ours().await.get("large").unwrap(), Some(u128::MAX));
        })
        .await;
}

#[tokio::test]
async fn b2_under_a_status_of_500_what_theirs_changed_is_not_kept_and_what_ours_changed_is() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            views.theirs.insert("theirs", 1).await.unwrap();
            views.ours().await.insert("ours", 1).unwrap();
            StatusCode::INTERNAL_SERVER_ERROR
        })
        .await;
    assert_eq!(visitor.seen().await, "- cart,ours");
}

#[tokio::test]
async fn both_versions_change_one_session() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| {
            views.theirs.insert("older", 14).await.unwrap();
            views.newer.insert("newer", 15).await.unwrap();
            views.ours().await.insert("ours", 0).unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "- newer,older,ours");
    visitor
        .visit(async |views: Views| {
            assert_eq!(views.theirs.get("newer").await.unwrap(), Some(15));
            assert_eq!(views.newer.get("older").await.unwrap(), Some(14));
        })
        .await;
    assert_eq!(visitor.sessions.stats().created, 1);
}

#[tokio::test]
async fn a_log_out_through_one_version_ends_the_session_for_both() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            assert_eq!(views.newer.get("cart").await.unwrap(), Some(1));
            views.newer.insert("flash", "bye").await.unwrap();
            views.theirs.flush().await.unwrap();
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.seen().await, "- flash");
}

#[tokio::test]
async fn a_new_session_of_ours_and_theirs_is_one_session() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| {
            let ours = views.ours().await;
            ours.insert("ours", 1).unwrap();
            ours.save().await.unwrap();
            views.theirs.insert("theirs", 1).await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "- ours,theirs");
}

#[tokio::test]
async fn at_the_head_a_log_in_through_ours_comes_after_theirs() {
    let user = async |session: cloakroom::Session| {
        let cart: Option<u32> = session.get("cart").unwrap();
        format!("{:?} {cart:?}", session.user())
    };
    let bridged = Router::new()
        .route(
            "/add",
            get(async |session: Session| session.insert("cart", 1).await.unwrap()),
        )
        .route(
            "/flush",
            get(async |session: Session| session.flush().await.unwrap()),
        )
        .layer(TowerSessionsLayer::new());
    // A middleware around the layer logs in when the inner response is ready.
    let log_in = async |handle: SessionHandle, request: Request, next: Next| {
        let response = next.run(request).await;
        handle.load().await.unwrap().log_in("ann").unwrap();
        response
    };
    let app = bridged
        .layer(from_fn(log_in))
        .route("/", get(user))
        .layer(SessionLayer::default());
    let browser = Browser::new(app);
    browser.page("/add").await;
    assert_eq!(browser.page("/").await, r#"Some("ann") Some(1)"#);
    browser.page("/flush").await;
    assert_eq!(browser.page("/").await, r#"Some("ann") None"#);
}

#[tokio::test]
async fn after_the_head_a_log_in_through_ours_is_an_error_and_changes_nothing() {
    let visitor = shopper().await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    visitor
        .visit(async |views: Views| drop(sender.send(views)))
        .await;
    let late = receiver.await.unwrap();
    let refused = late.ours().await.log_in("ann").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLate);
    late.theirs.insert("late", 1).await.unwrap();
    late.theirs.save().await.unwrap();
    assert_eq!(visitor.seen().await, "- cart,late");
}
