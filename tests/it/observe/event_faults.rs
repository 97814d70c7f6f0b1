//! What is told is what happened: also where a reply was lost, another node was faster, or the
//! operator came in the middle.

use std::{sync::Arc, time::Duration};

use cloakroom::{EndReason, EventKind, Session, SessionEnd, SessionLayer, store::StoreErrorKind};
use futures::{FutureExt as _, future::join};
use http::StatusCode;

use crate::support::{
    Fault, FaultyStore, FixedClock, Recorder, StoreCall, Visitor,
    acts::{
        cycle, destroy, healthy_node, holding, id, insert, live, log_in, on, seen, until_undone,
    },
    fixture::{HOUR, SECOND},
};

const KINDS: [StoreErrorKind; 3] = [
    StoreErrorKind::Timeout,
    StoreErrorKind::Unavailable,
    StoreErrorKind::Other,
];

struct House {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
    recorder: Recorder,
}

impl House {
    fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let recorder = Recorder::default();
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .check_ended_every(HOUR)
            .on_event(recorder.clone());
        Self {
            store,
            clock,
            layer,
            recorder,
        }
    }

    async fn known(&self) -> Visitor {
        let visitor = holding(&self.layer, [("n", 1)]).await;
        self.recorder.events();
        visitor
    }

    /// The visitor's next request, on another node.
    fn elsewhere(&self, visitor: &Visitor) -> Visitor {
        on(&healthy_node(&self.store, &self.clock), visitor)
    }

    /// Once, whichever of the writes that end a session is made.
    fn lose_the_write_that_ends(&self, kind: StoreErrorKind, skipped: usize) {
        let mut writes = 0;
        self.store.plan(move |call| match call {
            StoreCall::Create | StoreCall::Update | StoreCall::Delete => {
                writes += 1;
                if writes == skipped + 1 {
                    Fault::LoseReply(kind)
                } else {
                    Fault::None
                }
            }
            _ => Fault::None,
        });
    }
}

/// Waits for the session's end from now on.
async fn waiting(visitor: &Visitor) -> futures::future::BoxFuture<'static, SessionEnd> {
    let mut waiting = None;
    visitor
        .visit(async |session: Session| {
            let mut ended = session.ended().boxed();
            assert_eq!((&mut ended).now_or_never(), None);
            waiting = Some(ended);
        })
        .await;
    waiting.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_log_out_with_a_lost_reply_sends_one_event() {
    for kind in KINDS {
        for skipped in 0..2 {
            let house = House::new();
            let visitor = house.known().await;
            let old = id(&visitor);
            let ended = waiting(&visitor).await;
            house.lose_the_write_that_ends(kind, skipped);
            assert_eq!(destroy(&visitor).await.status, StatusCode::OK);
            let told = house.recorder.endings();
            let expected = [(old, EndReason::Destroyed)];
            assert_eq!(told, expected, "{kind:?} {skipped}");
            let end = SessionEnd::Ended(EndReason::Destroyed);
            assert_eq!(ended.now_or_never(), Some(end), "{kind:?} {skipped}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_with_a_lost_reply_sends_one_event() {
    for kind in KINDS {
        for skipped in 0..2 {
            let house = House::new();
            let visitor = house.known().await;
            let old = id(&visitor);
            let ended = waiting(&visitor).await;
            house.lose_the_write_that_ends(kind, skipped);
            let sessions = house.layer.sessions();
            assert!(sessions.revoke(old).await.unwrap(), "{kind:?} {skipped}");
            let told = house.recorder.endings();
            let expected = [(old, EndReason::Revoked)];
            assert_eq!(told, expected, "{kind:?} {skipped}");
            let end = SessionEnd::Ended(EndReason::Revoked);
            assert_eq!(ended.now_or_never(), Some(end), "{kind:?} {skipped}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_continues_on_another_node_sends_no_event_of_its_end() {
    for logs_in in [true, false] {
        let house = House::new();
        let visitor = house.known().await;
        let other = house.elsewhere(&visitor);
        let reply = visitor.visit(async |session: Session| {
            session.get::<u64>("n").unwrap();
            if logs_in {
                log_in(&other, "ann").await;
            } else {
                cycle(&other).await;
            }
            session.destroy();
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        let lives = seen(&other).await != "none";
        let told = house.recorder.endings();
        let expected = if lives {
            Vec::new()
        } else {
            vec![(id(&other), EndReason::Destroyed)]
        };
        assert_eq!(told, expected, "logs in: {logs_in}, lives: {lives}");
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_wait_that_begins_before_the_head_ends_at_once_with_the_revocation() {
    type Act = fn(&Session);
    let moves: [(&str, Act); 3] = [
        ("log-in", |session| session.log_in("ann").unwrap()),
        ("cycle", |session| session.cycle_id().unwrap()),
        ("new", |session| session.insert("m", 1).unwrap()),
    ];
    for (name, act) in moves {
        let house = House::new();
        let visitor = if name == "new" {
            Visitor::new(&house.layer)
        } else {
            house.known().await
        };
        let mut waiting = None;
        let reply = visitor.visit(async |session: Session| {
            act(&session);
            let mut ended = session.ended().boxed();
            assert_eq!((&mut ended).now_or_never(), None);
            waiting = Some(ended);
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        let sessions = house.layer.sessions();
        assert!(sessions.revoke(id(&visitor)).await.unwrap());
        let revoked = SessionEnd::Ended(EndReason::Revoked);
        let told = tokio::time::timeout(SECOND, waiting.unwrap()).await;
        assert_eq!(told.ok(), Some(revoked), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn r4_who_waits_before_the_head_of_a_log_in_does_not_keep_the_request() {
    let house = House::new();
    let visitor = house.known().await;
    let probe = Arc::new(());
    let seen = Arc::downgrade(&probe);
    let (mut waiting, mut left) = (None, None);
    visitor
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            let mut ended = session.ended().boxed();
            assert_eq!((&mut ended).now_or_never(), None);
            waiting = Some(ended);
            left = Some(session);
        })
        .await;
    let session = left.unwrap();
    session
        .update("n", move |n: Option<u64>| {
            let _kept = &probe;
            n.unwrap_or(0) + 1
        })
        .unwrap();
    drop(session);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.strong_count(), 0, "what the request knew is kept");
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn p1_a_log_in_during_a_revocation_of_its_user_is_not_answered_with_an_ended_token() {
    for at in [StoreCall::Update, StoreCall::Create] {
        for fault in [Fault::Delay(2 * SECOND), Fault::DelayReply(2 * SECOND)] {
            // Where the marker is stored the log-in is complete, and is ended as any other.
            if (at, fault) == (StoreCall::Update, Fault::DelayReply(2 * SECOND)) {
                continue;
            }
            let house = House::new();
            let visitor = house.known().await;
            let old = visitor.twin();
            house.store.plan_nth(at, 1, fault);
            let operator = healthy_node(&house.store, &house.clock).sessions();
            let revoking = async {
                tokio::time::sleep(SECOND).await;
                operator.revoke_user("ann").await.unwrap();
            };
            let (reply, ()) = join(log_in(&visitor, "ann"), revoking).await;
            house.store.heal();
            until_undone().await;
            let why = format!("{at:?} {fault:?} {}", reply.status);
            if reply.status == StatusCode::OK {
                assert_eq!(seen(&visitor).await, r#"ann{"n": 1}"#, "{why}");
            } else {
                assert_eq!(seen(&old).await, r#"{"n": 1}"#, "{why}");
                assert_eq!(live(&operator, Some("ann")).await, [], "{why}");
                let told = house.recorder.kinds();
                let is_log_in = |kind: &EventKind| matches!(kind, EventKind::LoggedIn { .. });
                assert!(!told.iter().any(is_log_in), "{why} {told:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_sessions_end_never_comes_before_that_of_its_beginning() {
    let house = House::new();
    let sessions = house.layer.sessions();
    let visitor = house.known().await;
    house
        .store
        .plan_nth(StoreCall::Update, 1, Fault::Delay(2 * SECOND));
    let revoking = async {
        tokio::time::sleep(SECOND).await;
        sessions.revoke_user("ann").await.unwrap();
    };
    join(log_in(&visitor, "ann"), revoking).await;
    house.store.heal();
    until_undone().await;
    let events = house.recorder.events();
    let begins = events.iter().position(|event| {
        matches!(
            event.kind(),
            EventKind::LoggedIn { .. } | EventKind::Created
        )
    });
    let ends = events
        .iter()
        .position(|event| matches!(event.kind(), EventKind::Ended { .. }));
    assert!(
        ends.is_none() || (begins.is_some() && begins < ends),
        "{events:?}"
    );
    // Whatever came of it, the visitor can go on.
    assert_eq!(insert(&visitor, "m", 1).await.status, StatusCode::OK);
}
