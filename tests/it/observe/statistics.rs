//! The numbers about all sessions of a layer.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    EndReason, Event, MemoryStore, Rejection, Session, SessionLayer, Timeout, store::StoreErrorKind,
};
use http::StatusCode;

use crate::support::{
    Client, Fault, FaultyStore, FixedClock, StoreCall, Visitor,
    fixture::{DAY, HOUR, MINUTE, SECOND},
};

struct House {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
}

impl House {
    fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None);
        let _ = layer.sessions();
        Self {
            store,
            clock,
            layer,
        }
    }

    fn stats(&self) -> cloakroom::Stats {
        self.layer.sessions().stats()
    }
}

async fn set(visitor: &Visitor, key: &'static str) {
    let set = visitor.visit(async |session: Session| session.insert(key, 1));
    assert_eq!(set.await.status, StatusCode::OK);
}

async fn destroy(visitor: &Visitor) {
    visitor
        .visit(async |session: Session| session.destroy())
        .await;
}

#[tokio::test]
async fn what_begins_and_ends_is_counted_with_its_peak_its_reasons_and_its_lives() {
    let house = House::new();
    let visitors: Vec<_> = (0..3).map(|_| Visitor::new(&house.layer)).collect();
    for visitor in &visitors {
        set(visitor, "n").await;
    }
    visitors[0]
        .visit(async |session: Session| session.log_in("ann"))
        .await;
    house.clock.advance(10 * MINUTE);
    destroy(&visitors[0]).await;
    let stats = house.stats();
    assert_eq!((stats.live, stats.peak, stats.created), (2, 3, 3));
    assert_eq!((stats.logged_in, stats.ended(EndReason::Destroyed)), (1, 1));
    house.clock.advance(DAY);
    house.layer.sessions().reap().await.unwrap();
    let stats = house.stats();
    assert_eq!((stats.live, stats.peak), (0, 3));
    assert_eq!(stats.ended(EndReason::Idle), 2);
    // Two were over an hour after they were last seen, whenever they were deleted.
    assert_eq!(stats.mean_life, Some((10 * MINUTE + 2 * HOUR) / 3));
    assert_eq!(stats.longest_life, Some(HOUR));
}

#[tokio::test]
async fn a_session_that_moves_on_is_one_in_a_memory_store_too() {
    let clock = FixedClock::default();
    let layer = SessionLayer::default().clock(clock.clone());
    let _ = layer.sessions();
    let visitor = Visitor::new(&layer);
    set(&visitor, "n").await;
    for _ in 0..3 {
        visitor
            .visit(async |session: Session| session.log_in("ann"))
            .await;
    }
    let stats = layer.sessions().stats();
    assert_eq!((stats.live, stats.peak), (1, 1));
    clock.advance(8 * MINUTE);
    assert_eq!(layer.sessions().reap().await.unwrap(), 3);
    assert_eq!(layer.sessions().stats().live, 1);
    destroy(&visitor).await;
    assert_eq!(layer.sessions().stats().live, 0);
}

#[tokio::test]
async fn lives_of_centuries_are_counted() {
    let house = House::new();
    let visitors: Vec<_> = (0..3).map(|_| Visitor::new(&house.layer)).collect();
    for visitor in &visitors {
        visitor
            .visit(async |session: Session| {
                session.set_idle_timeout(Timeout::Never);
                session.set_absolute_timeout(Timeout::Never);
                session.insert("n", 1)
            })
            .await;
    }
    let centuries = 7000 * 365 * DAY;
    house.clock.advance(centuries);
    for visitor in &visitors {
        destroy(visitor).await;
    }
    let stats = house.stats();
    assert_eq!(stats.mean_life, Some(centuries));
    assert_eq!(stats.longest_life, Some(centuries));
}

#[tokio::test]
async fn there_is_no_mean_life_before_a_session_has_ended() {
    let house = House::new();
    set(&Visitor::new(&house.layer), "n").await;
    let stats = house.stats();
    assert_eq!((stats.mean_life, stats.longest_life), (None, None));
    assert_eq!(stats.memory_bytes, None);
}

#[tokio::test]
async fn a_memory_store_reports_its_bytes_and_evictions() {
    let store = MemoryStore::builder().max_sessions(2).build();
    let layer = SessionLayer::new(store.clone());
    let sessions = layer.sessions();
    for _ in 0..5 {
        set(&Visitor::new(&layer), "n").await;
    }
    let stats = sessions.stats();
    assert_eq!(stats.memory_bytes, Some(store.bytes()));
    assert!(store.bytes() > 0);
    assert_eq!(stats.max_sessions, Some(2));
    assert_eq!(
        SessionLayer::default().sessions().stats().max_sessions,
        None
    );
    assert_eq!(stats.ended(EndReason::Evicted), 3);
    assert_eq!((stats.live, stats.created), (2, 5));
}

#[tokio::test]
async fn rates_are_of_the_last_minutes() {
    let house = House::new();
    for minute in 0..3u32 {
        for _ in 0..=minute {
            set(&Visitor::new(&house.layer), "n").await;
        }
        let visitor = Visitor::new(&house.layer);
        set(&visitor, "n").await;
        destroy(&visitor).await;
        house.clock.advance(MINUTE);
    }
    let stats = house.stats();
    let created: Vec<_> = (1..=4).map(|minutes| stats.created_in(minutes)).collect();
    assert_eq!(created, [0, 4, 7, 9]);
    let ended: Vec<_> = (1..=4).map(|minutes| stats.ended_in(minutes)).collect();
    assert_eq!(ended, [0, 1, 2, 3]);
    house.clock.advance(HOUR);
    assert_eq!(house.stats().created_in(60), 0);
}

#[tokio::test]
async fn conflicts_touches_and_rejections_are_counted() {
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    set(&visitor, "n").await;
    let twin = visitor.twin();
    visitor
        .visit(async |session: Session| {
            session.insert("a", 1).unwrap();
            set(&twin, "b").await;
        })
        .await;
    house.clock.advance(10 * MINUTE);
    visitor.visit(async |_| ()).await;
    let client = Client::with_cookie(house.layer.clone(), "__Host-id=nonsense".to_owned());
    client.visit(async |_| ()).await;
    let stats = house.stats();
    assert_eq!((stats.conflicts, stats.touches), (1, 1));
    assert_eq!(stats.rejected(Rejection::Malformed), 1);
    assert_eq!(stats.rejected(Rejection::Unknown), 0);
}

#[tokio::test(start_paused = true)]
async fn the_stores_calls_are_counted_with_their_time_and_their_failures() {
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    house
        .store
        .plan_for(StoreCall::Create, Fault::Delay(SECOND));
    set(&visitor, "n").await;
    house
        .store
        .plan_for(StoreCall::Load, Fault::DelayReply(3 * SECOND));
    visitor.visit(async |_| ()).await;
    house.store.plan_for(StoreCall::Load, Fault::Delay(SECOND));
    visitor.visit(async |_| ()).await;
    let failing = Fault::Fail(StoreErrorKind::Unavailable);
    house.store.plan_for(StoreCall::Load, failing);
    visitor.visit(async |_| ()).await;
    let stats = house.stats();
    let create = stats.store(StoreCall::Create);
    assert_eq!((create.calls, create.failures), (1, 0));
    assert_eq!((create.total, create.longest), (SECOND, SECOND));
    let load = stats.store(StoreCall::Load);
    assert_eq!((load.calls, load.failures, load.abandoned), (3, 1, 0));
    assert_eq!((load.total, load.longest), (4 * SECOND, 3 * SECOND));
    assert_eq!(load.mean(), 4 * SECOND / 3);
    assert_eq!(stats.store(StoreCall::Touch).calls, 0);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_has_a_count_of_its_own() {
    let house = House::new();
    let visitor = Visitor::new(&house.layer);
    set(&visitor, "n").await;
    house.store.plan_for(StoreCall::Load, Fault::Hang);
    let reply = visitor.visit(async |_| ()).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    house.store.plan_for(StoreCall::Load, Fault::Panic);
    visitor.visit(async |_| ()).await;
    let load = house.stats().store(StoreCall::Load);
    assert_eq!((load.calls, load.failures, load.abandoned), (0, 0, 2));
}

#[tokio::test]
async fn nothing_is_counted_before_somebody_wants_to_know() {
    let layer = SessionLayer::default();
    let visitor = Visitor::new(&layer);
    set(&visitor, "n").await;
    let before = layer.sessions().stats();
    assert_eq!(
        before.store(StoreCall::Create).calls,
        u64::from(cfg!(feature = "metrics"))
    );
    set(&visitor, "m").await;
    let stats = layer.sessions().stats();
    assert_eq!(stats.store(StoreCall::Update).calls, 1);
    assert_eq!(stats.live, 1);
}

#[tokio::test]
async fn the_time_listeners_take_is_measured() {
    let layer = SessionLayer::default().on_event(|_: &Event| {
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    });
    let sessions = layer.sessions();
    assert_eq!(sessions.stats().listening, Duration::ZERO);
    let visitor = Visitor::new(&layer);
    set(&visitor, "n").await;
    set(&visitor, "m").await;
    let stats = sessions.stats();
    assert!(stats.listening >= Duration::from_millis(4));
    assert!(stats.longest_listening >= Duration::from_millis(2));
    assert!(stats.longest_listening < stats.listening);
}

#[test]
fn stats_need_no_runtime() {
    let layer = SessionLayer::default().on_event(|_: &Event| {});
    let sessions = Arc::new(layer.sessions());
    futures::executor::block_on(set(&Visitor::new(&layer), "n"));
    let stats = sessions.stats();
    assert_eq!(
        (stats.created, stats.store(StoreCall::Create).calls),
        (1, 1)
    );
}
