//! `set_expiry`, and what it means for cloakroom's deadlines.

use std::time::{Duration, SystemTime};

use cloakroom::{
    SessionLayer, StoreCall,
    testing::{FaultyStore, FixedClock},
};
use time::OffsetDateTime;
use tower_sessions::Expiry;

use crate::support::{Views, Visitor};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A visitor whose request inserts a value, with this expiry.
async fn with(expiry: Expiry) -> (Visitor, FixedClock, String) {
    let (clock, store) = (FixedClock::new(SystemTime::now()), FaultyStore::in_memory());
    let visitor = Visitor::of(SessionLayer::new(store.clone()).clock(clock.clone()), store);
    let reply = visitor.visit(async move |views: Views| {
        views.theirs.set_expiry(Some(expiry));
        views.theirs.insert("cart", 1).await.unwrap();
    });
    let cookie = reply.await.set_cookie().to_owned();
    (visitor, clock, cookie)
}

fn max_age(cookie: &str) -> Option<u64> {
    let (_, age) = cookie.split_once("Max-Age=")?;
    age.split(';').next()?.parse().ok()
}

#[tokio::test]
async fn on_inactivity_is_an_idle_timeout_with_no_absolute_one() {
    let (visitor, clock, cookie) = with(Expiry::OnInactivity(time::Duration::days(2))).await;
    assert_eq!(max_age(&cookie), Some(2 * 24 * 60 * 60));
    for _ in 0..5 {
        clock.advance(DAY);
        visitor
            .visit(async |views: Views| {
                assert!(views.theirs.get::<u32>("cart").await.unwrap().is_some());
            })
            .await;
    }
    clock.advance(2 * DAY);
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn it_is_kept_with_the_session_and_does_not_last_one_request() {
    let (visitor, clock, _) = with(Expiry::OnInactivity(time::Duration::days(2))).await;
    // Under tower-sessions this request takes the session back to the layer's expiry.
    let reply = visitor.visit(async |views: Views| views.theirs.insert("more", 1).await.unwrap());
    assert_eq!(max_age(reply.await.set_cookie()), Some(2 * 24 * 60 * 60));
    clock.advance(DAY);
    assert_eq!(visitor.seen().await, "- cart,more");
}

#[tokio::test]
async fn at_a_date_the_session_ends_however_it_is_used() {
    let date = OffsetDateTime::now_utc() + time::Duration::days(3);
    let (visitor, clock, cookie) = with(Expiry::AtDateTime(date)).await;
    let seconds = max_age(&cookie).unwrap();
    assert!(
        (3 * 86_400 - 5..=3 * 86_400).contains(&seconds),
        "{seconds}"
    );
    for _ in 0..2 {
        clock.advance(DAY);
        visitor
            .visit(async |views: Views| {
                assert!(views.theirs.get::<u32>("cart").await.unwrap().is_some());
            })
            .await;
    }
    clock.advance(DAY);
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn a_date_in_the_past_ends_the_session() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    visitor
        .visit(async |views: Views| {
            let past = OffsetDateTime::now_utc() - time::Duration::SECOND;
            views.theirs.set_expiry(Some(Expiry::AtDateTime(past)));
        })
        .await;
    assert_eq!(visitor.cookies.session(), None);
}

#[tokio::test]
async fn on_session_end_is_two_weeks_and_a_cookie_that_ends_with_the_browser() {
    let (visitor, clock, cookie) = with(Expiry::OnSessionEnd).await;
    assert_eq!(max_age(&cookie), None);
    clock.advance(13 * DAY);
    assert_eq!(visitor.seen().await, "- cart");
    clock.advance(DAY);
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn an_expiry_alone_begins_no_session() {
    let visitor = Visitor::new();
    let reply = visitor.visit(async |views: Views| {
        views
            .theirs
            .set_expiry(Some(Expiry::OnInactivity(time::Duration::DAY)));
    });
    assert!(reply.await.set_cookies().is_empty());
    assert_eq!(visitor.store.calls(), []);
}

#[tokio::test]
async fn reading_is_activity_and_needs_no_write() {
    let (clock, store) = (FixedClock::new(SystemTime::now()), FaultyStore::in_memory());
    let visitor = Visitor::of(SessionLayer::new(store.clone()).clock(clock.clone()), store);
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    // Three times the idle timeout's half, which is what `always_save` is for there.
    for _ in 0..6 {
        clock.advance(Duration::from_secs(30 * 60));
        visitor
            .visit(async |views: Views| {
                assert!(views.theirs.get::<u32>("cart").await.unwrap().is_some());
            })
            .await;
    }
    assert_eq!(visitor.seen().await, "- cart");
}

#[tokio::test]
async fn no_expiry_leaves_the_sessions_own_as_it_is() {
    let (visitor, _, _) = with(Expiry::OnInactivity(time::Duration::days(2))).await;
    let reply = visitor.visit(async |views: Views| {
        views.theirs.set_expiry(None);
        views.theirs.insert("more", 1).await.unwrap();
    });
    assert_eq!(max_age(reply.await.set_cookie()), Some(2 * 24 * 60 * 60));
    let _ = visitor.store.calls();
    let reply = visitor.visit(async |views: Views| views.theirs.set_expiry(None));
    assert!(reply.await.set_cookies().is_empty());
    assert_eq!(visitor.store.calls(), [StoreCall::Load]);
    // The last one of a request counts.
    let reply = Visitor::new()
        .visit(async |views: Views| {
            let two_days = Expiry::OnInactivity(time::Duration::days(2));
            views.theirs.set_expiry(Some(two_days));
            views.theirs.set_expiry(None);
            views.theirs.insert("cart", 1).await.unwrap();
        })
        .await;
    assert_eq!(max_age(reply.set_cookie()), None);
}

#[tokio::test]
async fn after_the_response_head_an_expiry_changes_nothing() {
    let (visitor, clock, _) = with(Expiry::OnInactivity(time::Duration::days(2))).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    visitor
        .visit(async |views: Views| sender.send(views.theirs).unwrap())
        .await;
    let late = receiver.await.unwrap();
    late.set_expiry(Some(Expiry::OnInactivity(time::Duration::days(9))));
    late.insert("late", 1).await.unwrap();
    late.save().await.unwrap();
    assert_eq!(visitor.seen().await, "- cart,late");
    clock.advance(2 * DAY);
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn a_log_in_ends_the_sessions_own_expiry() {
    let (visitor, clock, _) = with(Expiry::OnInactivity(time::Duration::days(2))).await;
    let reply = visitor.visit(async |views: Views| {
        let user = serde_json::json!({ "user_id": "ann" });
        views.theirs.insert("user", user).await.unwrap();
    });
    assert_eq!(max_age(reply.await.set_cookie()), None);
    // The layer's idle timeout.
    clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(visitor.seen().await, "none");
}

#[tokio::test]
async fn where_no_expiry_was_set_theirs_says_two_weeks_and_ours_knows() {
    let visitor = Visitor::new();
    visitor
        .visit(async |views: Views| views.theirs.insert("cart", 1).await.unwrap())
        .await;
    visitor
        .visit(async |views: Views| {
            let about = |expected: time::Duration, theirs: &tower_sessions::Session| {
                let (date, age) = (theirs.expiry_date(), theirs.expiry_age());
                let margin = time::Duration::minutes(5);
                assert!(age <= expected && expected - age < margin, "{age}");
                let remaining = date - OffsetDateTime::now_utc();
                assert!(
                    remaining <= expected && expected - remaining < margin,
                    "{date}"
                );
            };
            assert_eq!(views.theirs.get("cart").await.unwrap(), Some(1));
            about(time::Duration::weeks(2), &views.theirs);
            let ours = views.ours().await.expires_at().unwrap();
            let remaining = ours.duration_since(SystemTime::now()).unwrap();
            assert!(remaining <= Duration::from_secs(60 * 60), "{remaining:?}");
            let day = Expiry::OnInactivity(time::Duration::DAY);
            views.theirs.set_expiry(Some(day));
            about(time::Duration::DAY, &views.theirs);
        })
        .await;
}
