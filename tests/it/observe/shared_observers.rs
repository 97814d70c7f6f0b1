//! Who shares a store in one process shares its observers: the variants of one layer hear of each other.

use cloakroom::{EndReason, Session, SessionEnd, SessionLayer, store::DynStore};
use futures::{FutureExt as _, future::BoxFuture};
use http::StatusCode;

use crate::support::{
    FixedClock, Recorder, Visitor,
    acts::{destroy, holding, id, layer_over, log_in, on, stores},
    fixture::{HOUR, MINUTE},
};

fn base(store: &DynStore) -> SessionLayer {
    layer_over(store, &FixedClock::default()).check_ended_every(HOUR)
}

async fn waiting(visitor: &Visitor) -> BoxFuture<'static, SessionEnd> {
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

/// Layers made of one by settings of their own.
fn variants(layer: &SessionLayer) -> [(&'static str, SessionLayer); 3] {
    [
        ("another idle timeout", layer.clone().idle_timeout(2 * HOUR)),
        ("another limit", layer.clone().max_sessions_per_user(5)),
        (
            "another listener",
            layer.clone().on_event(Recorder::default()),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn r4_a_socket_closes_where_a_variant_of_its_layer_ends_the_session() {
    for (name, store) in stores() {
        let layer = base(&store);
        for (which, variant) in variants(&layer) {
            for [here, there] in [[&layer, &variant], [&variant, &layer]] {
                let visitor = holding(here, [("n", 1)]).await;
                let ended = waiting(&visitor).await;
                destroy(&on(there, &visitor)).await;
                let destroyed = SessionEnd::Ended(EndReason::Destroyed);
                assert_eq!(ended.now_or_never(), Some(destroyed), "{name} {which}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_socket_closes_where_the_operator_of_a_variant_revokes_the_session() {
    for (name, store) in stores() {
        let layer = base(&store);
        for (which, variant) in variants(&layer) {
            let visitor = holding(&layer, [("n", 1)]).await;
            let ended = waiting(&visitor).await;
            let sessions = variant.sessions();
            assert!(sessions.revoke(id(&visitor)).await.unwrap());
            let revoked = SessionEnd::Ended(EndReason::Revoked);
            assert_eq!(ended.now_or_never(), Some(revoked), "{name} {which}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_socket_closes_where_a_variant_moves_the_session() {
    for (name, store) in stores() {
        let layer = base(&store);
        for (which, variant) in variants(&layer) {
            let visitor = holding(&layer, [("n", 1)]).await;
            let ended = waiting(&visitor).await;
            log_in(&on(&variant, &visitor), "ann").await;
            assert_eq!(
                ended.now_or_never(),
                Some(SessionEnd::Moved),
                "{name} {which}"
            );
        }
    }
}

#[tokio::test]
async fn a_listener_that_is_added_later_is_called_for_the_operator() {
    for (name, store) in stores() {
        let layer = base(&store);
        let sessions = layer.sessions();
        let recorder = Recorder::default();
        let layer = layer.on_event(recorder.clone());
        let visitor = holding(&layer, [("n", 1)]).await;
        let old = id(&visitor);
        recorder.events();
        assert!(sessions.revoke(old).await.unwrap());
        let told = [(old, EndReason::Revoked)];
        assert_eq!(recorder.endings(), told, "{name}");
    }
}

#[tokio::test]
async fn a_listener_of_one_variant_is_called_for_requests_of_another() {
    for (name, store) in stores() {
        let layer = base(&store);
        let recorder = Recorder::default();
        let listened = layer.clone().on_event(recorder.clone());
        let short = layer.clone().idle_timeout(MINUTE);
        let visitor = holding(&listened, [("n", 1)]).await;
        let old = id(&visitor);
        recorder.events();
        let reply = destroy(&on(&short, &visitor)).await;
        assert_eq!(reply.status, StatusCode::OK);
        let told = [(old, EndReason::Destroyed)];
        assert_eq!(recorder.endings(), told, "{name}");
    }
}

#[tokio::test]
async fn the_numbers_are_of_all_variants_whenever_the_handle_was_taken() {
    for (name, store) in stores() {
        let layer = base(&store);
        let early = layer.sessions();
        let layer = layer.idle_timeout(2 * HOUR);
        let visitor = holding(&layer, [("n", 1)]).await;
        destroy(&visitor).await;
        let count = early.stats().ended(EndReason::Destroyed);
        assert_eq!(count, 1, "{name}");
    }
}
