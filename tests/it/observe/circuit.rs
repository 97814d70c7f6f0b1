//! A store that is down: requests that need it fail at once, and the log says it a few times.

use std::time::Duration;

use cloakroom::{
    CircuitBreaker, EventKind, MemoryStore, Session, SessionLayer, StoreCall, store::StoreErrorKind,
};
use http::StatusCode;
use tokio::time::{Instant, advance};
use tracing::Level;
use uuid::Uuid;

use crate::support::{
    Fault, FaultyStore, FixedClock, Log, Recorder, Visitor,
    fixture::{MINUTE, plain_cookie},
    token,
};

const PAUSE: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);

struct Site {
    store: FaultyStore,
    layer: SessionLayer,
    recorder: Recorder,
}

impl Site {
    fn new() -> Self {
        let (store, recorder) = (FaultyStore::in_memory(), Recorder::default());
        let layer = SessionLayer::new(store.clone())
            .reap_every(None)
            .store_timeout(TIMEOUT)
            .circuit_breaker(CircuitBreaker::default().failures(3).pause(PAUSE))
            .on_event(recorder.clone());
        Self {
            store,
            layer,
            recorder,
        }
    }

    async fn visitor(&self) -> Visitor {
        let visitor = Visitor::new(&self.layer);
        let set = visitor.visit(async |session: Session| session.insert("n", 1));
        assert_eq!(set.await.status, StatusCode::OK);
        visitor
    }

    fn circuit_events(&self) -> Vec<EventKind> {
        let mut kinds = self.recorder.kinds();
        kinds.retain(|kind| matches!(kind, EventKind::CircuitOpened | EventKind::CircuitClosed));
        kinds
    }
}

async fn read(visitor: &Visitor) -> StatusCode {
    let reply = visitor.visit(async |session: Session| session.get::<i32>("n").map(|_| ()));
    reply.await.status
}

#[tokio::test(start_paused = true)]
async fn f6_a_store_that_is_down_gets_one_probe_in_each_pause() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.store
        .plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    for _ in 0..3 {
        assert_eq!(read(&visitor).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(site.layer.sessions().stats().is_circuit_open);
    let _ = site.store.calls();
    for _ in 0..50 {
        assert_eq!(read(&visitor).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(site.store.calls(), []);
    for _ in 0..3 {
        advance(PAUSE).await;
        for _ in 0..10 {
            assert_eq!(read(&visitor).await, StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(site.store.calls(), [StoreCall::Load]);
    }
    site.store.heal();
    assert_eq!(read(&visitor).await, StatusCode::SERVICE_UNAVAILABLE);
    advance(PAUSE).await;
    assert_eq!(read(&visitor).await, StatusCode::OK);
    assert_eq!(read(&visitor).await, StatusCode::OK);
    let stats = site.layer.sessions().stats();
    assert!(!stats.is_circuit_open);
    assert_eq!(stats.store(StoreCall::Load).refused, 50 + 27 + 1);
    assert_eq!(
        site.circuit_events(),
        [EventKind::CircuitOpened, EventKind::CircuitClosed]
    );
}

#[tokio::test(start_paused = true)]
async fn f6_a_store_that_hangs_costs_a_few_requests_the_timeout_and_the_others_nothing() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.store.plan(|_| Fault::Hang);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(read(&visitor).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(began.elapsed().as_secs(), 3 * TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn f6_clients_that_give_up_do_not_open_the_circuit() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.store.plan(|_| Fault::Hang);
    for _ in 0..20 {
        let asked = tokio::time::timeout(Duration::from_millis(100), read(&visitor));
        assert!(asked.await.is_err());
    }
    assert!(!site.layer.sessions().stats().is_circuit_open);
}

#[tokio::test(start_paused = true)]
async fn f6_a_record_that_cannot_be_read_does_not_open_the_circuit() {
    for kind in [
        StoreErrorKind::Corrupt,
        StoreErrorKind::Incompatible,
        StoreErrorKind::Full,
        StoreErrorKind::Unsupported,
    ] {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.store.plan(move |_| Fault::Fail(kind));
        for _ in 0..20 {
            read(&visitor).await;
        }
        assert!(!site.layer.sessions().stats().is_circuit_open, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f6_a_write_that_meets_an_open_circuit_is_certainly_not_applied_and_answered_with_503() {
    let site = Site::new();
    let visitor = site.visitor().await;
    // The load works, and the circuit opens before the write.
    let breaking = site.store.clone();
    let other = site.visitor().await;
    let reply = visitor.visit(async |session: Session| {
        session.insert("n", 2)?;
        breaking.plan(|_| Fault::Refuse(StoreErrorKind::Unavailable));
        for _ in 0..3 {
            read(&other).await;
        }
        breaking.heal();
        session.save().await
    });
    assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
    let calls = site.store.calls();
    assert!(!calls.contains(&StoreCall::Update), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_circuit_breaker_every_request_asks_the_store() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone()).circuit_breaker(None);
    let visitor = Visitor::new(&layer);
    visitor.set_cookie(Some(format!(
        "__Host-id={}",
        token::join(token::NEVER_ISSUED, [7; 16])
    )));
    store.plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    for _ in 0..100 {
        assert_eq!(read(&visitor).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(store.calls().len() >= 100);
}

#[tokio::test]
async fn a_memory_store_has_no_circuit() {
    let layer = SessionLayer::new(MemoryStore::default())
        .circuit_breaker(CircuitBreaker::default().failures(1));
    let visitor = Visitor::new(&layer);
    assert_eq!(read(&visitor).await, StatusCode::OK);
    assert!(!layer.sessions().stats().is_circuit_open);
}

#[tokio::test(start_paused = true)]
async fn f6_lines_that_repeat_are_logged_a_few_times_with_a_count_of_the_others() {
    let log = Log::capture();
    let site = Site::new();
    let visitor = site.visitor().await;
    site.store
        .plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    for _ in 0..1000 {
        read(&visitor).await;
    }
    assert_eq!(log.count(Level::WARN, "the session was not loaded"), 5);
    advance(Duration::from_secs(10)).await;
    read(&visitor).await;
    assert_eq!(log.count(Level::WARN, "suppressed=995"), 1);
    assert_eq!(log.count(Level::WARN, "the session store is down"), 1);
}

#[tokio::test(start_paused = true)]
async fn f6_what_a_client_sends_is_logged_a_few_times_with_a_count_of_the_others() {
    let (log, clock) = (Log::capture(), FixedClock::default());
    let layer = SessionLayer::default()
        .clock(clock.clone())
        .reap_every(None)
        .cookie(plain_cookie("id"));
    let [ann, eve, cho] = [(); 3].map(|()| Visitor::new(&layer));
    for visitor in [&ann, &eve, &cho] {
        let set = visitor.visit(async |session: Session| session.insert("n", 1));
        assert_eq!(set.await.status, StatusCode::OK);
    }
    // Another subdomain has planted a cookie beside Ann's, and many beside Cho's.
    let planted = format!("{}; {}", ann.cookie().unwrap(), eve.cookie().unwrap());
    let never_issued = (0..4).map(|n| {
        let id = Uuid::from_u128(token::NEVER_ISSUED.as_u128() + u128::from(n));
        format!("id={}; ", token::join(id, [n; 16]))
    });
    let many = never_issued.collect::<String>() + &cho.cookie().unwrap();
    clock.go_back(10 * MINUTE);
    let read_with = async |cookie: &str| {
        ann.set_cookie(Some(cookie.to_owned()));
        assert_eq!(read(&ann).await, StatusCode::OK);
    };
    for _ in 0..100 {
        read_with(&planted).await;
        read_with(&many).await;
        read(&cho).await;
    }
    // One kind does not hide another.
    for line in ["was planted", "were planted", "in the future"] {
        assert_eq!(log.count(Level::WARN, line), 5, "{line}");
    }
    advance(Duration::from_secs(10)).await;
    read_with(&planted).await;
    assert_eq!(log.count(Level::WARN, "suppressed=95"), 1);
}
