//! Rules M6 to M8, and C7: a session that goes on under another id.

use std::time::Duration;

use cloakroom::{Error, ErrorKind, Session, SessionFilter, SessionLayer, store::StoreErrorKind};
use futures::{FutureExt, channel::oneshot, future::join, poll};
use http::StatusCode;

use crate::support::{Fault, FaultyStore, FixedClock, Reply, StoreCall, Visitor};

const SECOND: Duration = Duration::from_secs(1);

fn layer(store: &FaultyStore) -> SessionLayer {
    SessionLayer::new(store.clone()).clock(FixedClock::default())
}

/// A visitor without a user, whose session has `n` = 1.
async fn anonymous(store: &FaultyStore) -> Visitor {
    let visitor = Visitor::new(&layer(store));
    insert(&visitor, "n", 1).await;
    store.calls();
    visitor
}

/// As `anonymous`, logged in as `user`.
async fn user(store: &FaultyStore, user: &'static str) -> Visitor {
    let visitor = anonymous(store).await;
    log_in(&visitor, user).await;
    store.calls();
    visitor
}

async fn insert(visitor: &Visitor, key: &'static str, value: u64) -> Reply {
    visitor
        .visit(async |session: Session| session.insert(key, value))
        .await
}

async fn log_in(visitor: &Visitor, user: &'static str) -> Reply {
    visitor
        .visit(async |session: Session| session.log_in(user))
        .await
}

async fn cycle(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await
}

async fn destroy(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| session.destroy())
        .await
}

/// `user: key=value, …` of the visitor's session; `nobody` without one.
async fn seen(visitor: &Visitor) -> String {
    let reply = visitor.visit(async |session: Session| {
        if session.is_new() {
            return Ok("nobody".to_owned());
        }
        let mut values = Vec::new();
        for key in session.keys() {
            let value: Option<u64> = session.get(&key)?;
            values.push(format!("{key}={}", value.unwrap()));
        }
        let user = session.user().unwrap_or("anonymous".to_owned());
        Ok::<_, Error>(format!("{user}: {}", values.join(", ")))
    });
    reply.await.body
}

#[tokio::test]
async fn m6_a_cycle_keeps_user_and_data_under_another_token() {
    let store = FaultyStore::in_memory();
    let ann = user(&store, "ann").await;
    let before = ann.cookie();
    let reply = ann.visit(async |session: Session| {
        session.cycle_id()?;
        session.insert("more", 2)
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    assert_ne!(ann.cookie(), before);
    assert_eq!(
        store.calls(),
        [
            StoreCall::Load,
            // The log-in before: nobody has written under its token yet.
            StoreCall::LoadLatest,
            StoreCall::Create,
            StoreCall::Update
        ],
        "one round trip each"
    );
    assert_eq!(seen(&ann).await, "ann: more=2, n=1");
}

#[tokio::test]
async fn m6_a_late_request_with_the_old_token_is_anonymous_and_stores_nothing() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let straggler = ann.twin();
    log_in(&ann, "ann").await;
    let sessions = store.inner().len();
    assert_eq!(seen(&straggler).await, "nobody");
    let reply = straggler.visit(async |session: Session| {
        assert!(session.is_new() && session.user().is_none() && session.is_empty());
        session.insert("n", 100)?;
        let ended = session.save().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Ended);
        session.insert("n", 200)
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert!(destroy(&straggler).await.set_cookies().is_empty());
    assert_eq!(store.inner().len(), sessions);
    assert_eq!(seen(&ann).await, "ann: n=1");
}

#[tokio::test]
async fn m6_a_late_request_may_log_in() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let straggler = ann.twin();
    log_in(&ann, "ann").await;
    let reply = straggler.visit(async |session: Session| {
        session.log_in("bob")?;
        session.insert("mine", 1)
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    assert_eq!(seen(&straggler).await, "bob: mine=1");
    assert_eq!(seen(&ann).await, "ann: n=1");
}

#[tokio::test]
async fn m6_what_is_written_after_the_move_with_what_was_loaded_before_is_dropped() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let slow = ann.twin();
    let (go_on, may_go_on) = oneshot::channel();
    let mut writing = Box::pin(slow.visit(async |session: Session| {
        session.update("n", |n: Option<u64>| n.unwrap_or(0) + 100)?;
        may_go_on.await.unwrap();
        session.insert("late", 1)
    }));
    assert!(poll!(&mut writing).is_pending());
    log_in(&ann, "ann").await;
    go_on.send(()).unwrap();
    let reply = writing.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert_eq!(seen(&ann).await, "ann: n=1");
}

/// A visit that has created the new record, and marks the old one only a second later.
fn slow_to_leave(store: &FaultyStore) {
    let mut is_first = true;
    store.plan(move |call| match call {
        StoreCall::Update if std::mem::take(&mut is_first) => Fault::Delay(SECOND),
        _ => Fault::None,
    });
}

#[tokio::test(start_paused = true)]
async fn m6_a_change_between_create_and_marker_is_taken_over() {
    for logs_in in [false, true] {
        let store = FaultyStore::in_memory();
        let ann = anonymous(&store).await;
        let other = ann.twin();
        slow_to_leave(&store);
        let mut moving = Box::pin(ann.visit(async |session: Session| {
            if logs_in {
                session.log_in("ann")?;
            } else {
                session.cycle_id()?;
            }
            session.insert("mine", 3)?;
            session
                .update("n", |n: Option<u64>| n.unwrap_or(0) + 10)
                .map(drop)
        }));
        assert!(poll!(&mut moving).is_pending());
        assert_eq!(store.inner().len(), 2, "no moment with neither");
        let reply = other.visit(async |session: Session| {
            session.update("n", |n: Option<u64>| n.unwrap_or(0) + 100)?;
            session.insert("mine", 2)?;
            session.insert("other", 2)
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(moving.await.set_cookies().len(), 1);
        let who = if logs_in { "ann" } else { "anonymous" };
        assert_eq!(seen(&ann).await, format!("{who}: mine=3, n=111, other=2"));
        assert_eq!(seen(&other).await, "nobody");
    }
}

#[tokio::test]
async fn m6_a_lost_reply_does_not_undo_the_move() {
    for call in [StoreCall::Create, StoreCall::Update] {
        let store = FaultyStore::in_memory();
        let ann = anonymous(&store).await;
        let straggler = ann.twin();
        let mut is_lost = false;
        store.plan(move |made| {
            if made == call && !std::mem::replace(&mut is_lost, true) {
                Fault::LoseReply(StoreErrorKind::Timeout)
            } else {
                Fault::None
            }
        });
        assert_eq!(log_in(&ann, "ann").await.status, StatusCode::OK);
        assert_eq!(seen(&ann).await, "ann: n=1", "{call:?}");
        assert_eq!(seen(&straggler).await, "nobody");
        assert_eq!(store.inner().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn m6_a_move_that_fails_leaves_the_old_session() {
    for call in [StoreCall::Create, StoreCall::Update] {
        let store = FaultyStore::in_memory();
        let ann = anonymous(&store).await;
        store.plan_for(call, Fault::Fail(StoreErrorKind::Unavailable));
        let reply = log_in(&ann, "ann").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        store.heal();
        let (is_in_doubt, expected) = match call {
            StoreCall::Create => (false, "anonymous: n=1"),
            // Nobody knows whether the old session was left: the new token works in either case.
            _ => (true, "ann: n=1"),
        };
        assert_eq!(reply.set_cookies().len(), usize::from(is_in_doubt));
        assert_eq!(seen(&ann).await, expected);
        // What was begun is taken back by a task, which goes on until it can.
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(store.inner().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn m6_an_unfinished_move_leaves_the_old_session_unchanged() {
    for logs_in in [false, true] {
        for call in [StoreCall::Create, StoreCall::Update] {
            for fault in [Fault::Hang, Fault::DelayReply(60 * SECOND)] {
                let store = FaultyStore::in_memory();
                let ann = anonymous(&store).await;
                store.plan_for(call, fault);
                let reply = if logs_in {
                    log_in(&ann, "ann").await
                } else {
                    cycle(&ann).await
                };
                assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
                store.heal();
                // The task that takes back what was begun has tried in vain meanwhile.
                tokio::time::sleep(60 * SECOND).await;
                let layer = layer(&store);
                let filter = SessionFilter::default();
                let page = layer.sessions().list(&filter, None, 100).await.unwrap();
                assert_eq!(page.sessions.len(), 1, "{logs_in} {call:?} {fault:?}");
                // Nobody knew whether the old session was left: the new token works in either case.
                let expected = match (call, logs_in) {
                    (StoreCall::Update, true) => "ann: n=1",
                    _ => "anonymous: n=1",
                };
                assert_eq!(seen(&ann).await, expected);
            }
        }
    }
}

#[tokio::test]
async fn m6_the_marker_is_gone_after_a_minute() {
    let clock = FixedClock::default();
    let store = FaultyStore::in_memory();
    let ann = Visitor::new(&SessionLayer::new(store.clone()).clock(clock.clone()));
    insert(&ann, "n", 1).await;
    let straggler = ann.twin();
    log_in(&ann, "ann").await;
    clock.advance(59 * SECOND);
    assert!(insert(&straggler, "n", 2).await.set_cookies().is_empty());
    clock.advance(SECOND);
    // He is a stranger now.
    assert_eq!(insert(&straggler, "n", 3).await.set_cookies().len(), 1);
    assert_eq!(seen(&straggler).await, "anonymous: n=3");
    assert_eq!(seen(&ann).await, "ann: n=1");
}

#[tokio::test]
async fn m7_parallel_log_ins_each_get_a_token_of_their_own_user() {
    for users in [("ann", "bob"), ("ann", "ann")] {
        let (one, two) = users;
        let store = FaultyStore::in_memory();
        let ann = anonymous(&store).await;
        let bob = ann.twin();
        store.plan(|_| Fault::Yield);
        let replies = join(log_in(&ann, one), log_in(&bob, two)).await;
        assert_eq!(replies.0.set_cookies().len(), 1);
        assert_eq!(replies.1.set_cookies().len(), 1);
        assert_ne!(ann.cookie(), bob.cookie());
        let found = [seen(&ann).await, seen(&bob).await];
        let with = |one: &str, two: &str| [format!("ann: {one}"), format!("{}: {two}", users.1)];
        if users.0 == users.1 {
            assert_eq!(found, with("n=1", "n=1"));
        } else {
            // What was in the old session is at one place.
            assert!(
                found == with("n=1", "") || found == with("", "n=1"),
                "{found:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m7_many_log_ins_in_parallel_all_get_tokens_that_work() {
    let store = FaultyStore::in_memory();
    let first = anonymous(&store).await;
    store.plan(|_| Fault::Yield);
    let log_ins = (0..32).map(|number| {
        let visitor = first.twin();
        tokio::spawn(async move {
            let name = format!("user{number}");
            let reply = visitor.visit(async |session: Session| session.log_in(&*name));
            assert_eq!(reply.await.status, StatusCode::OK);
            (visitor, name)
        })
    });
    for log_in in log_ins.collect::<Vec<_>>() {
        let (visitor, name) = log_in.await.unwrap();
        let seen = seen(&visitor).await;
        // Whoever came after the first finds a marker, or took the data along before it.
        let (full, empty) = (format!("{name}: n=1"), format!("{name}: "));
        assert!(seen == full || seen == empty, "{seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn m7_a_log_in_while_the_session_is_destroyed_works_and_begins_empty() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let other = ann.twin();
    slow_to_leave(&store);
    let mut moving = Box::pin(log_in(&ann, "ann"));
    assert!(poll!(&mut moving).is_pending());
    destroy(&other).await;
    let reply = moving.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(seen(&ann).await, "ann: ");
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test]
async fn m7_a_log_in_works_where_the_session_ended_before_the_commit() {
    for moved in [false, true] {
        let store = FaultyStore::in_memory();
        let ann = anonymous(&store).await;
        let other = ann.twin();
        let reply = ann.visit(async |session: Session| {
            session.insert("mine", 1)?;
            session.log_in("ann")?;
            if moved {
                cycle(&other).await;
            } else {
                destroy(&other).await;
            }
            Ok::<_, Error>(())
        });
        assert_eq!(reply.await.set_cookies().len(), 1);
        let seen = seen(&ann).await;
        assert!(seen.starts_with("ann: mine=1"), "{seen}");
    }
}

#[tokio::test]
async fn m7_a_log_in_works_where_save_found_that_the_session_had_ended() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let other = ann.twin();
    let reply = ann.visit(async |session: Session| {
        session.insert("before", 1)?;
        session.log_in("ann")?;
        session.insert("after", 1)?;
        destroy(&other).await;
        session.save().await
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    assert_eq!(seen(&ann).await, "ann: after=1");
}

#[tokio::test(start_paused = true)]
async fn m6_a_cycle_while_the_session_is_destroyed_revives_nothing() {
    let store = FaultyStore::in_memory();
    let ann = user(&store, "ann").await;
    let other = ann.twin();
    let sessions = store.inner().len();
    slow_to_leave(&store);
    let mut moving = Box::pin(cycle(&ann));
    assert!(poll!(&mut moving).is_pending());
    destroy(&other).await;
    let reply = moving.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert_eq!(store.inner().len(), sessions - 1);
    assert_eq!(seen(&ann).await, "nobody");
}

#[tokio::test]
async fn m6_of_two_cycles_at_once_one_goes_on() {
    let store = FaultyStore::in_memory();
    let ann = user(&store, "ann").await;
    let sessions = store.inner().len();
    let twin = ann.twin();
    store.plan(|_| Fault::Yield);
    let (one, two) = join(cycle(&ann), cycle(&twin)).await;
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(one.set_cookies().len() + two.set_cookies().len(), 1);
    assert_eq!(store.inner().len(), sessions);
    let winner = if one.set_cookies().is_empty() {
        twin
    } else {
        ann
    };
    assert_eq!(seen(&winner).await, "ann: n=1");
}

#[tokio::test]
async fn m8_a_log_in_over_the_same_user_keeps_the_data() {
    let ann = user(&FaultyStore::in_memory(), "ann").await;
    assert_eq!(log_in(&ann, "ann").await.set_cookies().len(), 1);
    assert_eq!(seen(&ann).await, "ann: n=1");
}

#[tokio::test]
async fn m8_a_log_in_over_another_user_begins_empty() {
    let visitor = user(&FaultyStore::in_memory(), "ann").await;
    let reply = visitor.visit(async |session: Session| {
        session.insert("anns", 1)?;
        session.remember_for(30 * SECOND);
        session.log_in("bob")?;
        assert!(session.is_empty());
        assert_eq!(session.get::<u64>("n")?, None);
        let fresh = session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
        assert_eq!(fresh, 1);
        Ok::<_, Error>(())
    });
    let cookies = reply.await.set_cookies();
    assert!(!cookies[0].contains("Max-Age"), "{cookies:?}");
    assert_eq!(seen(&visitor).await, "bob: n=1");
}

#[tokio::test(start_paused = true)]
async fn m8_nothing_written_meanwhile_reaches_another_users_session() {
    let store = FaultyStore::in_memory();
    let bob = user(&store, "ann").await;
    let ann = bob.twin();
    slow_to_leave(&store);
    let mut moving = Box::pin(log_in(&bob, "bob"));
    assert!(poll!(&mut moving).is_pending());
    assert_eq!(insert(&ann, "anns", 1).await.status, StatusCode::OK);
    assert_eq!(moving.await.set_cookies().len(), 1);
    assert_eq!(seen(&bob).await, "bob: ");
    assert_eq!(seen(&ann).await, "nobody");
}

#[tokio::test]
async fn m8_a_save_after_the_log_in_neither_clears_nor_shows_the_other_users_session() {
    let store = FaultyStore::in_memory();
    let bob = user(&store, "ann").await;
    let ann = bob.twin();
    let reply = bob.visit(async |session: Session| {
        session.log_in("bob")?;
        session.log_in("bob")?;
        session.save().await?;
        assert_eq!(seen(&ann).await, "ann: n=1");
        insert(&ann, "anns", 1).await;
        session.reload().await?;
        assert!(session.is_empty());
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&bob).await, "bob: ");
}

#[tokio::test]
async fn c7_a_save_writes_only_what_came_before_the_log_in() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let other = ann.twin();
    let reply = ann.visit(async |session: Session| {
        session.insert("before", 1)?;
        session.log_in("ann")?;
        session.insert("after", 1)?;
        session.log_in("ann")?;
        let id = session.id();
        session.save().await?;
        assert_eq!(session.id(), id);
        assert_eq!(session.user().as_deref(), Some("ann"));
        assert_eq!(session.get("after")?, Some(1));
        assert_eq!(seen(&other).await, "anonymous: before=1, n=1");
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    assert_eq!(seen(&ann).await, "ann: after=1, before=1, n=1");
    assert_eq!(seen(&other).await, "nobody");
}

#[tokio::test]
async fn c7_a_save_writes_what_was_computed_before_the_log_in_and_not_what_came_on_top() {
    let store = FaultyStore::in_memory();
    let visitor = anonymous(&store).await;
    let twin = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        let increment = || session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1);
        increment()?;
        increment()?;
        session.log_in("ann")?;
        increment()?;
        increment()?;
        session.save().await?;
        assert_eq!(seen(&twin).await, "anonymous: n=3");
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&visitor).await, "ann: n=5");
}

#[tokio::test]
async fn c7_a_save_writes_everything_while_a_cycle_waits() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let other = ann.twin();
    let reply = ann.visit(async |session: Session| {
        session.cycle_id()?;
        session.insert("more", 1)?;
        session.save().await?;
        assert_eq!(seen(&other).await, "anonymous: more=1, n=1");
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    assert_eq!(seen(&ann).await, "anonymous: more=1, n=1");
    assert_eq!(seen(&other).await, "nobody");
}

#[tokio::test]
async fn c7_after_the_head_it_is_too_late_for_another_token() {
    let store = FaultyStore::in_memory();
    let ann = anonymous(&store).await;
    let stranger = Visitor::new(&layer(&store));
    for visitor in [&ann, &stranger] {
        let mut kept = None;
        let reply = visitor
            .visit(async |session: Session| kept = Some(session))
            .await;
        assert!(reply.set_cookies().is_empty());
        let session = kept.unwrap();
        let kind = |result: Result<(), Error>| result.unwrap_err().kind();
        assert_eq!(kind(session.log_in("ann")), ErrorKind::TooLate);
        assert_eq!(kind(session.cycle_id()), ErrorKind::TooLate);
        assert!(session.user().is_none());
        session.insert("late", 1).unwrap();
        let saved = session.save().now_or_never().unwrap();
        match session.id() {
            Some(_) => saved.unwrap(),
            None => assert_eq!(kind(saved), ErrorKind::TooLate),
        }
    }
    assert_eq!(seen(&ann).await, "anonymous: late=1, n=1");
    assert_eq!(store.inner().len(), 1);
}
