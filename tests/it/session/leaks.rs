//! A request that is over keeps nothing alive, whatever its closures hold.

use std::sync::{Arc, Weak};

use cloakroom::{Session, SessionLayer};
use http::StatusCode;

use crate::support::{
    FixedClock, Reply, Visitor,
    acts::{destroy, holding, layer_over, stores},
    fixture::{HOUR, MINUTE},
};

/// What a closure holds: its own session, and a probe whose count says whether the closure was dropped.
#[derive(Clone)]
struct Held {
    _session: Session,
    _probe: Arc<()>,
}

/// What a request does with the session, given what its closure is to hold.
type Act = fn(&Session, Held);

fn same(n: Option<u64>, _held: &Held) -> u64 {
    n.unwrap_or(0)
}

const ACTS: [(&str, Act); 7] = [
    ("an update to the same value", |session, held| {
        session.update("n", move |n| same(n, &held)).unwrap();
    }),
    ("a try_update to the same value", |session, held| {
        let keep = move |n| Ok::<_, ()>(Some(same(n, &held)));
        session.try_update("n", keep).unwrap().unwrap();
    }),
    ("a try_update that refuses", |session, held| {
        let refuse = move |n| Err::<Option<u64>, _>(same(n, &held));
        session.try_update("n", refuse).unwrap().unwrap_err();
    }),
    ("a try_update that finds nothing", |session, held| {
        let keep = move |m: Option<u64>| Ok::<_, ()>(m.map(|m| same(Some(m), &held)));
        session.try_update("m", keep).unwrap().unwrap();
    }),
    ("there and back", |session, held| {
        let again = held.clone();
        session.update("n", move |n| same(n, &held) + 1).unwrap();
        session.update("n", move |n| same(n, &again) - 1).unwrap();
    }),
    ("an update that is removed again", |session, held| {
        session.update("m", move |n| same(n, &held) + 1).unwrap();
        session.remove("m");
    }),
    ("an update that is stored", |session, held| {
        session.update("n", move |n| same(n, &held) + 1).unwrap();
    }),
];

async fn act(visitor: &Visitor, act: Act) -> (Reply, Weak<()>) {
    let probe = Arc::new(());
    let seen = Arc::downgrade(&probe);
    let reply = visitor.visit(async |session: Session| {
        let held = Held {
            _session: session.clone(),
            _probe: probe,
        };
        act(&session, held);
    });
    (reply.await, seen)
}

fn layers() -> Vec<(&'static str, FixedClock, SessionLayer)> {
    let mut layers = Vec::new();
    for (name, store) in stores() {
        let clock = FixedClock::default();
        let layer = layer_over(&store, &clock).renew_every(10 * MINUTE);
        layers.push((name, clock, layer));
    }
    layers
}

#[tokio::test]
async fn c2_a_closure_that_holds_its_session_leaks_nothing_where_nothing_changed() {
    for (name, _, layer) in layers() {
        for (what, change) in ACTS {
            let visitor = holding(&layer, [("n", 1)]).await;
            let (reply, seen) = act(&visitor, change).await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(seen.strong_count(), 0, "{name}: {what}");
        }
    }
}

#[tokio::test]
async fn c2_a_closure_that_holds_its_session_leaks_nothing_where_the_session_is_new() {
    for (name, _, layer) in layers() {
        for (what, change) in ACTS {
            let (_, seen) = act(&Visitor::new(&layer), change).await;
            assert_eq!(seen.strong_count(), 0, "{name}: {what}");
        }
    }
}

#[tokio::test]
async fn c2_a_closure_that_holds_its_session_leaks_nothing_where_it_is_touched_or_renewed() {
    for (name, clock, layer) in layers() {
        for (what, change) in ACTS {
            for pause in [7 * MINUTE, 20 * MINUTE] {
                let visitor = holding(&layer, [("n", 1)]).await;
                clock.advance(pause);
                let (_, seen) = act(&visitor, change).await;
                assert_eq!(seen.strong_count(), 0, "{name}: {what} after {pause:?}");
            }
        }
    }
}

#[tokio::test]
async fn c2_a_closure_that_holds_its_session_leaks_nothing_where_the_session_has_ended() {
    for (name, clock, layer) in layers() {
        for (what, change) in ACTS {
            let visitor = holding(&layer, [("n", 1)]).await;
            let other = visitor.twin();
            let probe = Arc::new(());
            let seen = Arc::downgrade(&probe);
            let reply = visitor.visit(async |session: Session| {
                let held = Held {
                    _session: session.clone(),
                    _probe: probe,
                };
                change(&session, held);
                destroy(&other).await;
            });
            reply.await;
            assert_eq!(seen.strong_count(), 0, "{name}: {what}");
            clock.advance(HOUR / 60);
        }
    }
}

#[tokio::test]
async fn c2_a_closure_that_holds_its_session_leaks_nothing_after_a_save_that_changed_nothing() {
    for (name, _, layer) in layers() {
        for (what, change) in ACTS {
            let visitor = holding(&layer, [("n", 1)]).await;
            let probe = Arc::new(());
            let seen = Arc::downgrade(&probe);
            let reply = visitor.visit(async |session: Session| {
                let held = Held {
                    _session: session.clone(),
                    _probe: probe,
                };
                change(&session, held);
                session.save().await
            });
            assert_eq!(reply.await.status, StatusCode::OK);
            assert_eq!(seen.strong_count(), 0, "{name}: {what}");
        }
    }
}
