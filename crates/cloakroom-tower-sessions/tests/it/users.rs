//! `user_from`: the user whom a value names.

use cloakroom::SessionFilter;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Views, Visitor, count};

fn user(id: &str) -> Value {
    json!({ "user_id": id })
}

async fn insert(visitor: &Visitor, key: &'static str, value: Value) {
    visitor
        .visit(async move |views: Views| views.theirs.insert(key, value).await.unwrap())
        .await;
}

async fn logged_in() -> Visitor {
    let visitor = Visitor::new();
    insert(&visitor, "cart", json!(1)).await;
    insert(&visitor, "user", user("ann")).await;
    visitor
}

#[tokio::test]
async fn b3_a_value_that_names_a_user_logs_them_in_and_keeps_what_they_had() {
    let visitor = Visitor::new();
    insert(&visitor, "cart", json!(1)).await;
    let old = visitor.copy();
    insert(&visitor, "user", user("ann")).await;
    assert_eq!(visitor.seen().await, "ann cart,user");
    assert_eq!(old.seen().await, "none");
    let filter = SessionFilter::default().user("ann");
    let page = visitor.sessions.list(&filter, None, 10).await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(visitor.sessions.stats().logged_in, 1);
}

#[tokio::test]
async fn the_user_is_bound_where_theirs_cycles_too_and_once() {
    let visitor = Visitor::new();
    insert(&visitor, "cart", json!(1)).await;
    visitor
        .visit(async |views: Views| {
            views.theirs.cycle_id().await.unwrap();
            views.theirs.insert("user", user("ann")).await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "ann cart,user");
    assert_eq!(visitor.sessions.stats().logged_in, 1);
    assert_eq!(count(&visitor.sessions).await, 1);
}

#[tokio::test]
async fn b3_another_user_over_a_users_session_begins_without_their_values() {
    let visitor = logged_in().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            views.theirs.insert("user", user("bob")).await.unwrap();
            views.theirs.insert("own", 1).await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "bob own,user");
    assert_eq!(old.seen().await, "none");
}

#[tokio::test]
async fn a_user_whom_cloakroom_was_not_told_of_is_another_user_all_the_same() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| {
            let ours = views.ours().await;
            ours.insert("user", user("ann")).unwrap();
            ours.insert("cart", 1).unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "- cart,user");
    insert(&visitor, "user", user("bob")).await;
    assert_eq!(visitor.seen().await, "bob user");
}

#[tokio::test]
async fn b3_no_user_any_more_destroys_the_session_and_a_new_one_has_the_rest() {
    let visitor = logged_in().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| drop(views.theirs.remove_value("user").await.unwrap()))
        .await;
    assert_eq!(visitor.seen().await, "- cart");
    assert_eq!(old.seen().await, "none");
    assert_ne!(visitor.cookies.session(), old.cookies.session());
}

#[tokio::test]
async fn the_same_user_again_moves_nothing() {
    let visitor = logged_in().await;
    let before = visitor.cookies.session();
    insert(
        &visitor,
        "user",
        json!({ "user_id": "ann", "auth_hash": [1] }),
    )
    .await;
    assert_eq!(visitor.cookies.session(), before);
    assert_eq!(visitor.seen().await, "ann cart,user");
}

#[tokio::test]
async fn a_cycle_of_a_users_session_keeps_the_user_and_is_no_log_in() {
    let visitor = logged_in().await;
    let before = visitor.cookies.session();
    visitor
        .visit(async |views: Views| views.theirs.cycle_id().await.unwrap())
        .await;
    assert_ne!(visitor.cookies.session(), before);
    assert_eq!(visitor.seen().await, "ann cart,user");
    assert_eq!(visitor.sessions.stats().logged_in, 1);
}

#[tokio::test]
async fn a_user_whom_ours_logs_in_is_left_alone() {
    let visitor = Visitor::new();
    insert(&visitor, "cart", json!(1)).await;
    visitor
        .visit(async |views: Views| {
            views.ours().await.log_in("ann").unwrap();
            views.theirs.insert("more", 1).await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "ann cart,more");
    // Both at once are one log-in.
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| {
            views.ours().await.log_in("ann").unwrap();
            views.theirs.cycle_id().await.unwrap();
            views.theirs.insert("user", user("ann")).await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "ann user");
    assert_eq!(visitor.sessions.stats().logged_in, 1);
}

#[tokio::test]
async fn a_log_in_after_a_flush_begins_without_the_former_users_values() {
    let visitor = logged_in().await;
    visitor
        .visit(async |views: Views| {
            views.theirs.flush().await.unwrap();
            views.theirs.cycle_id().await.unwrap();
            views.theirs.insert("user", user("ann")).await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "ann user");
    assert_eq!(visitor.sessions.stats().logged_in, 2);
}

#[tokio::test]
async fn whom_an_operator_revokes_is_nobody_for_theirs() {
    let visitor = logged_in().await;
    assert_eq!(visitor.sessions.revoke_user("ann").await.unwrap(), 1);
    let reply = visitor
        .visit(async |views: Views| format!("{:?}", views.theirs.get_value("user").await.unwrap()));
    assert_eq!(reply.await.body, "None");
}

#[tokio::test]
async fn after_the_response_head_no_one_is_logged_in_and_theirs_is_told_so() {
    let visitor = Visitor::new();
    insert(&visitor, "cart", json!(1)).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    visitor
        .visit(async |views: Views| sender.send(views.theirs).unwrap())
        .await;
    let late = receiver.await.unwrap();
    late.insert("user", user("ann")).await.unwrap();
    assert!(late.save().await.is_err());
    assert_eq!(visitor.seen().await, "- cart");
}

/// More than a session takes.
fn too_much() -> Value {
    json!("x".repeat(100_000))
}

#[tokio::test]
async fn b3_a_log_in_with_too_much_data_changes_nothing() {
    for cycles in [false, true] {
        let visitor = Visitor::new();
        insert(&visitor, "cart", json!(1)).await;
        let reply = visitor.visit(async move |views: Views| {
            if cycles {
                views.theirs.cycle_id().await.unwrap();
            }
            views.theirs.insert("user", user("ann")).await.unwrap();
            views.theirs.insert("large", too_much()).await.unwrap();
        });
        assert_eq!(reply.await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(visitor.seen().await, "- cart");
        assert_eq!(visitor.sessions.stats().logged_in, 0);
    }
}

#[tokio::test]
async fn b3_another_users_log_in_with_too_much_data_leaves_neither_logged_in() {
    let visitor = logged_in().await;
    let old = visitor.copy();
    let reply = visitor.visit(async |views: Views| {
        views.theirs.insert("user", user("bob")).await.unwrap();
        views.theirs.insert("large", too_much()).await.unwrap();
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reply.set_cookie().contains("Max-Age=0"));
    assert_eq!(old.seen().await, "none");
    assert_eq!(count(&visitor.sessions).await, 0);
}

/// What a visitor has whose handler fails to save with `user` and too much data, and then saves with `second`.
async fn saved_twice(
    visitor: &Visitor,
    flushes: bool,
    [first, second]: [&'static str; 2],
) -> String {
    visitor
        .visit(async move |views: Views| {
            if flushes {
                views.theirs.flush().await.unwrap();
                views.theirs.insert("cart", 1).await.unwrap();
            }
            views.theirs.insert("user", user(first)).await.unwrap();
            views.theirs.insert("large", too_much()).await.unwrap();
            assert!(views.theirs.save().await.is_err());
            views.theirs.remove_value("large").await.unwrap();
            views.theirs.insert("user", user(second)).await.unwrap();
        })
        .await;
    visitor.seen().await
}

#[tokio::test]
async fn b3_what_is_saved_after_too_much_data_has_the_user_whom_it_names() {
    let visitor = Visitor::new();
    insert(&visitor, "cart", json!(1)).await;
    assert_eq!(
        saved_twice(&visitor, false, ["ann", "bob"]).await,
        "bob cart,user"
    );
    assert_eq!(
        saved_twice(&logged_in().await, false, ["bob", "bob"]).await,
        "bob user"
    );
    // After a flush, the same values begin a session.
    let seen = saved_twice(&logged_in().await, true, ["ann", "ann"]).await;
    assert_eq!(seen, "ann cart,user");
    // Neither user, because the session of the first one has ended.
    assert_eq!(
        saved_twice(&logged_in().await, false, ["bob", "ann"]).await,
        "none"
    );
}

#[tokio::test]
async fn b3_after_the_response_head_no_user_any_more_ends_the_session() {
    for has_rest in [false, true] {
        let visitor = Visitor::new();
        if has_rest {
            insert(&visitor, "cart", json!(1)).await;
        }
        insert(&visitor, "user", user("ann")).await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        visitor
            .visit(async |views: Views| sender.send(views.theirs).unwrap())
            .await;
        let late = receiver.await.unwrap();
        late.remove_value("user").await.unwrap();
        // A new session for the rest would need a cookie.
        assert_eq!(late.save().await.is_err(), has_rest);
        assert_eq!(visitor.seen().await, "none");
    }
}
