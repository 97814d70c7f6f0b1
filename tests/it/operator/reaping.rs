//! Rule F5: the background task that deletes what has expired.

use std::time::Duration;

use axum::response::IntoResponse;
use cloakroom::{
    Session, SessionLayer, SessionStore as _, Timeout,
    store::{Query, StoreErrorKind},
};
use http::StatusCode;
use tokio::time::{Instant, advance};

use crate::support::{
    Fault, FaultyStore, FixedClock, StoreCall, Visitor,
    fixture::{MINUTE, SECOND},
};

/// Sessions end an hour after they were last seen.
const HOUR: Duration = Duration::from_secs(60 * 60);

struct Site {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
}

impl Site {
    fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let layer = SessionLayer::new(store.clone()).clock(clock.clone());
        Self {
            store,
            clock,
            layer,
        }
    }

    /// A new visitor with a stored session, to which he does `act`.
    async fn arrive(&self, act: impl FnOnce(&Session)) {
        let visitor = Visitor::new(&self.layer);
        let reply = visitor.visit(async |session: Session| {
            act(&session);
            session.insert("n", 1)
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        rest().await;
    }

    /// How often the reaper has asked since this was last called.
    fn sweeps(&self) -> usize {
        let calls = self.store.calls();
        let sweeps = calls
            .iter()
            .filter(|call| **call == StoreCall::DeleteExpired);
        sweeps.count()
    }
}

/// Lets the paused time go by, a second at a time, so that every timer fires when it is due.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(SECOND).await;
        rest().await;
    }
}

/// Lets the reaper do what it can do now.
async fn rest() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn f5_the_reaper_sweeps_every_minute_from_the_first_request_on() {
    let site = Site::new();
    pass(10 * MINUTE).await;
    assert_eq!(site.sweeps(), 0);
    site.arrive(|_| ()).await;
    assert_eq!(site.sweeps(), 1);
    pass(10 * MINUTE).await;
    assert_eq!(site.sweeps(), 10);
    site.arrive(|_| ()).await;
    pass(10 * MINUTE).await;
    assert_eq!(site.sweeps(), 10, "one reaper for all requests");
}

#[tokio::test(start_paused = true)]
async fn f5_a_session_is_deleted_five_minutes_after_its_end() {
    let site = Site::new();
    site.arrive(|_| ()).await;
    site.clock.advance(HOUR + 5 * MINUTE - SECOND);
    pass(MINUTE).await;
    assert_eq!(site.store.inner().len(), 1);
    site.clock.advance(2 * SECOND);
    pass(MINUTE).await;
    assert_eq!(site.store.inner().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn f5_a_sweep_deletes_all_that_has_expired_however_much_it_is() {
    let site = Site::new();
    for _ in 0..2500 {
        site.arrive(|_| ()).await;
    }
    assert_eq!(site.store.inner().len(), 2500);
    site.clock.advance(HOUR + 6 * MINUTE);
    site.sweeps();
    pass(MINUTE).await;
    assert_eq!(site.store.inner().len(), 0);
    assert!(site.sweeps() >= 3, "a batch at a time");
}

#[tokio::test(start_paused = true)]
async fn f5_a_session_that_never_ends_survives_every_sweep() {
    let site = Site::new();
    site.arrive(|session| {
        session.set_idle_timeout(Timeout::Never);
        session.set_absolute_timeout(Timeout::Never);
    })
    .await;
    site.arrive(|_| ()).await;
    for _ in 0..10 {
        site.clock.advance(365 * 24 * HOUR);
        pass(MINUTE).await;
    }
    assert_eq!(site.store.inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f5_the_marker_of_a_moved_session_is_deleted() {
    let site = Site::new();
    let visitor = Visitor::new(&site.layer);
    visitor
        .visit(async |session: Session| session.insert("n", 1))
        .await;
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await;
    let store = site.store.inner();
    let stored = async || store.list(&Query::default(), None, 10).await.unwrap();
    assert_eq!(stored().await.sessions.len(), 2);
    assert_eq!(site.layer.sessions().count().await.unwrap(), 1);
    site.clock.advance(MINUTE + 5 * MINUTE + SECOND);
    pass(MINUTE).await;
    assert_eq!(stored().await.sessions.len(), 1);
    visitor
        .visit(async |session: Session| assert!(!session.is_new()))
        .await;
}

/// The seconds from each sweep to the next, while the store suffers `fault`.
async fn gaps(site: &Site, count: usize) -> Vec<u64> {
    let mut gaps = Vec::new();
    let mut last = Instant::now();
    while gaps.len() < count {
        pass(SECOND).await;
        if site.sweeps() > 0 {
            gaps.push(last.elapsed().as_secs());
            last = Instant::now();
        }
    }
    gaps
}

#[tokio::test(start_paused = true)]
async fn f5_the_reaper_survives_errors_and_panics_and_backs_off() {
    for fault in [Fault::Fail(StoreErrorKind::Unavailable), Fault::Panic] {
        let site = Site::new();
        site.store.plan_for(StoreCall::DeleteExpired, fault);
        site.arrive(|_| ()).await;
        assert_eq!(site.sweeps(), 1);
        assert_eq!(
            gaps(&site, 7).await,
            [2, 4, 8, 16, 32, 32, 32].map(|times| times * 60),
            "{fault:?}"
        );
        site.clock.advance(HOUR + 6 * MINUTE);
        site.store.heal();
        assert_eq!(gaps(&site, 3).await, [32, 1, 1].map(|times| times * 60));
        assert_eq!(site.store.inner().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn f5_the_reaper_ends_with_the_layer() {
    let site = Site::new();
    site.arrive(|_| ()).await;
    pass(MINUTE).await;
    assert_eq!(site.sweeps(), 2);
    let Site {
        store,
        clock,
        layer,
    } = site;
    drop(layer);
    rest().await;
    let other = Site {
        layer: SessionLayer::new(FaultyStore::in_memory()),
        store,
        clock,
    };
    pass(10 * MINUTE).await;
    assert_eq!(other.sweeps(), 0);
}

#[tokio::test(start_paused = true)]
async fn f5_the_reaper_stays_while_a_service_made_by_the_layer_is_there() {
    let site = Site::new();
    let visitor = Visitor::new(&site.layer);
    let Site {
        store,
        clock,
        layer,
    } = site;
    drop(layer);
    let reply = visitor.ask(async |_| ().into_response()).await;
    assert_eq!(reply.status, StatusCode::OK);
    rest().await;
    pass(MINUTE).await;
    let site = Site {
        layer: SessionLayer::new(FaultyStore::in_memory()),
        store,
        clock,
    };
    assert_eq!(site.sweeps(), 2);
    drop(visitor);
    pass(10 * MINUTE).await;
    assert_eq!(site.sweeps(), 0);
}

#[tokio::test(start_paused = true)]
async fn f5_reap_every_none_turns_the_reaper_off() {
    let mut site = Site::new();
    site.layer = site.layer.reap_every(None);
    site.arrive(|_| ()).await;
    pass(10 * MINUTE).await;
    assert_eq!(site.sweeps(), 0);
}

#[test]
fn f5_the_reaper_starts_again_on_another_runtime() {
    let site = Site::new();
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap()
    };
    // Without a runtime there is nothing to run it on.
    futures::executor::block_on(site.arrive(|_| ()));
    assert_eq!(site.sweeps(), 0);
    for _ in 0..2 {
        runtime().block_on(async {
            site.arrive(|_| ()).await;
            pass(MINUTE).await;
        });
        assert_eq!(site.sweeps(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn f5_a_sweep_that_hangs_is_given_up_and_made_again() {
    let site = Site::new();
    site.store.plan_for(StoreCall::DeleteExpired, Fault::Hang);
    site.arrive(|_| ()).await;
    assert_eq!(site.sweeps(), 1);
    // The deadline of five seconds, then twice the interval.
    assert_eq!(gaps(&site, 1).await, [125]);
}

#[test]
fn f5_without_a_timer_the_reaper_gives_up_once_and_requests_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let site = Site::new();
    runtime.block_on(async {
        for _ in 0..3 {
            site.arrive(|_| ()).await;
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(site.store.inner().len(), 3);
    assert_eq!(site.sweeps(), 0);
}

#[tokio::test(start_paused = true)]
async fn f5_the_reaper_survives_a_clock_that_panics() {
    let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
    let is_broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (broken, inner) = (std::sync::Arc::clone(&is_broken), clock.clone());
    let layer = SessionLayer::new(store.clone()).clock(move || {
        assert!(!broken.load(std::sync::atomic::Ordering::SeqCst));
        cloakroom::Clock::now(&inner)
    });
    let site = Site {
        store,
        clock,
        layer,
    };
    site.arrive(|_| ()).await;
    assert_eq!(site.sweeps(), 1);
    is_broken.store(true, std::sync::atomic::Ordering::SeqCst);
    pass(2 * MINUTE).await;
    assert_eq!(site.sweeps(), 0);
    is_broken.store(false, std::sync::atomic::Ordering::SeqCst);
    pass(10 * MINUTE).await;
    assert!(site.sweeps() > 0);
}
