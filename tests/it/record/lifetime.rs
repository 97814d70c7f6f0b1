//! Rules L1 to L7: when a session ends, to the millisecond.

use std::time::Duration;

use axum::{Router, extract::Path, routing::get};
use cloakroom::{
    Clock, Error, ErrorKind, Session, SessionCookie, SessionLayer, SessionStore, Timestamp,
};
use insta::assert_snapshot;

use crate::support::{
    Browser, Reply, StoreCall, Visitor,
    fixture::{
        DAY, Fixture, HOUR, MILLISECOND, MINUTE, SECOND, headers, logging, plain_cookie, routes,
        visitor_of,
    },
};

const ALIVE: &str = "n=1 user=-";
const ANN: &str = "n=1 user=ann";
const GONE: &str = "nobody";

/// Alive a millisecond before `rest` has passed, ended when it has. Looks without being seen.
async fn ends_after(fixture: &Fixture, visitor: &Browser, rest: Duration) {
    fixture.clock.advance(rest - MILLISECOND);
    assert_ne!(visitor.get("/peek").await.body, GONE);
    fixture.clock.advance(MILLISECOND);
    assert_eq!(visitor.get("/peek").await.body, GONE);
}

/// The Max-Age of the reply's only cookie, if it has one.
fn max_age(reply: &Reply) -> Option<u64> {
    let cookies = reply.set_cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let (_, seconds) = cookies[0].split_once("; Max-Age=")?;
    Some(seconds.parse().unwrap())
}

#[tokio::test]
async fn l1_a_session_ends_when_it_has_been_idle_for_the_timeout() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    ends_after(&fixture, &visitor, HOUR).await;
    let visitor = fixture.known(fixture.layer().idle_timeout(SECOND)).await;
    ends_after(&fixture, &visitor, SECOND).await;
    let visitor = fixture
        .known(fixture.layer().idle_timeout(2 * MILLISECOND))
        .await;
    ends_after(&fixture, &visitor, 2 * MILLISECOND).await;
}

#[tokio::test]
async fn l1_an_expired_session_is_asked_for_once_and_left_to_the_reaper() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(HOUR);
    let reply = visitor.get("/load").await;
    assert_eq!(reply.body, GONE);
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load
    vary: Cookie
    ");
    assert_eq!(fixture.store.inner().len(), 1);
    let old = visitor.cookie("__Host-id");
    visitor.get("/set/n/2").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load, StoreCall::Create]);
    assert_ne!(visitor.cookie("__Host-id"), old);
}

#[tokio::test]
async fn l1_a_session_ends_at_the_absolute_timeout_however_often_it_is_seen() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    for _ in 0..47 {
        fixture.clock.advance(30 * MINUTE);
        assert_eq!(visitor.get("/load").await.body, ALIVE);
    }
    // It was seen half an hour before the end of the day.
    ends_after(&fixture, &visitor, 30 * MINUTE).await;
}

#[tokio::test]
async fn l1_writing_does_not_move_the_absolute_deadline() {
    let fixture = Fixture::new();
    let layer = fixture.layer().absolute_timeout(90 * MINUTE);
    let visitor = fixture.known(layer).await;
    fixture.clock.advance(50 * MINUTE);
    visitor.get("/set/n/2").await;
    assert_eq!(visitor.get("/expires").await.body, "5400000");
    ends_after(&fixture, &visitor, 40 * MINUTE).await;
}

#[tokio::test]
async fn l1_without_idle_timeout_only_the_absolute_one_counts() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().idle_timeout(None)).await;
    ends_after(&fixture, &visitor, 24 * HOUR).await;
}

#[tokio::test]
async fn l1_without_absolute_timeout_only_the_idle_one_counts() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().absolute_timeout(None)).await;
    for _ in 0..1000 {
        fixture.clock.advance(HOUR - MILLISECOND);
        assert_eq!(visitor.get("/load").await.body, ALIVE);
    }
    ends_after(&fixture, &visitor, HOUR).await;
}

/// Survives a thousand years and every sweep, and ends when it is told to.
async fn lives_for_ever(fixture: &Fixture, visitor: &Browser) {
    assert_eq!(visitor.get("/expires").await.body, "never");
    for _ in 0..10 {
        fixture.clock.advance(100 * 365 * DAY);
        let reaped = fixture
            .store
            .delete_expired(Timestamp::MAX, usize::MAX)
            .await;
        assert_eq!(reaped.unwrap().removed, 0);
        assert_eq!(visitor.get("/load").await.body, ALIVE);
    }
    visitor.get("/destroy").await;
    assert!(fixture.store.inner().is_empty());
}

#[tokio::test]
async fn l1_never_means_never_survives_every_sweep_and_can_be_destroyed() {
    let fixture = Fixture::new();
    let layer = fixture.layer().idle_timeout(None).absolute_timeout(None);
    let visitor = fixture.known(layer).await;
    lives_for_ever(&fixture, &visitor).await;
}

#[tokio::test]
async fn l1_never_of_a_session_means_never_whatever_the_layer_says() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().idle_timeout(SECOND)).await;
    visitor.get("/idle/never").await;
    visitor.get("/absolute/never").await;
    lives_for_ever(&fixture, &visitor).await;
}

#[tokio::test]
async fn l1_a_sweep_takes_what_has_a_deadline() {
    let fixture = Fixture::new();
    fixture.known(fixture.layer()).await;
    let never = fixture.layer().idle_timeout(None).absolute_timeout(None);
    fixture.known(never).await;
    let deadline = fixture.clock.now().saturating_add(HOUR);
    let removed = async |before| {
        let reaped = fixture.store.delete_expired(before, usize::MAX).await;
        reaped.unwrap().removed
    };
    assert_eq!(removed(deadline.saturating_sub(MILLISECOND)).await, 0);
    assert_eq!(removed(Timestamp::MAX).await, 1);
    assert_eq!(fixture.store.inner().len(), 1);
}

#[tokio::test]
async fn l1_a_session_may_end_up_to_touch_after_early_and_never_late() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(6 * MINUTE - MILLISECOND);
    assert_eq!(visitor.get("/load").await.body, ALIVE);
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    ends_after(&fixture, &visitor, 54 * MINUTE + MILLISECOND).await;
}

#[tokio::test]
async fn l1_a_touch_is_due_exactly_after_touch_after() {
    let fixture = Fixture::new();
    let cases = [
        (fixture.layer(), 6 * MINUTE),
        (fixture.layer().touch_after(MINUTE), MINUTE),
        (fixture.layer().touch_after(30 * MINUTE), 30 * MINUTE),
        (fixture.layer().idle_timeout(None), 6 * MINUTE),
        (
            fixture.layer().idle_timeout(None).touch_after(2 * HOUR),
            2 * HOUR,
        ),
        (fixture.layer().touch_after(Duration::ZERO), MILLISECOND),
        // Rarer than every half idle timeout, a session in constant use would end.
        (fixture.layer().touch_after(2 * HOUR), 30 * MINUTE),
        (fixture.layer().touch_after(Duration::MAX), 30 * MINUTE),
    ];
    for (layer, due) in cases {
        let visitor = fixture.known(layer).await;
        fixture.clock.advance(due - MILLISECOND);
        visitor.get("/load").await;
        assert_eq!(fixture.store.calls(), [StoreCall::Load], "{due:?}");
        fixture.clock.advance(MILLISECOND);
        visitor.get("/load").await;
        assert_eq!(
            fixture.store.calls(),
            [StoreCall::Load, StoreCall::Touch],
            "{due:?}"
        );
    }
}

#[tokio::test]
async fn l1_touch_after_follows_the_timeout_of_the_session() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    visitor.get("/idle/60000").await;
    fixture.store.calls();
    fixture.clock.advance(6 * SECOND - MILLISECOND);
    visitor.get("/load").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    fixture.clock.advance(MILLISECOND);
    visitor.get("/load").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load, StoreCall::Touch]);
    ends_after(&fixture, &visitor, MINUTE).await;
}

#[tokio::test]
async fn l1_a_session_used_every_half_timeout_never_ends_of_idleness() {
    let fixture = Fixture::new();
    let layer = fixture.layer().absolute_timeout(None).touch_after(HOUR);
    let visitor = fixture.known(layer).await;
    for _ in 0..100 {
        fixture.clock.advance(30 * MINUTE - MILLISECOND);
        assert_eq!(visitor.get("/load").await.body, ALIVE);
    }
}

#[tokio::test]
async fn l1_anonymous_visitors_may_have_an_idle_timeout_of_their_own() {
    let fixture = Fixture::new();
    let layer = fixture.layer().anonymous_idle_timeout(10 * MINUTE);
    let visitor = fixture.known(layer.clone()).await;
    ends_after(&fixture, &visitor, 10 * MINUTE).await;

    let visitor = fixture.known(layer).await;
    visitor.get("/in/ann").await;
    ends_after(&fixture, &visitor, HOUR).await;

    let longer = fixture.layer().anonymous_idle_timeout(None);
    let visitor = fixture.known(longer.clone()).await;
    ends_after(&fixture, &visitor, 24 * HOUR).await;
    let visitor = fixture.known(longer).await;
    visitor.get("/in/ann").await;
    ends_after(&fixture, &visitor, HOUR).await;

    let overridden = fixture.layer().anonymous_idle_timeout(MINUTE);
    let visitor = fixture.known(overridden).await;
    visitor.get("/idle/120000").await;
    ends_after(&fixture, &visitor, 2 * MINUTE).await;
}

#[tokio::test]
async fn l2_loading_counts_as_activity() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(59 * MINUTE);
    visitor.get("/load").await;
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l2_an_optional_session_counts_as_activity() {
    let fixture = Fixture::new();
    let optional = async |session: Option<Session>| session.is_some().to_string();
    let app = routes().route("/optional", get(optional));
    let visitor = Browser::new(app.layer(fixture.layer()));
    assert_eq!(visitor.get("/optional").await.body, "false");
    visitor.get("/set/n/1").await;
    fixture.clock.advance(59 * MINUTE);
    assert_eq!(visitor.get("/optional").await.body, "true");
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l2_neither_peeking_nor_ignoring_counts_as_activity() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    for _ in 0..59 {
        fixture.clock.advance(MINUTE);
        assert_eq!(visitor.get("/peek").await.body, ALIVE);
        visitor.get("/ignore").await;
    }
    ends_after(&fixture, &visitor, MINUTE).await;
}

#[tokio::test]
async fn l2_who_peeks_and_then_loads_counts_as_activity() {
    let fixture = Fixture::new();
    let both = async |handle: cloakroom::SessionHandle| {
        handle.peek().await?;
        handle.load().await?;
        Ok::<_, Error>(())
    };
    let app = routes().route("/both", get(both));
    let visitor = Browser::new(app.layer(fixture.layer()));
    visitor.get("/set/n/1").await;
    fixture.clock.advance(59 * MINUTE);
    fixture.store.calls();
    visitor.get("/both").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load, StoreCall::Touch]);
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l2_an_explicit_touch_does_not_wait_for_touch_after() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(SECOND);
    let reply = visitor.get("/touch").await;
    assert_snapshot!(fixture.account(&reply), @r"
    store: Load, Touch
    cache-control: private
    vary: Cookie
    ");
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l2_an_explicit_touch_refreshes_a_persistent_cookie() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    fixture.clock.advance(30 * MINUTE);
    let reply = visitor.get("/touch").await;
    assert_eq!(fixture.store.calls(), [StoreCall::Load, StoreCall::Touch]);
    assert_eq!(max_age(&reply), Some(3600));
}

#[tokio::test]
async fn l2_a_claim_refreshes_a_persistent_cookie() {
    let fixture = Fixture::new();
    let claim = async |session: Session| {
        let n: Option<u32> = session.claim("n").await?;
        Ok::<_, Error>(n.is_some().to_string())
    };
    let app = routes().route("/claim", get(claim));
    let visitor = Browser::new(app.layer(fixture.layer().persistent(true)));
    visitor.get("/set/n/1").await;
    fixture.clock.advance(30 * MINUTE);
    fixture.store.calls();
    let reply = visitor.get("/claim").await;
    assert_eq!(reply.body, "true");
    assert_eq!(fixture.store.calls(), [StoreCall::Load, StoreCall::Update]);
    assert_eq!(max_age(&reply), Some(3600));
}

#[tokio::test]
async fn l3_a_shorter_idle_timeout_applies_at_once() {
    let fixture = Fixture::new();
    let loose = fixture.known(fixture.layer()).await;
    let tight = visitor_of(fixture.layer().idle_timeout(10 * MINUTE));
    tight.set_cookie("__Host-id", &loose.cookie("__Host-id").unwrap());
    ends_after(&fixture, &tight, 10 * MINUTE).await;
    // The records of the two are the same: it is the layer that judges.
    assert_eq!(loose.get("/peek").await.body, ALIVE);
}

#[tokio::test]
async fn l3_a_shorter_absolute_timeout_applies_at_once() {
    let fixture = Fixture::new();
    let loose = fixture.known(fixture.layer()).await;
    let tight = visitor_of(fixture.layer().absolute_timeout(20 * MINUTE));
    tight.set_cookie("__Host-id", &loose.cookie("__Host-id").unwrap());
    fixture.clock.advance(15 * MINUTE);
    loose.get("/load").await;
    ends_after(&fixture, &tight, 5 * MINUTE).await;
    assert_eq!(loose.get("/peek").await.body, ALIVE);
}

#[tokio::test]
async fn l3_a_timeout_in_place_of_never_applies_at_once() {
    let fixture = Fixture::new();
    let never = fixture.layer().idle_timeout(None).absolute_timeout(None);
    let loose = fixture.known(never).await;
    let tight = visitor_of(fixture.layer());
    tight.set_cookie("__Host-id", &loose.cookie("__Host-id").unwrap());
    fixture.clock.advance(HOUR);
    assert_eq!(tight.get("/peek").await.body, GONE);
}

#[tokio::test]
async fn l3_a_longer_timeout_applies_at_once_too() {
    let fixture = Fixture::new();
    let tight = fixture
        .known(fixture.layer().idle_timeout(10 * MINUTE))
        .await;
    let loose = visitor_of(fixture.layer());
    loose.set_cookie("__Host-id", &tight.cookie("__Host-id").unwrap());
    fixture.clock.advance(12 * MINUTE);
    assert_eq!(tight.get("/peek").await.body, GONE);
    assert_eq!(loose.get("/load").await.body, ALIVE);
    ends_after(&fixture, &loose, HOUR).await;
}

/// Routes that take as long as their path says, in milliseconds.
fn slow(fixture: &Fixture, layer: SessionLayer) -> Browser {
    let clock = fixture.clock.clone();
    let act = async move |Path((what, millis)): Path<(String, u64)>, session: Session| {
        clock.advance(Duration::from_millis(millis));
        match &*what {
            "set" => session.insert("n", 1)?,
            "in" => session.log_in("ann")?,
            "cycle" => session.cycle_id()?,
            "touch" => session.touch().await?,
            "save" => {
                session.insert("n", 7)?;
                session.save().await?;
            }
            _ => {}
        }
        Ok::<_, Error>(())
    };
    let app: Router = routes().route("/slow/{what}/{millis}", get(act));
    Browser::new(app.layer(layer))
}

#[tokio::test]
async fn l8_a_handler_that_outlives_the_idle_timeout_keeps_its_session() {
    let fixture = Fixture::new();
    for what in ["set", "touch", "save", "cycle", "in"] {
        let visitor = slow(&fixture, fixture.layer());
        visitor.get("/set/n/0").await;
        let reply = visitor.get(&format!("/slow/{what}/7200000")).await;
        assert_eq!(reply.status, 200);
        ends_after(&fixture, &visitor, HOUR).await;
    }
    // Where it was due for a touch when it was loaded, it is touched.
    let visitor = slow(&fixture, fixture.layer());
    visitor.get("/set/n/0").await;
    fixture.clock.advance(6 * MINUTE);
    visitor.get("/slow/nothing/7200000").await;
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l8_changes_after_the_absolute_deadline_are_dropped_without_an_error() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    for what in ["set", "cycle", "nothing"] {
        let layer = fixture.layer().persistent(true).touch_after(MINUTE);
        let visitor = slow(&fixture, layer);
        visitor.get("/set/n/0").await;
        fixture.clock.advance(MINUTE);
        fixture.store.calls();
        let reply = visitor.get(&format!("/slow/{what}/86400000")).await;
        assert_eq!(reply.status, 200);
        let private = ["cache-control: private", "vary: Cookie"];
        assert_eq!(headers(&reply), private, "{what}");
        assert_eq!(fixture.store.calls(), [StoreCall::Load], "{what}");
        assert_eq!(visitor.get("/load").await.body, GONE);
    }
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn l3_the_absolute_deadline_is_kept_to_the_millisecond_at_the_commit() {
    let fixture = Fixture::new();
    for (late, stored) in [(0, true), (1, false)] {
        let visitor = slow(&fixture, fixture.layer().absolute_timeout(MINUTE));
        visitor.get("/set/n/0").await;
        fixture.store.calls();
        visitor.get(&format!("/slow/set/{}", 59_999 + late)).await;
        assert_eq!(fixture.store.calls().contains(&StoreCall::Update), stored);
    }
}

#[tokio::test]
async fn l3_a_log_in_that_outlives_the_absolute_deadline_gets_a_token_that_works() {
    let fixture = Fixture::new();
    let visitor = slow(&fixture, fixture.layer());
    visitor.get("/set/n/1").await;
    visitor.get("/slow/in/86400000").await;
    assert_eq!(visitor.get("/load").await.body, "n=- user=ann");
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l4_overrides_are_kept_by_later_writes() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    visitor.get("/idle/7200000").await;
    visitor.get("/absolute/10800000").await;
    for path in ["/set/n/2", "/remove/n", "/cycle", "/cycle"] {
        visitor.get(path).await;
        assert_eq!(visitor.get("/expires").await.body, "7200000", "{path}");
    }
    fixture.clock.advance(90 * MINUTE);
    visitor.get("/set/n/3").await;
    assert_eq!(visitor.get("/expires").await.body, "10800000");
    ends_after(&fixture, &visitor, 90 * MINUTE).await;
}

#[tokio::test]
async fn l4_an_override_ends_where_the_layer_is_to_decide_again() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    visitor.get("/idle/7200000").await;
    visitor.get("/idle/layer").await;
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l4_persistence_is_kept_by_later_writes_and_by_other_layers() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    visitor.get("/persistent/true").await;
    for path in ["/set/n/2", "/cycle", "/cycle"] {
        assert_eq!(max_age(&visitor.get(path).await), Some(3600), "{path}");
    }
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    visitor.get("/persistent/false").await;
    assert!(visitor.get("/set/n/2").await.set_cookies().is_empty());
    assert_eq!(max_age(&visitor.get("/cycle").await), None);
}

#[tokio::test]
async fn l4_a_log_in_begins_with_the_layers_timeouts_and_persistence() {
    for first in ["/set/n/1", "/in/ann"] {
        let fixture = Fixture::new();
        let visitor = visitor_of(fixture.layer());
        visitor.get(first).await;
        visitor.get("/remember/2592000000").await;
        let reply = visitor.get("/in/ann").await;
        assert_eq!(max_age(&reply), None, "{first}");
        assert_eq!(visitor.get("/expires").await.body, "3600000");
        ends_after(&fixture, &visitor, HOUR).await;
    }
    // The layer may be the one that says persistent.
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    visitor.get("/persistent/false").await;
    assert_eq!(max_age(&visitor.get("/in/ann").await), Some(3600));
}

#[tokio::test]
async fn l4_a_log_in_has_what_its_own_request_says_before_it_or_after() {
    for user in [None, Some("ann"), Some("bob")] {
        // What was said of another user's session before does not count.
        let orders = [(true, false), (true, true), (false, false), (false, true)];
        let orders = &orders[if user == Some("bob") { 2 } else { 0 }..];
        for &(is_before, saves) in orders {
            let fixture = Fixture::new();
            let visitor = Visitor::new(&fixture.layer());
            let begun = visitor.visit(async move |session: Session| {
                session.insert("n", 1)?;
                user.map_or(Ok(()), |user| session.log_in(user))
            });
            begun.await;
            fixture.clock.advance(54 * MINUTE);
            let reply = visitor.visit(async move |session: Session| {
                if is_before {
                    session.remember_for(30 * DAY);
                }
                session.log_in("ann")?;
                if !is_before {
                    session.remember_for(30 * DAY);
                }
                let expires_at = session.expires_at();
                if saves {
                    session.save().await?;
                }
                Ok::<_, Error>(format!("{:?}", expires_at.map(Fixture::since_start)))
            });
            let reply = reply.await;
            assert_eq!(
                max_age(&reply),
                Some(2_592_000),
                "{user:?} {is_before} {saves}"
            );
            assert_eq!(reply.body, format!("{:?}", Some(30 * DAY + 54 * MINUTE)));
        }
    }
}

#[tokio::test]
async fn l4_the_overrides_of_another_user_are_not_taken_over() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    visitor.get("/in/ann").await;
    visitor.get("/idle/never").await;
    visitor.get("/persistent/true").await;
    let reply = visitor.get("/in/bob").await;
    assert_eq!(max_age(&reply), None);
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l5_a_cycle_does_not_extend_the_absolute_lifetime() {
    let fixture = Fixture::new();
    let layer = fixture.layer().idle_timeout(None);
    let visitor = fixture.known(layer.clone()).await;
    for _ in 0..23 {
        fixture.clock.advance(HOUR);
        visitor.get("/cycle").await;
    }
    assert_eq!(visitor.get("/expires").await.body, "86400000");
    ends_after(&fixture, &visitor, HOUR).await;

    let visitor = fixture.known(layer.persistent(true)).await;
    fixture.clock.advance(6 * HOUR);
    visitor.get("/in/ann").await;
    fixture.clock.advance(6 * HOUR);
    assert_eq!(max_age(&visitor.get("/cycle").await), Some(18 * 60 * 60));
    ends_after(&fixture, &visitor, 18 * HOUR).await;
}

#[tokio::test]
async fn l5_a_log_in_restarts_the_absolute_lifetime() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().idle_timeout(None)).await;
    for (user, then) in [("ann", ANN), ("ann", ANN), ("bob", "n=- user=bob")] {
        fixture.clock.advance(23 * HOUR);
        visitor.get(&format!("/in/{user}")).await;
        // A session that had ended would have begun anew, without its value.
        assert_eq!(visitor.get("/load").await.body, then);
    }
    ends_after(&fixture, &visitor, 24 * HOUR).await;
}

#[tokio::test]
async fn l6_max_age_is_what_remains_rounded_up_to_a_second_and_at_least_one() {
    let fixture = Fixture::new();
    let cases = [
        (1, 1),
        (999, 1),
        (1000, 1),
        (1001, 2),
        (59_999, 60),
        (60_001, 61),
    ];
    for (millis, seconds) in cases {
        let layer = fixture.layer().persistent(true);
        let layer = layer.idle_timeout(Duration::from_millis(millis));
        let reply = visitor_of(layer).get("/set/n/1").await;
        assert_eq!(max_age(&reply), Some(seconds), "{millis} ms");
    }
    let layer = fixture
        .layer()
        .persistent(true)
        .idle_timeout(Duration::ZERO);
    let reply = visitor_of(layer).get("/set/n/1").await;
    assert_eq!(max_age(&reply), Some(1));
}

#[tokio::test]
async fn l6_max_age_ends_with_the_absolute_lifetime() {
    let fixture = Fixture::new();
    let layer = fixture
        .layer()
        .persistent(true)
        .absolute_timeout(90 * MINUTE);
    let visitor = fixture.known(layer).await;
    fixture.clock.advance(45 * MINUTE);
    assert_eq!(max_age(&visitor.get("/load").await), Some(45 * 60));
    fixture.clock.advance(45 * MINUTE - MILLISECOND);
    assert_eq!(max_age(&visitor.get("/load").await), Some(1));
}

#[tokio::test]
async fn l6_max_age_of_long_lifetimes_is_exact_and_at_most_400_days() {
    let fixture = Fixture::new();
    for (days, seconds) in [
        (25, 2_160_000),
        (30, 2_592_000),
        (400, 34_560_000),
        (500, 34_560_000),
    ] {
        let lifetime = days * DAY;
        let layer = fixture.layer().persistent(true);
        let layer = layer.idle_timeout(lifetime).absolute_timeout(lifetime);
        let visitor = visitor_of(layer);
        assert_eq!(max_age(&visitor.get("/set/n/1").await), Some(seconds));
        ends_after(&fixture, &visitor, lifetime).await;

        let visitor = visitor_of(fixture.layer());
        let path = format!("/remember/{}", lifetime.as_millis());
        assert_eq!(max_age(&visitor.get(&path).await), Some(seconds));
        ends_after(&fixture, &visitor, lifetime).await;
    }
}

#[tokio::test]
async fn l6_max_age_of_never_is_400_days() {
    let fixture = Fixture::new();
    for never in [None, Some(Duration::MAX)] {
        let layer = fixture.layer().idle_timeout(never).absolute_timeout(never);
        let visitor = visitor_of(layer.persistent(true));
        assert_eq!(max_age(&visitor.get("/set/n/1").await), Some(34_560_000));
        fixture.clock.advance(1000 * DAY);
        assert_eq!(visitor.get("/load").await.body, ALIVE);
    }
}

#[tokio::test]
async fn l6_max_age_under_a_new_cookie_name_is_what_the_layer_of_today_gives() {
    let fixture = Fixture::new();
    let renamed = async |layer: SessionLayer| {
        let visitor = fixture.known(fixture.layer()).await;
        let cookie = SessionCookie::new("sid").also_read("__Host-id").build();
        let browser = visitor_of(layer.cookie(cookie.unwrap()).persistent(true));
        browser.set_cookie("__Host-id", &visitor.cookie("__Host-id").unwrap());
        fixture.clock.advance(2 * MINUTE);
        let cookies = browser.get("/load").await.set_cookies();
        let max_age = cookies[0].split_once("Max-Age=").unwrap().1.to_owned();
        max_age.parse::<u64>().unwrap()
    };
    assert_eq!(renamed(fixture.layer()).await, 60 * 60);
    let tight = fixture.layer().idle_timeout(30 * MINUTE);
    assert_eq!(renamed(tight).await, 30 * 60);
    let loose = fixture.layer().idle_timeout(2 * HOUR);
    assert_eq!(renamed(loose).await, 120 * 60);
}

#[tokio::test]
async fn l7_a_clock_that_jumps_back_extends_nothing_beyond_idle_and_jump() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.go_back(2 * HOUR);
    assert_eq!(visitor.get("/load").await.body, ALIVE);
    assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    ends_after(&fixture, &visitor, 2 * HOUR + HOUR).await;

    // Once it is written, it goes by the clock of today.
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    fixture.clock.go_back(2 * HOUR);
    assert_eq!(max_age(&visitor.get("/set/n/2").await), Some(3600));
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l7_a_clock_at_the_epoch_underflows_nothing() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer().persistent(true)).await;
    fixture
        .clock
        .go_back(fixture.clock.now().since(Timestamp::EPOCH));
    assert_eq!(visitor.get("/load").await.body, ALIVE);
    assert_eq!(max_age(&visitor.get("/set/n/2").await), Some(3600));
    assert_eq!(max_age(&visitor.get("/in/ann").await), Some(3600));
    ends_after(&fixture, &visitor, HOUR).await;
}

#[tokio::test]
async fn l7_a_clock_that_jumps_ahead_and_back_again_has_ended_nothing() {
    let fixture = Fixture::new();
    let visitor = fixture.known(fixture.layer()).await;
    fixture.clock.advance(1000 * DAY);
    assert_eq!(visitor.get("/load").await.body, GONE);
    fixture.clock.go_back(1000 * DAY);
    assert_eq!(visitor.get("/load").await.body, ALIVE);
}

#[tokio::test]
async fn l7_a_clock_beyond_the_last_moment_overflows_nothing() {
    let fixture = Fixture::new();
    let never = fixture.layer().idle_timeout(None).absolute_timeout(None);
    fixture.clock.advance(10_000 * 366 * DAY);
    assert_eq!(fixture.clock.now(), Timestamp::MAX);
    let visitor = fixture.known(never.persistent(true)).await;
    assert_eq!(visitor.get("/load").await.body, ALIVE);
    assert_eq!(max_age(&visitor.get("/cycle").await), Some(34_560_000));
    let mortal = visitor_of(fixture.layer().persistent(true));
    assert_eq!(max_age(&mortal.get("/set/n/1").await), Some(1));
}

#[tokio::test]
async fn l7_a_session_last_seen_more_than_a_minute_ahead_is_warned_about() {
    let fixture = Fixture::new();
    let (log, _guard) = logging();
    let id = async |session: Session| session.id().unwrap().to_string();
    let app = routes().route("/id", get(id)).layer(fixture.layer());
    let visitor = Browser::new(app);
    visitor.get("/set/n/1").await;
    fixture.clock.go_back(MINUTE);
    let id = visitor.get("/id").await.body;
    assert!(log.lines().is_empty());
    fixture.clock.go_back(MILLISECOND);
    visitor.get("/peek").await;
    assert_snapshot!(
        log.lines().join("\n").replace(&id, "[id]"),
        @"WARN the session was last used in the future: check the clocks session.id=[id] ahead=60.001s suppressed=0"
    );
}

#[tokio::test]
async fn remember_for_keeps_a_session_that_long_whatever_the_layer_says() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    let reply = visitor.get("/remember/2592000000").await;
    assert_eq!(max_age(&reply), Some(30 * 24 * 60 * 60));
    assert_eq!(visitor.get("/expires").await.body, "2592000000");
    fixture.clock.advance(20 * DAY);
    // Neither use nor a write moves the end of it.
    assert_eq!(
        max_age(&visitor.get("/load").await),
        Some(10 * 24 * 60 * 60)
    );
    visitor.get("/set/m/1").await;
    ends_after(&fixture, &visitor, 10 * DAY).await;
}

#[tokio::test]
async fn remember_for_counts_from_now_on_an_old_session_too() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    visitor.get("/remember/2592000000").await;
    visitor.get("/in/ann").await;
    visitor.get("/remember/2592000000").await;
    fixture.clock.advance(20 * DAY);
    let reply = visitor.get("/remember/2592000000").await;
    assert_eq!(max_age(&reply), Some(30 * 24 * 60 * 60));
    visitor.get("/cycle").await;
    ends_after(&fixture, &visitor, 30 * DAY).await;
}

#[tokio::test]
async fn remember_for_does_not_outlast_another_log_in() {
    let fixture = Fixture::new();
    let visitor = visitor_of(fixture.layer());
    visitor.get("/remember/2592000000").await;
    fixture.clock.advance(20 * DAY);
    assert_eq!(max_age(&visitor.get("/in/ann").await), None);
    assert_eq!(visitor.get("/load").await.body, ANN);
    ends_after(&fixture, &visitor, HOUR).await;
}

/// A request each minute, and a sweep after each.
async fn keeps_for(fixture: &Fixture, layer: &SessionLayer, visitors: &[&Browser], minutes: u64) {
    for minute in 1..=minutes {
        fixture.clock.advance(MINUTE);
        let visitor = visitors[minute as usize % visitors.len()];
        assert_ne!(visitor.get("/load").await.body, GONE, "minute {minute}");
        layer.sessions().reap().await.unwrap();
    }
}

#[tokio::test]
async fn l3_a_longer_timeout_holds_for_visitors_who_come_again_in_time() {
    let fixture = Fixture::new();
    for longer in [Some(8 * HOUR), None] {
        let layer = |idle| fixture.layer().idle_timeout(idle).absolute_timeout(None);
        let before = visitor_of(layer(Some(30 * MINUTE)).cookie(plain_cookie("id")));
        before.get("/set/n/1").await;
        let today = layer(longer).cookie(plain_cookie("id"));
        let visitor = visitor_of(today.clone());
        visitor.set_cookie("id", &before.cookie("id").unwrap());
        keeps_for(&fixture, &today, &[&visitor], 90).await;
        // And it is no longer touched more often than before.
        fixture.store.calls();
        visitor.get("/load").await;
        assert_eq!(fixture.store.calls(), [StoreCall::Load]);
    }
}

#[tokio::test]
async fn l3_a_longer_absolute_timeout_holds_for_visitors_who_come_again_in_time() {
    let fixture = Fixture::new();
    let layer = |absolute| {
        let layer = fixture
            .layer()
            .idle_timeout(8 * HOUR)
            .absolute_timeout(absolute);
        layer.cookie(plain_cookie("id"))
    };
    let before = visitor_of(layer(30 * MINUTE));
    before.get("/set/n/1").await;
    let visitor = visitor_of(layer(8 * HOUR));
    visitor.set_cookie("id", &before.cookie("id").unwrap());
    keeps_for(&fixture, &layer(8 * HOUR), &[&visitor], 90).await;
}

#[tokio::test]
async fn l3_a_layer_with_a_shorter_timeout_does_not_end_sessions_of_another_layer() {
    let fixture = Fixture::new();
    let layer = |idle| {
        fixture
            .layer()
            .idle_timeout(idle)
            .cookie(plain_cookie("id"))
    };
    let (short, long) = (layer(10 * MINUTE), layer(8 * HOUR));
    let (at_short, at_long) = (visitor_of(short.clone()), visitor_of(long.clone()));
    at_short.get("/set/n/1").await;
    at_long.set_cookie("id", &at_short.cookie("id").unwrap());
    keeps_for(&fixture, &short, &[&at_short, &at_long], 60).await;
    keeps_for(&fixture, &short, &[&at_long], 60).await;
    keeps_for(&fixture, &long, &[&at_long], 60).await;
}

#[tokio::test]
async fn l3_a_persistent_cookie_is_sent_again_when_the_timeout_has_become_longer() {
    let fixture = Fixture::new();
    let layer = |idle| {
        let layer = fixture.layer().persistent(true).idle_timeout(idle);
        layer.cookie(plain_cookie("id"))
    };
    let before = visitor_of(layer(30 * MINUTE));
    before.get("/set/n/1").await;
    let visitor = visitor_of(layer(8 * HOUR));
    visitor.set_cookie("id", &before.cookie("id").unwrap());
    fixture.clock.advance(SECOND);
    let reply = visitor.get("/load").await;
    assert_eq!(max_age(&reply), Some(8 * 60 * 60));
    assert!(visitor.get("/load").await.set_cookies().is_empty());
}

#[tokio::test]
async fn l8_a_handler_that_changed_a_deleted_session_is_answered_with_503() {
    for what in ["set", "cycle", "save"] {
        let fixture = Fixture::new();
        let layer = fixture.layer();
        let reaping = layer.clone();
        let clock = fixture.clock.clone();
        let visitor = Visitor::new(&layer);
        visitor
            .visit(async |session: Session| session.insert("n", 0))
            .await;
        let reply = visitor.visit(async move |session: Session| {
            clock.advance(HOUR + 5 * MINUTE + MILLISECOND);
            assert_eq!(reaping.sessions().reap().await?, 1);
            match what {
                "set" => session.insert("n", 1),
                "cycle" => session.cycle_id(),
                _ => {
                    session.insert("n", 1)?;
                    let saved = session.save().await;
                    assert_eq!(saved.as_ref().unwrap_err().kind(), ErrorKind::Ended);
                    saved
                }
            }
        });
        assert_eq!(
            reply.await.status,
            if what == "save" { 500 } else { 503 },
            "{what}"
        );
        assert_eq!(fixture.store.inner().len(), 0);
    }
}

#[tokio::test]
async fn l8_the_response_of_a_handler_that_only_read_a_deleted_session_is_kept() {
    let fixture = Fixture::new();
    let layer = fixture.layer().touch_after(MINUTE);
    let reaping = layer.clone();
    let clock = fixture.clock.clone();
    let visitor = Visitor::new(&layer);
    visitor
        .visit(async |session: Session| session.insert("n", 0))
        .await;
    fixture.clock.advance(2 * MINUTE);
    let reply = visitor.visit(async move |session: Session| {
        clock.advance(HOUR + 5 * MINUTE + MILLISECOND);
        reaping.sessions().reap().await?;
        Ok::<_, Error>(format!("{:?}", session.get::<u32>("n")?))
    });
    let reply = reply.await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, "Some(0)"));
}
