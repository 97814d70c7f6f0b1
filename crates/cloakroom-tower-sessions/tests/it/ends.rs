//! `flush`, `delete` and `cycle_id`: each calls the store's `delete`, and what follows says which it was.

use cloakroom::StoreCall;
use http::StatusCode;
use tower_sessions::Session;

use crate::support::{Views, Visitor, count};

/// A visitor with a session that has the value `cart`.
async fn shopper() -> Visitor {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| insert(&views.theirs, "cart").await)
        .await;
    assert_eq!(visitor.seen().await, "- cart");
    visitor
}

async fn insert(session: &Session, key: &str) {
    session.insert(key, 1).await.unwrap();
}

#[tokio::test]
async fn b2_a_flush_destroys_the_session() {
    let visitor = shopper().await;
    let old = visitor.copy();
    let reply = visitor.visit(async |views: Views| views.theirs.flush().await.unwrap());
    assert!(reply.await.set_cookie().contains("Max-Age=0"));
    assert_eq!(old.seen().await, "none");
}

#[tokio::test]
async fn a_flush_of_a_session_that_was_read_destroys_it_too() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            assert_eq!(views.theirs.get("cart").await.unwrap(), Some(1));
            views.theirs.flush().await.unwrap();
            assert!(views.theirs.id().is_none());
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.cookies.session(), None);
}

#[tokio::test]
async fn b2_a_flush_counts_under_a_status_of_500_too_and_what_was_inserted_after_it_does_not() {
    for inserts in [false, true] {
        let visitor = shopper().await;
        let old = visitor.copy();
        visitor
            .visit(async move |views: Views| {
                views.theirs.flush().await.unwrap();
                if inserts {
                    insert(&views.theirs, "late").await;
                }
                StatusCode::INTERNAL_SERVER_ERROR
            })
            .await;
        assert_eq!(old.seen().await, "none");
        assert_eq!(visitor.seen().await, "none");
        assert_eq!(count(&visitor.sessions).await, 0);
    }
}

#[tokio::test]
async fn b2_what_is_inserted_after_a_flush_begins_a_new_session() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            views.theirs.flush().await.unwrap();
            insert(&views.theirs, "flash").await;
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.seen().await, "- flash");
    assert_ne!(visitor.cookies.session(), old.cookies.session());
}

#[tokio::test]
async fn b2_a_delete_destroys_the_session() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| views.theirs.delete().await.unwrap())
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.cookies.session(), None);
}

#[tokio::test]
async fn b2_a_delete_counts_under_a_status_of_500_too() {
    let visitor = shopper().await;
    let reply = visitor.ask(async |views: Views| {
        insert(&views.theirs, "late").await;
        views.theirs.delete().await.unwrap();
        StatusCode::BAD_GATEWAY
    });
    assert_eq!(reply.await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn what_is_inserted_beside_a_delete_begins_a_new_session_without_the_former_values() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            views.theirs.delete().await.unwrap();
            insert(&views.theirs, "flash").await;
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.seen().await, "- flash");
}

#[tokio::test]
async fn after_a_delete_a_load_finds_nothing() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            views.theirs.delete().await.unwrap();
            views.theirs.load().await.unwrap();
            assert_eq!(views.theirs.get::<u32>("cart").await.unwrap(), None);
        })
        .await;
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn b2_a_cycle_gives_the_session_another_id_and_keeps_its_values() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            let before = views.ours().await.id();
            views.theirs.cycle_id().await.unwrap();
            insert(&views.theirs, "more").await;
            assert_eq!(views.ours().await.id(), before);
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.seen().await, "- cart,more");
}

#[tokio::test]
async fn b2_a_cycle_under_a_status_of_500_changes_nothing() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            views.theirs.cycle_id().await.unwrap();
            insert(&views.theirs, "more").await;
            StatusCode::INTERNAL_SERVER_ERROR
        })
        .await;
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_cycle_of_a_session_without_values_ends_it_as_theirs_does() {
    let visitor = shopper().await;
    visitor
        .visit(async |views: Views| {
            views.theirs.remove_value("cart").await.unwrap();
            views.theirs.cycle_id().await.unwrap();
        })
        .await;
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn a_flush_and_then_a_cycle_begins_a_new_session() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            views.theirs.flush().await.unwrap();
            views.theirs.cycle_id().await.unwrap();
            insert(&views.theirs, "anew").await;
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.seen().await, "- anew");
}

#[tokio::test]
async fn a_cycle_and_then_a_flush_ends_the_session() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            views.theirs.cycle_id().await.unwrap();
            views.theirs.flush().await.unwrap();
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.cookies.session(), None);
}

#[tokio::test]
async fn a_cycle_and_a_save_and_then_a_flush_ends_the_session() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async |views: Views| {
            views.theirs.cycle_id().await.unwrap();
            views.theirs.save().await.unwrap();
            views.theirs.flush().await.unwrap();
        })
        .await;
    assert_eq!(old.seen().await, "none");
    assert_eq!(visitor.cookies.session(), None);
    assert_eq!(count(&visitor.sessions).await, 0);
}

#[tokio::test]
async fn a_flush_that_is_saved_by_the_handler_ends_the_session_at_once() {
    let visitor = shopper().await;
    let old = visitor.copy();
    visitor
        .visit(async move |views: Views| {
            views.theirs.flush().await.unwrap();
            views.theirs.save().await.unwrap();
            assert_eq!(old.seen().await, "none");
            insert(&views.theirs, "anew").await;
        })
        .await;
    assert_eq!(visitor.seen().await, "- anew");
}

#[tokio::test]
async fn a_visitor_without_a_session_may_flush_delete_and_cycle() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| {
            views.theirs.delete().await.unwrap();
            views.theirs.cycle_id().await.unwrap();
            views.theirs.flush().await.unwrap();
        })
        .await;
    assert_eq!(visitor.store.calls(), []);
    visitor
        .visit(async |views: Views| {
            views.theirs.cycle_id().await.unwrap();
            insert(&views.theirs, "cart").await;
        })
        .await;
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_log_out_of_a_request_that_is_cancelled_does_not_count() {
    let visitor = shopper().await;
    let reply = visitor.ask(async |views: Views| {
        views.theirs.flush().await.unwrap();
        std::future::pending::<()>().await;
    });
    let cancelled = tokio::time::timeout(std::time::Duration::from_millis(20), reply).await;
    assert!(cancelled.is_err());
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn after_the_response_head_a_flush_and_a_delete_end_the_session_at_once() {
    for deletes in [false, true] {
        let visitor = shopper().await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        visitor
            .visit(async |views: Views| sender.send(views.theirs).unwrap())
            .await;
        let late = receiver.await.unwrap();
        match deletes {
            true => late.delete().await.unwrap(),
            false => late.flush().await.unwrap(),
        }
        assert_eq!(visitor.seen().await, "none");
    }
}

#[tokio::test]
async fn a_save_writes_at_once_and_a_pending_cycle_waits_for_the_response_head() {
    for cycles in [false, true] {
        let visitor = shopper().await;
        let old = visitor.copy();
        visitor
            .visit(async move |views: Views| {
                if cycles {
                    views.theirs.cycle_id().await.unwrap();
                }
                insert(&views.theirs, "more").await;
                views.theirs.save().await.unwrap();
                assert_eq!(old.seen().await, "- cart,more");
            })
            .await;
        assert_eq!(visitor.seen().await, "- cart,more");
    }
}

#[tokio::test]
async fn a_save_without_values_stores_nothing() {
    let visitor = Visitor::new();
    let reply = visitor.visit(async |views: Views| {
        views.theirs.save().await.unwrap();
        // Theirs has an id now, which is no session's.
        assert!(views.theirs.id().is_some());
        assert_eq!(views.ours().await.id(), None);
    });
    assert!(reply.await.set_cookies().is_empty());
    assert_eq!(visitor.store.calls(), []);
    let reply = visitor.visit(async |views: Views| {
        views.theirs.save().await.unwrap();
        insert(&views.theirs, "cart").await;
    });
    reply.await.set_cookie();
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn a_cycle_and_then_a_flush_with_ours_log_in_ends_the_session() {
    for before in [false, true] {
        let visitor = shopper().await;
        let old = visitor.copy();
        visitor
            .visit(async move |views: Views| {
                let ours = views.ours().await;
                if before {
                    ours.log_in("ann").unwrap();
                }
                views.theirs.cycle_id().await.unwrap();
                views.theirs.flush().await.unwrap();
                if !before {
                    ours.log_in("ann").unwrap();
                }
            })
            .await;
        assert_eq!(old.seen().await, "none");
        assert_eq!(visitor.seen().await, "none");
        assert_eq!(count(&visitor.sessions).await, 0);
    }
}

#[tokio::test]
async fn a_cycle_a_flush_and_an_insert_keep_the_user_whom_ours_has_logged_in() {
    for earlier in [false, true] {
        let visitor = shopper().await;
        if earlier {
            visitor
                .visit(async |views: Views| views.ours().await.log_in("ann").unwrap())
                .await;
        }
        let old = visitor.copy();
        visitor
            .visit(async move |views: Views| {
                if !earlier {
                    views.ours().await.log_in("ann").unwrap();
                }
                views.theirs.cycle_id().await.unwrap();
                views.theirs.flush().await.unwrap();
                insert(&views.theirs, "flash").await;
            })
            .await;
        assert_eq!(old.seen().await, "none");
        assert_eq!(visitor.seen().await, "ann flash");
    }
}

#[tokio::test]
async fn a_flush_ends_what_ours_logs_in_after_it_unless_it_was_saved() {
    for saves in [false, true] {
        let visitor = shopper().await;
        let old = visitor.copy();
        visitor
            .visit(async move |views: Views| {
                views.theirs.flush().await.unwrap();
                if saves {
                    views.theirs.save().await.unwrap();
                }
                views.ours().await.log_in("ann").unwrap();
            })
            .await;
        assert_eq!(old.seen().await, "none");
        let expected = if saves { "ann " } else { "none" };
        assert_eq!(visitor.seen().await, expected);
    }
}

#[tokio::test]
async fn after_the_response_head_a_save_keeps_what_was_inserted() {
    for visitor in [shopper().await, Visitor::new()] {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        visitor
            .visit(async |views: Views| {
                insert(&views.theirs, "cart").await;
                sender.send(views.theirs).unwrap();
            })
            .await;
        let late = receiver.await.unwrap();
        insert(&late, "late").await;
        late.save().await.unwrap();
        assert_eq!(visitor.seen().await, "- cart,late");
        let id = late.id().unwrap().to_string();
        assert!(visitor.cookies.session().unwrap().starts_with(&id[..21]));
    }
}

#[tokio::test]
async fn a_new_session_is_one_create_and_a_changed_one_a_load_and_an_update() {
    let visitor = shopper().await;
    let calls = visitor.store.calls();
    assert_eq!(calls, [StoreCall::Create, StoreCall::Load]);
    let _ = visitor.store.calls();
    visitor
        .visit(async |views: Views| insert(&views.theirs, "more").await)
        .await;
    assert_eq!(visitor.store.calls(), [StoreCall::Load, StoreCall::Update]);
}
