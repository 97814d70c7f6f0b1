//! Rule P3, `max_sessions_per_user`: a log-in beyond it ends the oldest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use cloakroom::{
    Clock, EndReason, Error, Event, EventKind, MemoryStore, Session, SessionFilter, SessionId,
    SessionLayer, Sessions, store::StoreErrorKind,
};
use futures::{
    future::{join, join_all},
    poll,
};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    store::population,
    support::{
        Fault, FaultyStore, FixedClock, Log, Reply, StoreCall, Visitor,
        acts::healthy_node,
        fixture::{HOUR, MILLISECOND, MINUTE, SECOND},
    },
};

struct House {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
    sessions: Sessions,
    ended: Arc<Mutex<Vec<(SessionId, EndReason)>>>,
}

impl House {
    fn of(most: impl Into<Option<usize>>) -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&ended);
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .max_sessions_per_user(most)
            .on_event(move |event: &Event| {
                if let EventKind::Ended { reason } = event.kind() {
                    heard.lock().push((event.id().unwrap(), *reason));
                }
            });
        Self {
            sessions: layer.sessions(),
            store,
            clock,
            layer,
            ended,
        }
    }

    /// Somebody new logs in as `user`, a second after whatever was before.
    async fn log_in(&self, user: &'static str) -> Visitor {
        self.clock.advance(SECOND);
        let visitor = Visitor::new(&self.layer);
        assert_eq!(log_in(&visitor, user).await.status, StatusCode::OK);
        visitor
    }

    async fn live(&self, user: &str) -> usize {
        live(&self.sessions, user).await
    }
}

async fn live(sessions: &Sessions, user: &str) -> usize {
    let filter = SessionFilter::default().user(user);
    let page = sessions.list(&filter, None, 1000).await.unwrap();
    page.sessions.len()
}

async fn log_in(visitor: &Visitor, user: &'static str) -> Reply {
    visitor
        .visit(async |session: Session| session.log_in(user))
        .await
}

async fn user(visitor: &Visitor) -> Option<String> {
    let reply = visitor.visit(async |session: Session| session.user().unwrap_or_default());
    Some(reply.await.body).filter(|user| !user.is_empty())
}

#[tokio::test]
async fn p3_a_log_in_beyond_the_limit_ends_the_oldest() {
    let house = House::of(2);
    let first = house.log_in("ann").await;
    let (second, bob) = (house.log_in("ann").await, house.log_in("bob").await);
    assert_eq!(*house.ended.lock(), []);
    let third = house.log_in("ann").await;
    assert_eq!(user(&first).await, None);
    for visitor in [&second, &third] {
        assert_eq!(user(visitor).await.as_deref(), Some("ann"));
    }
    assert_eq!(user(&bob).await.as_deref(), Some("bob"));
    let ended = house.ended.lock().clone();
    assert!(matches!(ended[..], [(_, EndReason::Limit)]), "{ended:?}");
    assert_eq!(house.sessions.stats().ended(EndReason::Limit), 1);
}

#[tokio::test]
async fn without_a_limit_there_are_any_number_and_nothing_is_asked() {
    let house = House::of(None);
    for _ in 0..5 {
        house.log_in("ann").await;
    }
    assert!(!house.store.calls().contains(&StoreCall::List));
    assert_eq!(house.live("ann").await, 5);
}

#[tokio::test]
async fn a_limit_of_none_at_all_is_taken_as_one() {
    let house = House::of(0);
    let first = house.log_in("ann").await;
    assert!(user(&first).await.is_some());
    let second = house.log_in("ann").await;
    assert!(user(&first).await.is_none() && user(&second).await.is_some());
}

#[tokio::test]
async fn who_logs_in_again_or_cycles_takes_one_place() {
    let house = House::of(2);
    let (one, two) = (house.log_in("ann").await, house.log_in("ann").await);
    for _ in 0..3 {
        house.clock.advance(SECOND);
        log_in(&one, "ann").await;
        two.visit(async |session: Session| session.cycle_id()).await;
    }
    assert!(user(&one).await.is_some() && user(&two).await.is_some());
    assert_eq!(*house.ended.lock(), []);
}

#[tokio::test]
async fn a_log_in_that_is_saved_before_the_head_counts_too() {
    let house = House::of(1);
    let first = house.log_in("ann").await;
    house.clock.advance(SECOND);
    let second = Visitor::new(&house.layer);
    let reply = second.visit(async |session: Session| {
        session.log_in("ann")?;
        session.save().await
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert!(user(&first).await.is_none() && user(&second).await.is_some());
}

#[tokio::test]
async fn p3_an_expired_session_does_not_count() {
    let house = House::of(2);
    let (first, second) = (house.log_in("ann").await, house.log_in("ann").await);
    house.clock.advance(HOUR / 2);
    assert!(user(&first).await.is_some());
    house.clock.advance(HOUR / 2);
    let third = house.log_in("ann").await;
    assert!(user(&second).await.is_none(), "it has expired");
    assert!(user(&first).await.is_some() && user(&third).await.is_some());
    assert_eq!(*house.ended.lock(), []);
}

#[tokio::test(start_paused = true)]
async fn p3_a_session_that_moves_while_the_others_are_counted_is_counted() {
    for millis in 0..20 {
        let house = House::of(1);
        let (first, third) = (house.log_in("ann").await, Visitor::new(&house.layer));
        house.clock.advance(SECOND);
        house.store.plan(move |call| match call {
            StoreCall::List => Fault::DelayReply(7 * MILLISECOND),
            StoreCall::Update => Fault::Delay(MILLISECOND * millis),
            _ => Fault::Delay(MILLISECOND),
        });
        let cycle = async |session: Session| session.cycle_id();
        join(first.visit(cycle), log_in(&third, "ann")).await;
        house.store.heal();
        assert!(user(&third).await.is_some(), "{millis}");
        assert!(user(&first).await.is_none(), "{millis}");
        assert_eq!(house.live("ann").await, 1, "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_session_that_moves_while_the_others_are_counted_is_counted_once() {
    for millis in 0..20 {
        let house = House::of(3);
        let (first, second) = (house.log_in("ann").await, house.log_in("ann").await);
        let third = Visitor::new(&house.layer);
        house.clock.advance(SECOND);
        house.store.plan(move |call| match call {
            StoreCall::List => Fault::Delay(5 * MILLISECOND),
            StoreCall::Update => Fault::Delay(MILLISECOND * millis),
            _ => Fault::Delay(MILLISECOND),
        });
        let cycle = async |session: Session| session.cycle_id();
        join(second.visit(cycle), log_in(&third, "ann")).await;
        house.store.heal();
        for visitor in [&first, &second, &third] {
            assert!(user(visitor).await.is_some(), "{millis}");
        }
        assert_eq!(*house.ended.lock(), [], "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_session_that_is_about_to_be_left_ends_with_the_one_that_leaves_it() {
    for millis in 0..30 {
        let house = House::of(1);
        let fast = healthy_node(&house.store, &house.clock).max_sessions_per_user(1);
        let (again, elsewhere) = (house.log_in("ann").await, Visitor::new(&fast));
        house.clock.advance(SECOND);
        house.store.plan(|call| match call {
            StoreCall::List => Fault::DelayReply(7 * MILLISECOND),
            _ => Fault::Delay(MILLISECOND),
        });
        let newer = async {
            sleep(MILLISECOND * millis).await;
            house.clock.advance(SECOND);
            log_in(&elsewhere, "ann").await
        };
        join(log_in(&again, "ann"), newer).await;
        house.store.heal();
        assert_eq!(house.live("ann").await, 1, "{millis}");
        let is_in = (
            user(&again).await.is_some(),
            user(&elsewhere).await.is_some(),
        );
        assert!(is_in.0 != is_in.1, "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_session_that_a_later_log_in_joins_while_it_is_ended_leaves_no_room() {
    for millis in 0..30 {
        let house = House::of(1);
        let first = Visitor::new(&house.layer);
        let cart = async |session: Session| session.insert("cart", 3);
        first.visit(cart).await;
        let second = first.twin();
        assert_eq!(log_in(&first, "ann").await.status, StatusCode::OK);
        let elsewhere = Visitor::new(&house.layer);
        house.clock.advance(SECOND);
        house.store.plan(|call| match call {
            StoreCall::List => Fault::DelayReply(7 * MILLISECOND),
            _ => Fault::Delay(MILLISECOND),
        });
        let joining = async {
            sleep(MILLISECOND * millis).await;
            house.clock.advance(SECOND);
            log_in(&second, "ann").await
        };
        join(log_in(&elsewhere, "ann"), joining).await;
        house.store.heal();
        assert_eq!(house.live("ann").await, 1, "{millis}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p3_many_who_log_in_at_once_on_many_nodes_leave_no_more_than_the_limit() {
    const MOST: usize = 3;
    for round in 0..10 {
        let store = FaultyStore::new(MemoryStore::default());
        let ticks = Arc::new(AtomicU64::new(1_000_000));
        let nodes: Vec<_> = (0..4)
            .map(|_| {
                let ticks = Arc::clone(&ticks);
                SessionLayer::new(store.clone())
                    .max_sessions_per_user(MOST)
                    .clock(move || {
                        // Most fall into the same millisecond as others.
                        let tick = ticks.fetch_add(1, Ordering::Relaxed);
                        cloakroom::Timestamp::from_millis(tick / 64)
                    })
            })
            .collect();
        store.plan(|_| Fault::Yield);
        let tasks = (0..40).map(|index| {
            let visitor = Visitor::new(&nodes[index % nodes.len()]);
            tokio::spawn(async move {
                let mut replies = Vec::new();
                for _ in 0..3 {
                    let reply = log_in(&visitor, "ann").await;
                    replies.push((reply.status, reply.set_cookies().len()));
                }
                (visitor, replies)
            })
        });
        let done = join_all(tasks).await;
        store.heal();
        let sessions = nodes[0].sessions();
        // Fewer where who logs in again was counted with the old session and the new.
        let left = live(&sessions, "ann").await;
        assert!((1..=MOST).contains(&left), "{left} in round {round}");
        let mut working = 0;
        for done in done {
            let (visitor, replies) = done.unwrap();
            for (status, cookies) in replies {
                match status {
                    StatusCode::OK => assert_eq!(cookies, 1),
                    other => {
                        assert_eq!(other, StatusCode::SERVICE_UNAVAILABLE);
                        assert_eq!(cookies, 0);
                    }
                }
            }
            working += usize::from(user(&visitor).await.is_some());
        }
        assert_eq!(working, left, "what is left is in a visitor's hand");
    }
}

#[tokio::test]
async fn p3_a_clock_that_was_set_back_refuses_no_log_in() {
    for most in [1, 2] {
        let house = House::of(most);
        let former = [house.log_in("ann").await, house.log_in("ann").await];
        house.clock.go_back(MINUTE);
        for _ in 0..3 {
            let late = house.log_in("ann").await;
            assert!(user(&late).await.is_some());
            assert_eq!(house.live("ann").await, most);
        }
        for former in former {
            assert!(user(&former).await.is_none());
        }
    }
}

#[tokio::test]
async fn p3_a_clock_that_stands_still_refuses_no_log_in() {
    let house = House::of(1);
    for _ in 0..20 {
        let visitor = Visitor::new(&house.layer);
        assert_eq!(log_in(&visitor, "ann").await.status, StatusCode::OK);
        assert!(user(&visitor).await.is_some());
    }
    assert_eq!(house.live("ann").await, 1);
}

#[tokio::test]
async fn p3_a_log_in_after_the_clock_was_set_back_is_the_newest() {
    let house = House::of(1);
    house.log_in("ann").await;
    house.clock.go_back(MINUTE);
    let back = house.log_in("ann").await;
    // Its own time is the clock's: it ends no later for it.
    let shown = back.visit(async |session: Session| {
        let at = session.authenticated_at().unwrap();
        session.cycle_id().unwrap();
        (at == SystemTime::from(house.clock.now())).to_string()
    });
    assert_eq!(shown.await.body, "true");
    house.clock.advance(MINUTE);
    let last = house.log_in("ann").await;
    assert!(user(&back).await.is_none() && user(&last).await.is_some());
    assert_eq!(house.live("ann").await, 1);
}

#[tokio::test]
async fn p3_a_log_in_by_save_after_the_clock_was_set_back_goes_on() {
    let house = House::of(1);
    house.log_in("ann").await;
    house.clock.go_back(MINUTE);
    let back = Visitor::new(&house.layer);
    house.store.calls();
    let reply = back.visit(async |session: Session| {
        session.log_in("ann")?;
        session.save().await?;
        house.store.calls();
        session.insert("n", 1)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(house.store.calls(), [StoreCall::Update], "no conflict");
    assert!(user(&back).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn p3_the_limit_holds_on_nodes_with_different_clocks() {
    for seed in 0..100 {
        let (store, ahead, behind) = (
            FaultyStore::in_memory(),
            FixedClock::default(),
            FixedClock::default(),
        );
        ahead.advance(MINUTE);
        let nodes = [&ahead, &behind].map(|clock| {
            SessionLayer::new(store.clone())
                .clock(clock.clone())
                .reap_every(None)
                .max_sessions_per_user(1)
        });
        let visitors: Vec<_> = (0..6).map(|n| Visitor::new(&nodes[n % 2])).collect();
        let mut state: u64 = seed;
        store.plan(move |_| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            Fault::Delay(MILLISECOND * ((state >> 16) % 10) as u32)
        });
        let replies = join_all(visitors.iter().map(|visitor| log_in(visitor, "ann"))).await;
        store.heal();
        assert_eq!(live(&nodes[0].sessions(), "ann").await, 1, "{seed}");
        let mut known = 0;
        for (visitor, reply) in visitors.iter().zip(replies) {
            known += usize::from(user(visitor).await.is_some());
            let cookies = usize::from(reply.status == StatusCode::OK);
            assert_eq!(reply.set_cookies().len(), cookies);
        }
        assert_eq!(known, 1, "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_that_newer_ones_exclude_is_rolled_back() {
    let house = House::of(1);
    let late = Visitor::new(&house.layer);
    let mut lists = 0;
    house.store.plan(move |call| {
        lists += u32::from(call == StoreCall::List);
        if call == StoreCall::List && lists == 2 {
            Fault::Delay(SECOND)
        } else {
            Fault::None
        }
    });
    let newer = async {
        tokio::task::yield_now().await;
        house.log_in("ann").await
    };
    let (reply, newer) = join(log_in(&late, "ann"), newer).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert!(user(&newer).await.is_some());
    assert_eq!(house.live("ann").await, 1);
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_that_a_newer_one_is_about_to_end_is_rolled_back() {
    let house = House::of(1);
    let (late, newer) = (Visitor::new(&house.layer), Visitor::new(&house.layer));
    // Both have stored theirs before either looks.
    house.store.plan_for(StoreCall::List, Fault::Delay(SECOND));
    let second = async {
        tokio::task::yield_now().await;
        house.clock.advance(SECOND);
        log_in(&newer, "ann").await
    };
    let (first, second) = join(log_in(&late, "ann"), second).await;
    assert_eq!(first.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.status, StatusCode::OK);
    house.store.heal();
    assert!(user(&newer).await.is_some());
    assert_eq!(house.live("ann").await, 1);
}

#[tokio::test]
async fn p3_a_log_in_is_rolled_back_if_the_count_or_an_eviction_fails() {
    for (call, kind) in [
        (StoreCall::List, StoreErrorKind::Unsupported),
        (StoreCall::List, StoreErrorKind::Unavailable),
        (StoreCall::LoadLatest, StoreErrorKind::Unavailable),
    ] {
        let house = House::of(1);
        let first = house.log_in("ann").await;
        house.clock.advance(SECOND);
        let log = Log::capture();
        house.store.plan(move |made| {
            if made == call {
                Fault::Fail(kind)
            } else {
                Fault::None
            }
        });
        let second = Visitor::new(&house.layer);
        let reply = log_in(&second, "ann").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.set_cookies(), [""; 0]);
        assert_eq!(log.count(tracing::Level::ERROR, "not saved"), 1);
        drop(log);
        house.store.heal();
        assert!(user(&first).await.is_some());
        assert_eq!(house.live("ann").await, 1, "{call:?} {kind:?}");
    }
}

/// Drops what `visitor` does with his session when the store has begun the new one and not left the old one.
async fn cut_short(house: &House, visitor: &Visitor, act: fn(&Session) -> Result<(), Error>) {
    house.store.plan_for(StoreCall::Update, Fault::Hang);
    {
        let mut moving = Box::pin(visitor.visit(async |session: Session| act(&session)));
        assert!(poll!(&mut moving).is_pending());
    }
    house.store.heal();
}

#[tokio::test]
async fn p3_an_interrupted_log_in_does_not_count() {
    let house = House::of(2);
    let (first, second) = (house.log_in("ann").await, house.log_in("ann").await);
    house.clock.advance(SECOND);
    cut_short(&house, &first, |session| session.log_in("ann")).await;
    tokio::task::yield_now().await;
    let third = house.log_in("ann").await;
    assert!(user(&first).await.is_none());
    assert!(user(&second).await.is_some() && user(&third).await.is_some());
}

#[tokio::test]
async fn p3_the_new_session_of_an_interrupted_cycle_does_not_count() {
    let house = House::of(2);
    let (first, second) = (house.log_in("ann").await, house.log_in("ann").await);
    cut_short(&house, &second, Session::cycle_id).await;
    // It cannot be taken back.
    let refused = Fault::Refuse(StoreErrorKind::Other);
    house.store.plan_for(StoreCall::Create, refused);
    tokio::task::yield_now().await;
    house.store.heal();
    second
        .visit(async |session: Session| session.cycle_id())
        .await;
    assert_eq!(house.live("ann").await, 2, "the list leaves it out too");
    let third = house.log_in("ann").await;
    assert!(user(&first).await.is_none());
    assert!(user(&second).await.is_some() && user(&third).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_is_rolled_back_if_the_count_times_out() {
    let house = House::of(1);
    let first = house.log_in("ann").await;
    house.clock.advance(SECOND);
    house.store.plan_for(StoreCall::List, Fault::Hang);
    let reply = log_in(&Visitor::new(&house.layer), "ann").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    house.store.heal();
    assert!(user(&first).await.is_some());
    assert_eq!(house.live("ann").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_p3_ending_sessions_and_their_limit_hold_among_nodes() {
    let store = MemoryStore::default();
    population::is_kept_by(vec![store.clone(), store.clone(), store]).await;
}
