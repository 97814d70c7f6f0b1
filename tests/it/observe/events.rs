//! What happens to sessions is told: once, in order, after the store has confirmed it.

use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloakroom::{
    Activity, Clock as _, EndReason, Event, EventKind, Listener, MemoryStore, Record, Rejection,
    Session, SessionHandle, SessionId, SessionLayer, SessionStore, StoreError, Timeout, Timestamp,
    store::{Created, Former, Query, Reaped, StoreErrorKind, Touched, Updated},
};
use futures::FutureExt as _;
use http::{Request, Response, StatusCode, header};
use parking_lot::Mutex;
use tower::{Layer as _, ServiceExt as _};
use tracing::Level;

use crate::support::{
    Client, Fault, FaultyStore, FixedClock, Log, Recorder, StoreCall, Visitor,
    fixture::{DAY, HOUR, MINUTE, SECOND, plain_cookie},
    token::{self, NEVER_ISSUED},
};

/// A layer with a listener over a store that fails on demand.
struct House {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
    recorder: Recorder,
}

impl House {
    fn new() -> Self {
        Self::over(MemoryStore::default())
    }

    fn over(store: MemoryStore) -> Self {
        let (store, clock, recorder) = (
            FaultyStore::new(store),
            FixedClock::default(),
            Recorder::default(),
        );
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .on_event(recorder.clone());
        Self {
            store,
            clock,
            layer,
            recorder,
        }
    }

    /// A visitor whose session holds `n`, and of whom nobody has heard yet.
    async fn known(&self) -> Visitor {
        let visitor = Visitor::new(&self.layer);
        set(&visitor, "n").await;
        self.recorder.events();
        visitor
    }

    async fn reap(&self) {
        self.layer.sessions().reap().await.unwrap();
    }
}

async fn set(visitor: &Visitor, key: &'static str) {
    let set = visitor.visit(async |session: Session| session.insert(key, 1));
    assert_eq!(set.await.status, StatusCode::OK);
}

async fn log_in(visitor: &Visitor, user: &'static str) {
    let reply = visitor.visit(async |session: Session| session.log_in(user));
    assert_eq!(reply.await.status, StatusCode::OK);
}

async fn cycle(visitor: &Visitor) {
    let reply = visitor.visit(async |session: Session| session.cycle_id());
    assert_eq!(reply.await.status, StatusCode::OK);
}

async fn destroy(visitor: &Visitor) {
    let reply = visitor.visit(async |session: Session| session.destroy());
    assert_eq!(reply.await.status, StatusCode::OK);
}

fn id(visitor: &Visitor) -> SessionId {
    let cookie = visitor.cookie().unwrap();
    token::split(cookie.split_once('=').unwrap().1).0
}

fn saved(keys: &[&str]) -> EventKind {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    EventKind::Saved { keys }
}

fn ended(reason: EndReason) -> EventKind {
    EventKind::Ended { reason }
}

#[tokio::test]
async fn each_step_of_a_visit_sends_an_event_with_id_user_and_time() {
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    let mut expected: Vec<(SessionId, Option<&str>, SystemTime, EventKind)> = Vec::new();
    let now = || SystemTime::from(house.clock.now());

    set(&visitor, "n").await;
    let first = id(&visitor);
    expected.push((first, None, now(), EventKind::Created));
    house.clock.advance(SECOND);
    set(&visitor, "m").await;
    expected.push((first, None, now(), saved(&["m"])));
    house.clock.advance(SECOND);
    log_in(&visitor, "ann").await;
    let second = id(&visitor);
    let (from, to) = (Some(first), second);
    expected.push((to, Some("ann"), now(), EventKind::LoggedIn { from, to }));
    house.clock.advance(SECOND);
    cycle(&visitor).await;
    let third = id(&visitor);
    let (from, to) = (second, third);
    expected.push((to, Some("ann"), now(), EventKind::Cycled { from, to }));
    house.clock.advance(SECOND);
    destroy(&visitor).await;
    let destroyed = ended(EndReason::Destroyed);
    expected.push((third, Some("ann"), now(), destroyed));

    let heard = house.recorder.events();
    let heard: Vec<_> = heard
        .iter()
        .map(|event| {
            let id = event.id().unwrap();
            (id, event.user(), event.at(), event.kind().clone())
        })
        .collect();
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_request_that_changes_nothing_sends_no_event() {
    let house = House::new();
    let stranger = Visitor::new(&house.layer);
    stranger.visit(async |_| ()).await;
    stranger
        .visit(async |session: Session| {
            session.insert("n", 1).unwrap();
            session.remove("n");
        })
        .await;
    let visitor = house.known().await;
    house.clock.advance(HOUR / 2);
    visitor.visit(async |_| ()).await;
    set(&visitor, "n").await;
    assert_eq!(house.recorder.kinds(), []);
}

#[tokio::test]
async fn the_event_of_a_save_names_exactly_the_changed_keys() {
    let house = House::new();
    let visitor = house.known().await;
    let reply = visitor.visit(async |session: Session| {
        session.insert("z", 1)?;
        session.insert("a", 1)?;
        session.insert("passing", 1)?;
        session.remove("passing");
        session.remove("n");
        session.remove("never there");
        Ok::<_, cloakroom::Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(house.recorder.kinds(), [saved(&["a", "n", "z"])]);
    visitor
        .visit(async |session: Session| session.set_idle_timeout(Timeout::Never))
        .await;
    assert_eq!(house.recorder.kinds(), [saved(&[])]);
}

#[tokio::test]
async fn saved_names_only_this_requests_keys_after_a_merge_with_another() {
    let house = House::new();
    let visitor = house.known().await;
    let other = visitor.twin();
    visitor
        .visit(async |session: Session| {
            session.insert("mine", 1).unwrap();
            session.insert("both", 1).unwrap();
            set(&other, "theirs").await;
            set(&other, "both").await;
        })
        .await;
    let expected = [saved(&["theirs"]), saved(&["both"]), saved(&["mine"])];
    assert_eq!(house.recorder.kinds(), expected);
}

#[tokio::test]
async fn a_save_a_claim_and_the_head_each_send_an_event() {
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    let heard = house.recorder.clone();
    visitor
        .visit(async |session: Session| {
            session.insert("a", 1).unwrap();
            session.save().await.unwrap();
            assert_eq!(heard.kinds(), [EventKind::Created]);
            session.insert("b", 1).unwrap();
            session.save().await.unwrap();
            assert_eq!(heard.kinds(), [saved(&["b"])]);
            let claimed: Option<u32> = session.claim("a").await.unwrap();
            assert_eq!(claimed, Some(1));
            assert_eq!(heard.kinds(), [saved(&["a"])]);
            assert_eq!(session.claim::<u32>("a").await.unwrap(), None);
            session.save().await.unwrap();
            assert_eq!(heard.kinds(), []);
            session.insert("c", 1).unwrap();
        })
        .await;
    assert_eq!(house.recorder.kinds(), [saved(&["c"])]);
}

#[tokio::test]
async fn m5_a_save_with_a_lost_reply_sends_one_event_with_its_own_keys() {
    let house = House::new();
    let visitor = house.known().await;
    let other = visitor.twin();
    let (store, recorder) = (house.store.clone(), house.recorder.clone());
    visitor
        .visit(async |session: Session| {
            session.insert("mine", 1).unwrap();
            // Kept, but nobody can say so: not now.
            let kept = AtomicUsize::new(0);
            store.plan(move |call| match call {
                StoreCall::Update if kept.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Fault::LoseReply(StoreErrorKind::Timeout)
                }
                _ => Fault::Fail(StoreErrorKind::Unavailable),
            });
            session.save().await.unwrap_err();
            store.heal();
            assert_eq!(recorder.kinds(), []);
            set(&other, "theirs").await;
            assert_eq!(recorder.kinds(), [saved(&["theirs"])]);
            session.insert("later", 1).unwrap();
        })
        .await;
    assert_eq!(
        house.recorder.kinds(),
        [saved(&["mine"]), saved(&["later"])]
    );
}

#[tokio::test(start_paused = true)]
async fn a_save_that_timed_out_at_the_limit_sends_one_event_later() {
    let house = House::new();
    let layer = house.layer.clone().max_sessions_per_user(1);
    let visitor = Visitor::new(&layer);
    let (store, recorder) = (house.store.clone(), house.recorder.clone());
    visitor
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            store.plan_for(StoreCall::List, Fault::Hang);
            session.save().await.unwrap_err();
            store.heal();
            assert!(recorder.events().is_empty(), "nothing has begun");
            session.save().await.unwrap();
            let told = recorder.events();
            let (from, to) = (None, session.id().unwrap());
            let kinds: Vec<_> = told.iter().map(|event| event.kind().clone()).collect();
            assert_eq!(
                kinds,
                [EventKind::Created, EventKind::LoggedIn { from, to }]
            );
        })
        .await;
}

#[tokio::test]
async fn a_log_in_that_was_taken_back_is_not_made_again() {
    let house = House::new();
    let layer = house.layer.clone().max_sessions_per_user(1);
    let visitor = Visitor::new(&layer);
    let (store, recorder) = (house.store.clone(), house.recorder.clone());
    visitor
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            store.plan_for(StoreCall::List, Fault::Fail(StoreErrorKind::Unavailable));
            session.save().await.unwrap_err();
            store.heal();
            assert!(recorder.events().is_empty(), "nothing has begun");
            let first = session.next_id();
            session.save().await.unwrap();
            assert_eq!(session.id(), first);
        })
        .await;
    let told = house.recorder.kinds();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], EventKind::Created);
}

#[tokio::test]
async fn the_event_of_a_log_in_comes_after_that_of_the_creation() {
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    log_in(&visitor, "ann").await;
    let (from, to) = (None, id(&visitor));
    let logged_in = EventKind::LoggedIn { from, to };
    assert_eq!(house.recorder.kinds(), [EventKind::Created, logged_in]);
}

#[tokio::test]
async fn the_event_of_a_log_in_comes_before_that_of_its_changes() {
    let house = House::new();
    let visitor = house.known().await;
    let from = Some(id(&visitor));
    visitor
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            session.insert("m", 1)
        })
        .await;
    let to = id(&visitor);
    let logged_in = EventKind::LoggedIn { from, to };
    assert_eq!(house.recorder.kinds(), [logged_in, saved(&["m"])]);
}

#[tokio::test]
async fn m7_a_log_in_over_a_session_that_was_destroyed_meanwhile_begins_another() {
    let house = House::new();
    let visitor = house.known().await;
    let (other, old) = (visitor.twin(), id(&visitor));
    visitor
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            destroy(&other).await;
        })
        .await;
    let events = house.recorder.events();
    assert_eq!(events[0].id(), Some(old));
    let kinds: Vec<_> = events.iter().map(|event| event.kind().clone()).collect();
    let (from, to) = (None, id(&visitor));
    let expected = [
        ended(EndReason::Destroyed),
        EventKind::Created,
        EventKind::LoggedIn { from, to },
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn m7_of_two_log_ins_at_once_one_goes_on_and_the_other_begins() {
    let house = House::new();
    let visitor = house.known().await;
    let (other, old) = (visitor.twin(), id(&visitor));
    visitor
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            log_in(&other, "bob").await;
        })
        .await;
    let (bobs, anns) = (id(&other), id(&visitor));
    let expected = [
        EventKind::LoggedIn {
            from: Some(old),
            to: bobs,
        },
        EventKind::Created,
        EventKind::LoggedIn {
            from: None,
            to: anns,
        },
    ];
    assert_eq!(house.recorder.kinds(), expected);
    for visitor in [&visitor, &other] {
        destroy(visitor).await;
    }
    let destroyed = EndReason::Destroyed;
    assert_eq!(
        house.recorder.endings(),
        [(anns, destroyed), (bobs, destroyed)]
    );
}

#[tokio::test]
async fn a_cycle_that_lost_to_a_faster_one_sends_no_event() {
    let house = House::new();
    let visitor = house.known().await;
    let (other, from) = (visitor.twin(), id(&visitor));
    visitor
        .visit(async |session: Session| {
            session.cycle_id().unwrap();
            cycle(&other).await;
        })
        .await;
    let to = id(&other);
    assert_eq!(house.recorder.kinds(), [EventKind::Cycled { from, to }]);
}

#[tokio::test]
async fn destroyed_by_two_requests_it_ends_once() {
    let house = House::new();
    let visitor = house.known().await;
    let (other, ended) = (visitor.twin(), id(&visitor));
    visitor
        .visit(async |session: Session| {
            session.destroy();
            destroy(&other).await;
        })
        .await;
    assert_eq!(house.recorder.endings(), [(ended, EndReason::Destroyed)]);
}

#[tokio::test]
async fn destroyed_after_it_moved_on_it_has_ended_if_it_is_the_same_session() {
    for logs_in in [true, false] {
        let house = House::new();
        let visitor = house.known().await;
        let other = visitor.twin();
        visitor
            .visit(async |session: Session| {
                session.get::<u32>("n").unwrap();
                if logs_in {
                    log_in(&other, "ann").await;
                } else {
                    cycle(&other).await;
                }
                session.destroy();
            })
            .await;
        // A log-in is another session; a cycle is the same, and the log-out follows it.
        assert_eq!(house.recorder.endings().len(), usize::from(!logs_in));
        destroy(&other).await;
        assert_eq!(house.recorder.endings().len(), usize::from(logs_in));
    }
}

#[tokio::test]
async fn destroyed_while_a_log_in_is_on_its_way_each_ends_once() {
    // The marker's write and the destroy meet at the store, in either order.
    for (call, fault) in [
        (StoreCall::Update, Fault::Delay(SECOND)),
        (StoreCall::Update, Fault::DelayReply(SECOND)),
        (StoreCall::Delete, Fault::DelayReply(SECOND)),
    ] {
        let house = House::new();
        let visitor = house.known().await;
        let (other, old) = (visitor.twin(), id(&visitor));
        house.store.plan_for(call, fault);
        tokio::time::pause();
        let leave = other.visit(async |session: Session| {
            tokio::time::sleep(SECOND / 2).await;
            session.destroy();
        });
        tokio::join!(leave, log_in(&visitor, "ann"));
        tokio::time::resume();
        house.store.heal();
        let new = id(&visitor);
        destroy(&visitor).await;
        let events = house.recorder.events();
        let count = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|e| wanted(e)).count();
        let went_on = count(&|event| {
            let (from, to) = (Some(old), new);
            *event.kind() == EventKind::LoggedIn { from, to }
        });
        let is_end = |event: &Event| matches!(event.kind(), EventKind::Ended { .. });
        let old_ended = count(&|event| is_end(event) && event.id() == Some(old));
        let new_ended = count(&|event| is_end(event) && event.id() == Some(new));
        assert_eq!(
            (went_on + old_ended, new_ended),
            (1, 1),
            "{call:?} {fault:?} {events:?}"
        );
    }
}

#[tokio::test]
async fn destroyed_then_changed_one_ends_and_another_begins() {
    let house = House::new();
    let visitor = house.known().await;
    let old = id(&visitor);
    visitor
        .visit(async |session: Session| {
            session.destroy();
            session.insert("m", 1)
        })
        .await;
    let events = house.recorder.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.id().unwrap(), event.kind().clone()))
        .collect();
    let expected = [
        (old, ended(EndReason::Destroyed)),
        (id(&visitor), EventKind::Created),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_the_memory_store_evicts_has_ended() {
    let house = House::over(MemoryStore::builder().max_sessions(2).build());
    let first = Visitor::new(&house.layer);
    set(&first, "n").await;
    let evicted = id(&first);
    for _ in 0..2 {
        set(&Visitor::new(&house.layer), "n").await;
    }
    assert_eq!(house.recorder.endings(), [(evicted, EndReason::Evicted)]);
}

/// How a session was left, when it is reaped, and what is told of it.
async fn reaped(house: &House, act: impl FnOnce(Session), after: Duration) -> Option<EndReason> {
    let visitor = house.known().await;
    visitor.visit(async |session| act(session)).await;
    house.recorder.events();
    house.clock.advance(after + 5 * MINUTE);
    house.reap().await;
    let endings = house.recorder.endings();
    assert!(endings.len() < 2);
    assert!(endings.iter().all(|ending| ending.0 == id(&visitor)));
    destroy(&visitor).await;
    house.recorder.events();
    endings.first().map(|ending| ending.1)
}

#[tokio::test]
async fn idle_and_absolute_ends_are_distinguished_by_the_sessions_own_timeouts() {
    const IDLE: Option<EndReason> = Some(EndReason::Idle);
    const ABSOLUTE: Option<EndReason> = Some(EndReason::Absolute);
    let house = House::new();
    let years = 400 * DAY;
    assert_eq!(reaped(&house, |_| (), HOUR).await, IDLE);
    let short = |session: Session| session.set_absolute_timeout(Timeout::After(MINUTE));
    assert_eq!(reaped(&house, short, MINUTE).await, ABSOLUTE);
    let patient = |session: Session| session.set_idle_timeout(Timeout::Never);
    assert_eq!(reaped(&house, patient, HOUR).await, None);
    let patient = |session: Session| session.set_idle_timeout(Timeout::Never);
    assert_eq!(reaped(&house, patient, DAY).await, ABSOLUTE);
    let timeless = |session: Session| {
        session.set_absolute_timeout(Timeout::Never);
        session.set_idle_timeout(Timeout::After(years));
    };
    assert_eq!(reaped(&house, timeless, years).await, IDLE);
    let endless = |session: Session| {
        session.set_absolute_timeout(Timeout::Never);
        session.set_idle_timeout(Timeout::Never);
    };
    assert_eq!(reaped(&house, endless, 100 * years).await, None);
}

#[tokio::test]
async fn deleting_the_marker_of_a_moved_session_sends_no_event() {
    let house = House::new();
    let visitor = house.known().await;
    cycle(&visitor).await;
    log_in(&visitor, "ann").await;
    house.recorder.events();
    house.clock.advance(7 * MINUTE);
    house.reap().await;
    assert_eq!(house.store.inner().len(), 1);
    assert_eq!(house.recorder.kinds(), []);
    house.clock.advance(HOUR);
    house.reap().await;
    assert_eq!(house.recorder.endings(), [(id(&visitor), EndReason::Idle)]);
}

#[tokio::test]
async fn an_ended_sessions_values_can_be_read_where_the_store_gives_them() {
    let house = House::new();
    let visitor = house.known().await;
    log_in(&visitor, "ann").await;
    house.recorder.events();
    house.clock.advance(2 * HOUR);
    house.reap().await;
    let events = house.recorder.events();
    let summary = events[0].session().unwrap();
    assert_eq!(summary.id(), id(&visitor));
    assert_eq!(
        (summary.user(), events[0].user()),
        (Some("ann"), Some("ann"))
    );
    assert_eq!(summary.keys(), ["n"]);
    assert_eq!(summary.get::<u32>("n").unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn however_the_store_fails_a_session_begins_once_and_ends_once() {
    let lost = Fault::LoseReply(StoreErrorKind::Timeout);
    let failed = Fault::Fail(StoreErrorKind::Unavailable);
    let slow = Fault::DelayReply(6 * SECOND);
    let calls = [
        StoreCall::Create,
        StoreCall::Update,
        StoreCall::Delete,
        StoreCall::LoadLatest,
    ];
    for call in calls {
        for fault in [lost, failed, slow, Fault::Hang, Fault::Panic] {
            for faults in [1, 3, 100] {
                let house = House::new();
                let visitor = Visitor::new(&house.layer);
                let left = AtomicUsize::new(faults);
                house.store.plan(move |made| {
                    let is_due = made == call
                        && left
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                                n.checked_sub(1)
                            })
                            .is_ok();
                    if is_due { fault } else { Fault::None }
                });
                let insert = |key: &'static str| {
                    visitor.visit(async move |session: Session| {
                        session.insert(key, 1).unwrap();
                        let _ = session.save().await;
                        session.insert("n", key)
                    })
                };
                insert("a").await;
                insert("b").await;
                visitor
                    .visit(async |session: Session| session.log_in("ann"))
                    .await;
                visitor
                    .visit(async |session: Session| session.cycle_id())
                    .await;
                visitor
                    .visit(async |session: Session| session.destroy())
                    .await;
                house.store.heal();
                house.clock.advance(2 * DAY);
                house.reap().await;
                let mut told: Vec<_> = house
                    .recorder
                    .events()
                    .iter()
                    .filter_map(|event| match event.kind() {
                        EventKind::Created => Some((event.id().unwrap(), true)),
                        EventKind::Ended { .. } => Some((event.id().unwrap(), false)),
                        _ => None,
                    })
                    .collect();
                let count = told.len();
                told.sort_unstable();
                told.dedup();
                assert_eq!(told.len(), count, "{call:?} {fault:?} {faults}");
            }
        }
    }
}

mod histories {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Set(u8),
        Save,
        LogIn,
        Cycle,
        Destroy,
        DestroyAndSet,
        /// Two at once, by two who have the same cookie.
        /// The second does his deed so many turns later.
        Race(Act, Act, u8),
        Wait(u16),
        Reap,
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Set,
        LogIn,
        Cycle,
        Destroy,
    }

    fn acts() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Set),
            Just(Act::LogIn),
            Just(Act::Cycle),
            Just(Act::Destroy)
        ]
    }

    fn deeds() -> impl Strategy<Value = Deed> {
        prop_oneof![
            3 => (0..3u8).prop_map(Deed::Set),
            1 => Just(Deed::Save),
            2 => Just(Deed::LogIn),
            1 => Just(Deed::Cycle),
            1 => Just(Deed::Destroy),
            1 => Just(Deed::DestroyAndSet),
            3 => (acts(), acts(), 0..12u8).prop_map(|(one, other, turns)| Deed::Race(one, other, turns)),
            1 => (0..120u16).prop_map(Deed::Wait),
            1 => Just(Deed::Reap),
        ]
    }

    async fn act(visitor: &Visitor, act: Act, turns: u8) {
        let deed = visitor.visit(async |session: Session| {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            match act {
                Act::Set => session.insert("raced", 1)?,
                Act::LogIn => session.log_in("bob")?,
                Act::Cycle => session.cycle_id()?,
                Act::Destroy => session.destroy(),
            }
            Ok::<_, cloakroom::Error>(())
        });
        deed.await;
    }

    async fn run(history: Vec<(usize, Deed)>) {
        let house = House::new();
        house.store.plan(|_| Fault::Yield);
        let mut visitors: Vec<Visitor> = (0..4).map(|_| Visitor::new(&house.layer)).collect();
        for (who, deed) in history {
            let visitor = visitors[who].clone();
            match deed {
                Deed::Set(key) => set(&visitor, ["a", "b", "c"][usize::from(key)]).await,
                Deed::Save => {
                    let save = visitor.visit(async |session: Session| {
                        let grow = |n: Option<u32>| n.unwrap_or(0) + 1;
                        session.update("saved", grow)?;
                        session.save().await?;
                        session.update("saved", grow).map(|_| ())
                    });
                    save.await;
                }
                Deed::LogIn => log_in(&visitor, "ann").await,
                Deed::Cycle => cycle(&visitor).await,
                Deed::Destroy => destroy(&visitor).await,
                Deed::DestroyAndSet => {
                    let again = visitor.visit(async |session: Session| {
                        session.destroy();
                        session.insert("a", 1)
                    });
                    again.await;
                }
                Deed::Race(one, other, turns) => {
                    let twin = visitor.twin();
                    tokio::join!(act(&visitor, one, 0), act(&twin, other, turns));
                    visitors.push(twin);
                    visitors.swap_remove(who);
                }
                Deed::Wait(minutes) => house.clock.advance(u32::from(minutes) * MINUTE),
                Deed::Reap => house.reap().await,
            }
        }
        house.clock.advance(10 * DAY);
        house.reap().await;
        let stats = house.layer.sessions().stats();
        assert_eq!(stats.live, 0);
        check(&house.recorder.events());
    }

    /// One `Created` and one `Ended` for each chain of ids, in order.
    fn check(events: &[Event]) {
        // Whether a session goes by this id.
        let mut chains: BTreeMap<SessionId, bool> = BTreeMap::new();
        for event in events {
            let id = event.id().unwrap();
            match event.kind() {
                EventKind::Created => assert_eq!(chains.insert(id, true), None, "{events:#?}"),
                EventKind::LoggedIn { from: None, to } => {
                    assert_eq!(chains.get(to), Some(&true), "{events:#?}");
                }
                EventKind::LoggedIn {
                    from: Some(from),
                    to,
                }
                | EventKind::Cycled { from, to } => {
                    assert_eq!(chains.insert(*from, false), Some(true), "{events:#?}");
                    assert_eq!(chains.insert(*to, true), None, "{events:#?}");
                }
                // Of two at once, either may be told first.
                EventKind::Saved { .. } => assert!(chains.contains_key(&id), "{events:#?}"),
                EventKind::Ended { .. } => {
                    assert_eq!(chains.insert(id, false), Some(true), "{events:#?}");
                }
                _ => {}
            }
        }
        assert!(chains.values().all(|is_live| !is_live), "{events:#?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

        #[test]
        fn every_chain_of_ids_begins_once_and_ends_once(
            history in prop::collection::vec((0..4usize, deeds()), 1..40)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(run(history));
        }
    }
}

/// Whoever sends these cookies, and what was told of it.
async fn sends(
    house: &House,
    layer: &SessionLayer,
    cookies: String,
) -> Vec<(Option<SessionId>, Rejection)> {
    house.recorder.events();
    let client = Client::with_cookie(layer.clone(), cookies);
    client.visit(async |_| ()).await;
    house.recorder.rejections()
}

#[tokio::test]
async fn a_rejected_cookie_sends_an_event_with_the_reason() {
    let house = House::new();
    let never = SessionId::from(NEVER_ISSUED);
    let visitor = house.known().await;
    let (cookie, known) = (visitor.cookie().unwrap(), id(&visitor));
    let named = |token: String| format!("__Host-id={token}");
    let sent = |cookies: String| sends(&house, &house.layer, cookies);

    assert_eq!(sent(cookie.clone()).await, []);
    let unknown = (Some(never), Rejection::Unknown);
    assert_eq!(sent(named(token::join(never, [1; 16]))).await, [unknown]);
    let unproven = (Some(known), Rejection::Unproven);
    assert_eq!(sent(named(token::join(known, [1; 16]))).await, [unproven]);
    let malformed = (None, Rejection::Malformed);
    assert_eq!(sent(named("nonsense".to_owned())).await, [malformed]);
    let twice = format!("{}; {}", named("a".to_owned()), named("b".to_owned()));
    assert_eq!(sent(twice).await, [malformed]);

    cycle(&visitor).await;
    let moved = (Some(known), Rejection::Moved);
    assert_eq!(sent(cookie.clone()).await, [moved]);
    house.clock.advance(HOUR);
    let expired = (Some(known), Rejection::Expired);
    assert_eq!(sent(cookie.clone()).await, [expired]);
    let (now, since) = (visitor.cookie().unwrap(), id(&visitor));
    let expired = (Some(since), Rejection::Expired);
    assert_eq!(sent(now).await, [expired]);
    house.clock.advance(HOUR);
    house.reap().await;
    let unknown = (Some(known), Rejection::Unknown);
    assert_eq!(sent(cookie).await, [unknown]);
}

#[tokio::test]
async fn a_rejection_names_the_user_whose_session_it_was_meant_for() {
    let house = House::new();
    let visitor = house.known().await;
    log_in(&visitor, "ann").await;
    house.recorder.events();
    let guess = token::join(id(&visitor), [1; 16]);
    let client = Client::with_cookie(house.layer.clone(), format!("__Host-id={guess}"));
    client.visit(async |_| ()).await;
    let events = house.recorder.events();
    assert_eq!(events[0].user(), Some("ann"));
    assert_eq!(events[0].at(), SystemTime::from(house.clock.now()));
}

#[tokio::test]
async fn t5_two_cookies_that_prove_themselves_are_both_planted() {
    let house = House::new();
    let layer = house.layer.clone().cookie(plain_cookie("id"));
    let (ann, eve) = (Visitor::new(&layer), Visitor::new(&layer));
    set(&ann, "n").await;
    set(&eve, "n").await;
    let both = format!("{}; {}", ann.cookie().unwrap(), eve.cookie().unwrap());
    let planted = Rejection::Planted;
    let expected = [(Some(id(&ann)), planted), (Some(id(&eve)), planted)];
    assert_eq!(sends(&house, &layer, both).await, expected);
}

/// A cache in front that knows nothing, and says so.
struct Forgetful(MemoryStore);

impl SessionStore for Forgetful {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.0.create(id, record, activity).await
    }

    async fn load(&self, _: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        Ok(None)
    }

    async fn load_latest(
        &self,
        id: SessionId,
    ) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.0.load(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        self.0.update(id, record, activity, former).await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.0.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.0.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.0.delete_expired(before, limit).await
    }

    fn is_cached(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn what_only_a_cache_does_not_know_is_not_rejected() {
    let recorder = Recorder::default();
    let layer = SessionLayer::new(Forgetful(MemoryStore::default())).on_event(recorder.clone());
    let visitor = Visitor::new(&layer);
    set(&visitor, "n").await;
    set(&visitor, "m").await;
    assert_eq!(recorder.kinds(), [EventKind::Created, saved(&["m"])]);
}

#[tokio::test]
async fn a_load_that_is_given_up_and_done_again_rejects_once() {
    let house = House::new();
    house.store.plan(|_| Fault::Yield);
    let unknown = token::join(NEVER_ISSUED, [1; 16]);
    let cookies = format!("__Host-id=nonsense; __Host-id={unknown}");
    let service = tower::service_fn(async |request: Request<()>| {
        let handle: &SessionHandle = request.extensions().get().unwrap();
        assert!(handle.load().now_or_never().is_none());
        handle.load().await.unwrap();
        handle.load().await.unwrap();
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let request = Request::get("/").header(header::COOKIE, cookies);
    let answer = house
        .layer
        .layer(service)
        .oneshot(request.body(()).unwrap());
    answer.await.unwrap();
    let expected = [
        (None, Rejection::Malformed),
        (Some(NEVER_ISSUED.into()), Rejection::Unknown),
    ];
    assert_eq!(house.recorder.rejections(), expected);
}

#[tokio::test]
async fn a_load_that_fails_rejects_nothing() {
    let house = House::new();
    let visitor = house.known().await;
    let failing = Fault::Fail(StoreErrorKind::Unavailable);
    house.store.plan_for(StoreCall::Load, failing);
    let reply = visitor.visit(async |_| ()).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.recorder.kinds(), []);
}

struct Numbered(u8, Arc<Mutex<Vec<u8>>>);

impl Listener for Numbered {
    fn on_event(&self, _: &Event) {
        self.1.lock().push(self.0);
    }
}

#[tokio::test]
async fn listeners_are_called_in_the_order_of_their_registration() {
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let closure = {
        let heard = Arc::clone(&heard);
        move |_: &Event| heard.lock().push(2)
    };
    let layer = SessionLayer::default()
        .on_event(Numbered(1, Arc::clone(&heard)))
        .on_event(closure)
        .idle_timeout(HOUR)
        .on_event(Numbered(3, Arc::clone(&heard)));
    set(&Visitor::new(&layer), "n").await;
    assert_eq!(*heard.lock(), [1, 2, 3]);
}

#[tokio::test]
async fn listeners_are_called_after_the_store_has_confirmed() {
    let store = MemoryStore::default();
    let held = Arc::new(Mutex::new(Vec::new()));
    let (asked, noted) = (store.clone(), Arc::clone(&held));
    let layer = SessionLayer::new(store.clone()).on_event(move |_: &Event| {
        noted.lock().push(asked.len());
    });
    let visitor = Visitor::new(&layer);
    set(&visitor, "n").await;
    destroy(&visitor).await;
    assert_eq!(*held.lock(), [1, 0]);
    let failing = FaultyStore::in_memory();
    failing.plan_for(StoreCall::Create, Fault::Fail(StoreErrorKind::Unavailable));
    let recorder = Recorder::default();
    let layer = SessionLayer::new(failing).on_event(recorder.clone());
    let visitor = Visitor::new(&layer);
    let reply = visitor.visit(async |session: Session| session.insert("n", 1));
    assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(recorder.kinds(), []);
}

#[tokio::test]
async fn a_listener_that_panics_stops_neither_the_others_nor_the_request_nor_the_sweep() {
    let log = Log::capture();
    let (clock, recorder) = (FixedClock::default(), Recorder::default());
    let store = MemoryStore::default();
    let layer = SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(None)
        .on_event(|_: &Event| panic!("a listener's own trouble"))
        .on_event(recorder.clone());
    let visitors: Vec<_> = (0..3).map(|_| Visitor::new(&layer)).collect();
    for visitor in &visitors {
        set(visitor, "n").await;
    }
    assert_eq!(recorder.events().len(), 3);
    clock.advance(2 * HOUR);
    assert_eq!(layer.sessions().reap().await.unwrap(), 3);
    assert_eq!(recorder.endings().len(), 3);
    assert!(store.is_empty());
    // At most five in ten seconds.
    assert_eq!(log.count(Level::ERROR, "a listener has panicked"), 5);
}

#[tokio::test]
async fn a_listener_may_use_the_session_and_the_store() {
    let (store, clock) = (
        MemoryStore::builder().max_sessions(2).build(),
        FixedClock::default(),
    );
    let slot = Arc::<OnceLock<Session>>::default();
    let seen = Arc::<Mutex<Vec<(usize, Option<u32>)>>>::default();
    let (asked, held, noted) = (store.clone(), Arc::clone(&slot), Arc::clone(&seen));
    let layer = SessionLayer::new(store)
        .clock(clock.clone())
        .reap_every(None)
        .on_event(move |event: &Event| {
            // All of this at once: a store in memory never waits.
            let found = futures::executor::block_on(async {
                let id = event.id().unwrap();
                asked.delete_expired(Timestamp::EPOCH, 10).await.unwrap();
                asked.load(id).await.unwrap();
                asked.count(&Query::default()).await.unwrap()
            });
            let n = held.get().and_then(|session| session.get("n").unwrap());
            noted.lock().push((found as usize, n));
        });
    let visitor = Visitor::new(&layer);
    let keep = Arc::clone(&slot);
    visitor
        .visit(async move |session: Session| {
            keep.set(session.clone()).ok().unwrap();
            session.insert("n", 7)
        })
        .await;
    for _ in 0..2 {
        set(&Visitor::new(&layer), "n").await;
    }
    clock.advance(2 * DAY);
    layer.sessions().reap().await.unwrap();
    assert_eq!(seen.lock().len(), 3 + 1 + 2);
    assert_eq!(seen.lock()[0], (1, Some(7)));
}

#[tokio::test]
async fn a_store_that_outlives_its_layer_sends_no_events() {
    let (store, clock, recorder) = (
        MemoryStore::default(),
        FixedClock::default(),
        Recorder::default(),
    );
    let layer = SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(None)
        .on_event(recorder.clone());
    let visitor = Visitor::new(&layer);
    set(&visitor, "n").await;
    drop((visitor, layer));
    recorder.events();
    store.delete_expired(Timestamp::MAX, 10).await.unwrap();
    assert!(store.is_empty());
    assert_eq!(recorder.kinds(), []);
}

#[tokio::test]
async fn load_and_commit_are_spans_with_the_sessions_id() {
    let log = Log::capture();
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    visitor
        .visit(async |session: Session| {
            session.insert("n", 1).unwrap();
            tracing::info!("nothing is loaded under a span");
        })
        .await;
    set(&visitor, "m").await;
    let first = id(&visitor);
    let named = |span: &str| format!("{span}{{session.id={first}}}");
    assert_eq!(log.count(Level::DEBUG, &named("session_commit")), 1);
    log_in(&visitor, "ann").await;
    assert!(log.count(Level::DEBUG, &named("session_commit")) > 1);
}
