//! Rule P3: the limit is settled before the visitor's old session is left, so a log-in that it
//! refuses costs the visitor nothing.

use cloakroom::{Error, Event, EventKind, Session, SessionLayer, Sessions, store::StoreErrorKind};
use futures::future::join;
use http::StatusCode;

use crate::support::{
    Fault, FaultyStore, FixedClock, Recorder, Reply, StoreCall, Visitor,
    acts::{healthy_node, holding, layer_over, live, log_in, on, seen, stores, until_undone},
    fixture::SECOND,
};

const CART: &str = r#"{"cart": 3}"#;

/// Ann may have one session. She has one on another device, and a cart where she is about to log in.
struct Shop {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
    /// Of a node whose store does not fail.
    sessions: Sessions,
    recorder: Recorder,
    device: Visitor,
    visitor: Visitor,
}

impl Shop {
    async fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let recorder = Recorder::default();
        let healthy = healthy_node(&store, &clock).max_sessions_per_user(1);
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .max_sessions_per_user(1)
            .on_event(recorder.clone());
        let device = Visitor::new(&healthy);
        assert_eq!(log_in(&device, "ann").await.status, StatusCode::OK);
        clock.advance(SECOND);
        let visitor = holding(&layer, [("cart", 3)]).await;
        recorder.events();
        Self {
            sessions: healthy.sessions(),
            store,
            clock,
            layer,
            recorder,
            device,
            visitor,
        }
    }

    /// The visitor has what they had: the session, its cart, and nobody's name; Ann's device goes
    /// on; and nobody was told of a log-in.
    async fn is_as_before(&self, old: &Visitor, why: &str) {
        self.store.heal();
        until_undone().await;
        assert_eq!(seen(old).await, CART, "{why}: the cart");
        assert_eq!(seen(&self.device).await, "ann{}", "{why}: the device");
        let sessions = live(&self.sessions, Some("ann")).await;
        assert_eq!(sessions.len(), 1, "{why}: the limit");
        let told = self.recorder.kinds();
        assert!(
            !told.iter().any(is_log_in),
            "{why}: told of a log-in that was refused: {told:?}"
        );
    }
}

fn is_log_in(kind: &EventKind) -> bool {
    matches!(kind, EventKind::LoggedIn { .. })
}

fn is_refused(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), [""; 0], "the old cookie goes on");
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_that_is_cancelled_during_the_count_changes_nothing() {
    for fault in [Fault::Hang, Fault::Delay(4 * SECOND)] {
        let shop = Shop::new().await;
        let old = shop.visitor.twin();
        shop.store.plan_for(StoreCall::List, fault);
        let cut = tokio::time::timeout(SECOND, log_in(&shop.visitor, "ann"));
        assert!(cut.await.is_err());
        shop.is_as_before(&old, &format!("{fault:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_that_times_out_during_the_count_changes_nothing() {
    for fault in [Fault::Hang, Fault::DelayReply(60 * SECOND)] {
        let shop = Shop::new().await;
        let old = shop.visitor.twin();
        shop.store.plan_for(StoreCall::List, fault);
        is_refused(&log_in(&shop.visitor, "ann").await);
        shop.is_as_before(&old, &format!("{fault:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_changes_nothing_if_the_sessions_cannot_be_listed() {
    for fault in [
        Fault::Refuse(StoreErrorKind::Unsupported),
        Fault::Refuse(StoreErrorKind::Unavailable),
        Fault::Fail(StoreErrorKind::Other),
        Fault::Panic,
    ] {
        let shop = Shop::new().await;
        let old = shop.visitor.twin();
        shop.store.plan_for(StoreCall::List, fault);
        is_refused(&log_in(&shop.visitor, "ann").await);
        shop.is_as_before(&old, &format!("{fault:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_that_newer_ones_exclude_changes_nothing() {
    let shop = Shop::new().await;
    let old = shop.visitor.twin();
    shop.store
        .plan_nth(StoreCall::List, 2, Fault::Delay(SECOND));
    let node = healthy_node(&shop.store, &shop.clock).max_sessions_per_user(1);
    let newer = Visitor::new(&node);
    let faster = async {
        tokio::time::sleep(SECOND / 2).await;
        shop.clock.advance(SECOND);
        assert_eq!(log_in(&newer, "ann").await.status, StatusCode::OK);
    };
    let (reply, ()) = join(log_in(&shop.visitor, "ann"), faster).await;
    shop.store.heal();
    until_undone().await;
    assert_eq!(live(&shop.sessions, Some("ann")).await.len(), 1);
    assert_eq!(seen(&newer).await, "ann{}", "the newest stays");
    is_refused(&reply);
    assert_eq!(seen(&old).await, CART);
    assert!(!shop.recorder.kinds().iter().any(is_log_in));
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_over_the_users_own_session_that_is_refused_leaves_it() {
    let shop = Shop::new().await;
    // On the device itself, through the node that has trouble.
    let device = on(&shop.layer, &shop.device);
    let old = device.twin();
    shop.store
        .plan_for(StoreCall::List, Fault::Refuse(StoreErrorKind::Unavailable));
    is_refused(&log_in(&device, "ann").await);
    shop.store.heal();
    until_undone().await;
    assert_eq!(seen(&old).await, "ann{}");
    assert_eq!(live(&shop.sessions, Some("ann")).await.len(), 1);
    assert!(!shop.recorder.kinds().iter().any(is_log_in));
}

#[tokio::test(start_paused = true)]
async fn p3_a_log_in_over_another_users_session_that_is_refused_leaves_it() {
    let shop = Shop::new().await;
    let bob = Visitor::new(&shop.layer);
    assert_eq!(log_in(&bob, "bob").await.status, StatusCode::OK);
    let old = bob.twin();
    shop.recorder.events();
    shop.store
        .plan_for(StoreCall::List, Fault::Refuse(StoreErrorKind::Unavailable));
    is_refused(&log_in(&bob, "ann").await);
    shop.store.heal();
    until_undone().await;
    assert_eq!(seen(&old).await, "bob{}");
    assert!(!shop.recorder.kinds().iter().any(is_log_in));
}

#[tokio::test(start_paused = true)]
async fn p3_a_refused_first_log_in_leaves_no_session_and_sends_no_event() {
    for saves in [false, true] {
        let shop = Shop::new().await;
        let list = Fault::Refuse(StoreErrorKind::Unavailable);
        shop.store.plan_for(StoreCall::List, list);
        let visitor = Visitor::new(&shop.layer);
        let reply = visitor.visit(async |session: Session| {
            session.log_in("ann")?;
            if saves {
                session.save().await?;
            }
            Ok::<_, Error>(())
        });
        is_refused(&reply.await);
        shop.is_as_before(&shop.visitor, &format!("saves: {saves}"))
            .await;
    }
}

/// What the tokens open that the visitor may have, the old one and the new one.
async fn working(old: &Visitor, new: &Visitor) -> Vec<String> {
    let mut working = Vec::new();
    let new = (new.cookie() != old.cookie()).then_some(new);
    for visitor in [Some(old), new].into_iter().flatten() {
        let seen = seen(visitor).await;
        if seen != "none" {
            working.push(seen);
        }
    }
    working
}

#[tokio::test(start_paused = true)]
async fn m6_a_log_in_with_a_late_reply_to_its_marker_leaves_one_token_that_works() {
    for limit in [None, Some(1)] {
        for fault in [
            Fault::DelayReply(60 * SECOND),
            Fault::HangThenApply(60 * SECOND),
            Fault::Hang,
        ] {
            let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
            let recorder = Recorder::default();
            let layer = SessionLayer::new(store.clone())
                .clock(clock.clone())
                .reap_every(None)
                .max_sessions_per_user(limit)
                .on_event(recorder.clone());
            let visitor = holding(&layer, [("cart", 3)]).await;
            let old = visitor.twin();
            store.plan_for(StoreCall::Update, fault);
            let reply = log_in(&visitor, "ann").await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            store.heal();
            until_undone().await;
            let working = working(&old, &visitor).await;
            assert!(
                working == [CART] || working == [r#"ann{"cart": 3}"#],
                "{limit:?} {fault:?}: {working:?}"
            );
            let sessions = live(&layer.sessions(), None).await;
            assert_eq!(sessions.len(), 1, "{limit:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m6_a_cycle_with_a_late_reply_to_its_marker_leaves_one_token_that_works() {
    for fault in [
        Fault::DelayReply(60 * SECOND),
        Fault::HangThenApply(60 * SECOND),
        Fault::Hang,
    ] {
        let store = FaultyStore::in_memory();
        let layer = SessionLayer::new(store.clone())
            .clock(FixedClock::default())
            .reap_every(None);
        let visitor = holding(&layer, [("cart", 3)]).await;
        let old = visitor.twin();
        store.plan_for(StoreCall::Update, fault);
        let cycling = visitor.visit(async |session: Session| session.cycle_id());
        assert_eq!(cycling.await.status, StatusCode::SERVICE_UNAVAILABLE);
        store.heal();
        until_undone().await;
        assert_eq!(working(&old, &visitor).await, [CART], "{fault:?}");
    }
}

#[tokio::test]
async fn p3_the_event_of_a_log_in_is_sent_when_its_place_is_certain() {
    for (name, store) in stores() {
        let recorder = Recorder::default();
        let layer = layer_over(&store, &FixedClock::default())
            .max_sessions_per_user(1)
            .on_event(recorder.clone());
        let device = Visitor::new(&layer);
        log_in(&device, "ann").await;
        let visitor = holding(&layer, [("cart", 3)]).await;
        recorder.events();
        assert_eq!(log_in(&visitor, "ann").await.status, StatusCode::OK);
        assert_eq!(seen(&visitor).await, r#"ann{"cart": 3}"#, "{name}");
        assert_eq!(seen(&device).await, "none", "{name}");
        let told: Vec<Event> = recorder.events();
        let log_ins = told.iter().filter(|event| is_log_in(event.kind()));
        assert_eq!(log_ins.count(), 1, "{name} {told:?}");
    }
}
