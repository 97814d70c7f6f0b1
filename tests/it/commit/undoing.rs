//! Rule C2: what an abandoned request has begun is undone, however many there are and however late
//! the store is.

use cloakroom::{Error, Session, SessionLayer, store::StoreErrorKind};
use futures::{future::join_all, poll};

use crate::support::{
    Fault, FaultyStore, FixedClock, StoreCall, Visitor,
    acts::{holding, live, seen, until_undone},
    fixture::SECOND,
};

type Act = fn(&Session) -> Result<(), Error>;

const MOVES: [(&str, Act); 2] = [
    ("log-in", |session| session.log_in("ann")),
    ("cycle", |session| session.cycle_id()),
];

fn layer(store: &FaultyStore) -> SessionLayer {
    SessionLayer::new(store.clone())
        .clock(FixedClock::default())
        .reap_every(None)
}

#[tokio::test(start_paused = true)]
async fn c2_a_new_session_that_is_created_after_its_undo_does_not_stay() {
    for (name, act) in MOVES {
        // As bits: which of the undoing's writes lose their reply.
        for lost in 0_u32..16 {
            let store = FaultyStore::in_memory();
            let layer = layer(&store);
            let visitor = holding(&layer, [("n", 1)]).await;
            let old = visitor.twin();
            let mut writes = 0;
            store.plan(move |call| match call {
                StoreCall::Create | StoreCall::Update | StoreCall::Delete => {
                    writes += 1;
                    if writes == 1 {
                        Fault::HangThenApply(200 * SECOND)
                    } else if lost & (1_u32.checked_shl(writes - 2).unwrap_or(0)) != 0 {
                        Fault::LoseReply(StoreErrorKind::Timeout)
                    } else {
                        Fault::None
                    }
                }
                _ => Fault::None,
            });
            {
                let mut moving = Box::pin(visitor.visit(async |session: Session| act(&session)));
                assert!(poll!(&mut moving).is_pending());
            }
            until_undone().await;
            store.heal();
            let sessions = live(&layer.sessions(), None).await;
            assert_eq!(sessions.len(), 1, "{name} {lost:b}");
            assert_eq!(seen(&old).await, r#"{"n": 1}"#, "{name} {lost:b}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c2_a_first_session_that_is_created_after_its_undo_does_not_stay() {
    for logs_in in [false, true] {
        for lost in 0_u32..8 {
            let store = FaultyStore::in_memory();
            let layer = layer(&store);
            let mut writes = 0;
            store.plan(move |call| match call {
                StoreCall::Create | StoreCall::Update | StoreCall::Delete => {
                    writes += 1;
                    if writes == 1 {
                        Fault::HangThenApply(200 * SECOND)
                    } else if lost & (1_u32.checked_shl(writes - 2).unwrap_or(0)) != 0 {
                        Fault::LoseReply(StoreErrorKind::Timeout)
                    } else {
                        Fault::None
                    }
                }
                _ => Fault::None,
            });
            let visitor = Visitor::new(&layer);
            {
                let mut request = Box::pin(visitor.visit(async |session: Session| {
                    if logs_in {
                        session.log_in("ann")?;
                    }
                    session.insert("n", 1)
                }));
                assert!(poll!(&mut request).is_pending());
            }
            until_undone().await;
            store.heal();
            let sessions = live(&layer.sessions(), None).await;
            assert_eq!(sessions, [], "logs in: {logs_in}, {lost:b}");
        }
    }
}

/// Of 200 requests that are dropped at once where the store hangs in `at`: the sessions that are
/// left once all is undone, and how many visitors have theirs.
async fn drop_at_once(act: Act, at: StoreCall, outage: Fault) -> (usize, usize) {
    let store = FaultyStore::in_memory();
    let layer = layer(&store);
    let visitors = join_all((0..200).map(|_| holding(&layer, [("n", 1)]))).await;
    store.plan(move |call| if call == at { outage } else { Fault::None });
    {
        let mut requests = Vec::new();
        for visitor in &visitors {
            let mut request = Box::pin(visitor.visit(async |session: Session| act(&session)));
            assert!(poll!(&mut request).is_pending());
            requests.push(request);
        }
    }
    tokio::time::sleep(SECOND).await;
    store.heal();
    until_undone().await;
    until_undone().await;
    let mut known = 0;
    for visitor in &visitors {
        known += usize::from(seen(visitor).await == r#"{"n": 1}"#);
    }
    (live(&layer.sessions(), None).await.len(), known)
}

#[tokio::test(start_paused = true)]
async fn c2_of_two_hundred_moves_that_are_cancelled_at_once_no_new_session_is_left() {
    for (name, act) in MOVES {
        for (at, outage) in [
            (StoreCall::Update, Fault::Hang),
            (StoreCall::Create, Fault::HangThenApply(10 * SECOND)),
            (StoreCall::Create, Fault::DelayReply(60 * SECOND)),
        ] {
            let (left, known) = drop_at_once(act, at, outage).await;
            assert_eq!((left, known), (200, 200), "{name} {at:?} {outage:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c2_of_two_hundred_new_sessions_that_are_cancelled_at_once_none_is_left() {
    for outage in [
        Fault::HangThenApply(10 * SECOND),
        Fault::DelayReply(60 * SECOND),
    ] {
        let store = FaultyStore::in_memory();
        let layer = layer(&store);
        store.plan_for(StoreCall::Create, outage);
        let visitors: Vec<_> = (0..200).map(|_| Visitor::new(&layer)).collect();
        {
            let mut requests = Vec::new();
            for visitor in &visitors {
                let begin = visitor.visit(async |session: Session| session.log_in("ann"));
                let mut begin = Box::pin(begin);
                assert!(poll!(&mut begin).is_pending());
                requests.push(begin);
            }
        }
        tokio::time::sleep(SECOND).await;
        store.heal();
        until_undone().await;
        until_undone().await;
        let left = live(&layer.sessions(), None).await.len();
        assert_eq!(left, 0, "{outage:?}");
    }
}
