//! Log-outs that meet a move, or a store that fails: what was to end ends (rules M4, F2).

use cloakroom::{EndReason, Session, SessionLayer, store::StoreErrorKind};
use http::StatusCode;

use crate::support::{
    Fault, FaultyStore, FixedClock, Recorder, StoreCall, Visitor,
    acts::{cycle, destroy, holding, id, layer_over, live, log_in, seen, stores, until_undone},
    fixture::SECOND,
};

/// A log-out whose request has loaded the session before `act` happens elsewhere.
async fn destroy_after(visitor: &Visitor, act: impl AsyncFnOnce()) -> StatusCode {
    let reply = visitor.visit(async |session: Session| {
        session.get::<u64>("n").unwrap();
        act().await;
        session.destroy();
    });
    reply.await.status
}

#[tokio::test]
async fn m4_a_log_out_ends_the_session_that_a_faster_cycle_has_moved() {
    for cycles in [1, 3] {
        for (name, store) in stores() {
            let recorder = Recorder::default();
            let layer = layer_over(&store, &FixedClock::default()).on_event(recorder.clone());
            let first = holding(&layer, [("n", 1)]).await;
            let second = first.twin();
            let status = destroy_after(&first, async || {
                for _ in 0..cycles {
                    assert_eq!(cycle(&second).await.status, StatusCode::OK);
                }
            });
            assert_eq!(status.await, StatusCode::OK);
            assert_eq!(seen(&second).await, "none", "{name} {cycles}");
            assert_eq!(live(&layer.sessions(), None).await, []);
            let ended = [(id(&second), EndReason::Destroyed)];
            assert_eq!(recorder.endings(), ended, "{name} {cycles}");
        }
    }
}

#[tokio::test]
async fn m4_a_log_out_with_the_token_before_a_cycle_ends_the_session() {
    for (name, store) in stores() {
        let recorder = Recorder::default();
        let layer = layer_over(&store, &FixedClock::default()).on_event(recorder.clone());
        let first = holding(&layer, [("n", 1)]).await;
        let second = first.twin();
        assert_eq!(cycle(&second).await.status, StatusCode::OK);
        assert_eq!(destroy(&first).await.status, StatusCode::OK);
        assert_eq!(seen(&second).await, "none", "{name}");
        let ended = [(id(&second), EndReason::Destroyed)];
        assert_eq!(recorder.endings(), ended, "{name}");
    }
}

#[tokio::test]
async fn m7_a_log_out_does_not_follow_a_log_in() {
    for loads_before in [true, false] {
        for (name, store) in stores() {
            let recorder = Recorder::default();
            let layer = layer_over(&store, &FixedClock::default()).on_event(recorder.clone());
            let first = holding(&layer, [("n", 1)]).await;
            let second = first.twin();
            if loads_before {
                destroy_after(&first, async || drop(log_in(&second, "ann").await)).await;
            } else {
                log_in(&second, "ann").await;
                destroy(&first).await;
            }
            assert_eq!(seen(&second).await, r#"ann{"n": 1}"#, "{name}");
            assert_eq!(recorder.endings(), [], "{name}");
        }
    }
}

/// A store whose writes all have `fault`.
fn fail_writes(store: &FaultyStore, fault: Fault) {
    store.plan(move |call| match call {
        StoreCall::Create | StoreCall::Update | StoreCall::Delete => fault,
        _ => Fault::None,
    });
}

#[tokio::test(start_paused = true)]
async fn f2_a_log_out_that_the_store_failed_is_made_again_in_the_background() {
    for fault in [
        Fault::Fail(StoreErrorKind::Unavailable),
        Fault::Refuse(StoreErrorKind::Unavailable),
        Fault::Fail(StoreErrorKind::Other),
        Fault::Hang,
        Fault::Panic,
    ] {
        let (store, recorder) = (FaultyStore::in_memory(), Recorder::default());
        let layer = SessionLayer::new(store.clone())
            .clock(FixedClock::default())
            .reap_every(None)
            .on_event(recorder.clone());
        let visitor = holding(&layer, [("n", 1)]).await;
        let (twin, old) = (visitor.twin(), id(&visitor));
        fail_writes(&store, fault);
        let reply = destroy(&visitor).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(visitor.cookie(), None);
        store.heal();
        until_undone().await;
        assert_eq!(seen(&twin).await, "none", "{fault:?}");
        assert_eq!(
            recorder.endings(),
            [(old, EndReason::Destroyed)],
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn f2_a_cancelled_log_out_leaves_the_session_or_ends_it() {
    for fault in [Fault::HangThenApply(10 * SECOND), Fault::Hang] {
        let (store, recorder) = (FaultyStore::in_memory(), Recorder::default());
        let layer = SessionLayer::new(store.clone())
            .clock(FixedClock::default())
            .reap_every(None)
            .on_event(recorder.clone());
        let visitor = holding(&layer, [("n", 1)]).await;
        let twin = visitor.twin();
        fail_writes(&store, fault);
        let cut = tokio::time::timeout(SECOND, destroy(&visitor));
        assert!(cut.await.is_err());
        store.heal();
        until_undone().await;
        let is_over = seen(&twin).await == "none";
        assert_eq!(recorder.endings().len(), usize::from(is_over), "{fault:?}");
    }
}
