//! Rules M3 and M5 where nobody can tell any more whether a write happened: it is neither made
//! twice nor forgotten in silence.

use std::time::Duration;

use cloakroom::{
    Error, ErrorKind, Session, SessionStore as _,
    store::{DynStore, StoreErrorKind},
};
use futures::{future::join, poll};
use http::StatusCode;
use tokio::sync::oneshot;

use crate::support::{
    Fault, FaultyStore, FixedClock, StoreCall, Visitor,
    acts::{
        claim, cycle, destroy, healthy_node, holding, id, increment, insert, layer_over, live,
        log_in, on, seen, until_undone, write_on_top,
    },
    fixture::SECOND,
};

const KINDS: [StoreErrorKind; 4] = [
    StoreErrorKind::Other,
    StoreErrorKind::Unavailable,
    StoreErrorKind::Timeout,
    StoreErrorKind::Corrupt,
];

/// A visitor of a node whose store has faults, and the same one on a healthy node.
struct Nodes {
    store: FaultyStore,
    visitor: Visitor,
    healthy: Visitor,
}

impl Nodes {
    async fn new<const N: usize>(values: [(&'static str, u64); N]) -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let layer = layer_over(&DynStore::new(store.clone()), &clock);
        let visitor = holding(&layer, values).await;
        let healthy = on(&healthy_node(&store, &clock), &visitor);
        Self {
            store,
            visitor,
            healthy,
        }
    }

    /// The next update is applied and its reply lost, and so is a second of time before anybody
    /// asks what became of it.
    fn lose_the_next_update(&self) {
        self.store.plan_each(|made| match (made.call, made.number) {
            (StoreCall::Update, 1) => Fault::LoseReply(StoreErrorKind::Timeout),
            (StoreCall::LoadLatest, 1) => Fault::Delay(SECOND),
            _ => Fault::None,
        });
    }
}

/// Lets `act` run while the store is asked what became of a write.
async fn meanwhile<T>(request: impl Future<Output = T>, act: impl Future<Output = ()>) -> T {
    let act = async {
        tokio::time::sleep(SECOND / 2).await;
        act.await;
    };
    join(request, act).await.0
}

#[tokio::test(start_paused = true)]
async fn m5_an_update_that_was_lost_and_whose_retry_is_refused_is_counted_once_at_most() {
    for kind in KINDS {
        let nodes = Nodes::new([("n", 1)]).await;
        nodes
            .store
            .plan_each(move |made| match (made.call, made.number) {
                (StoreCall::Update, 1) => Fault::LoseReply(kind),
                (StoreCall::LoadLatest, 1) => Fault::Delay(SECOND),
                (StoreCall::Update, _) => Fault::Refuse(kind),
                _ => Fault::None,
            });
        let reply = meanwhile(increment(&nodes.visitor, "n"), write_on_top(&nodes.healthy));
        assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            seen(&nodes.healthy).await,
            r#"{"n": 2, "others": 20}"#,
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn m5_a_save_that_was_lost_and_whose_retry_is_refused_is_counted_once() {
    for kind in KINDS {
        let nodes = Nodes::new([("n", 1)]).await;
        let store = nodes.store.clone();
        let reply = nodes.visitor.visit(async |session: Session| {
            session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
            store.plan(move |call| match call {
                StoreCall::Update => Fault::LoseReply(kind),
                StoreCall::LoadLatest => Fault::Refuse(kind),
                _ => Fault::None,
            });
            session.save().await.unwrap_err();
            store.heal();
            Ok::<_, Error>(())
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&nodes.healthy).await, r#"{"n": 2}"#, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn m5_a_save_that_arrives_after_its_retry_was_refused_is_counted_once() {
    for kind in KINDS {
        let nodes = Nodes::new([("n", 1)]).await;
        let store = nodes.store.clone();
        let reply = nodes.visitor.visit(async |session: Session| {
            session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
            store.plan_for(
                StoreCall::Update,
                Fault::HangThenApply(Duration::from_secs(7)),
            );
            let error = session.save().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            // For certain, but of the first copy that says nothing.
            store.plan_for(StoreCall::Update, Fault::Refuse(kind));
            session.save().await.unwrap_err();
            store.heal();
            tokio::time::sleep(10 * SECOND).await;
            Ok::<_, Error>(())
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&nodes.healthy).await, r#"{"n": 2}"#, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn m5_an_insert_that_was_lost_and_claimed_is_not_made_again_beyond_the_records_memory() {
    let nodes = Nodes::new([("n", 1)]).await;
    nodes.lose_the_next_update();
    let mut given = 0;
    let reply = meanwhile(insert(&nodes.visitor, "voucher", 7), async {
        given += usize::from(claim(&nodes.healthy, "voucher").await.is_some());
        write_on_top(&nodes.healthy).await;
    });
    let status = reply.await.status;
    nodes.store.heal();
    given += usize::from(claim(&nodes.healthy, "voucher").await.is_some());
    assert_eq!((given, status), (1, StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test(start_paused = true)]
async fn m5_a_remove_that_was_lost_takes_no_newer_value_away_beyond_the_records_memory() {
    for clears in [false, true] {
        let nodes = Nodes::new([("n", 1)]).await;
        nodes.lose_the_next_update();
        let removing = nodes.visitor.visit(async |session: Session| {
            if clears {
                session.clear();
            } else {
                session.remove("n");
            }
        });
        let reply = meanwhile(removing, async {
            insert(&nodes.healthy, "n", 5).await;
            write_on_top(&nodes.healthy).await;
        });
        assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
        nodes.store.heal();
        assert_eq!(seen(&nodes.healthy).await, r#"{"n": 5, "others": 20}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn m5_a_saved_insert_in_doubt_is_not_made_again_beyond_the_records_memory() {
    let nodes = Nodes::new([("n", 1)]).await;
    let (store, healthy) = (nodes.store.clone(), nodes.healthy.clone());
    let mut given = 0;
    let reply = nodes.visitor.visit(async |session: Session| {
        session.insert("voucher", 7)?;
        store.plan(|call| match call {
            StoreCall::Update => Fault::LoseReply(StoreErrorKind::Timeout),
            StoreCall::LoadLatest => Fault::Refuse(StoreErrorKind::Unavailable),
            _ => Fault::None,
        });
        session.save().await.unwrap_err();
        store.heal();
        given += usize::from(claim(&healthy, "voucher").await.is_some());
        write_on_top(&healthy).await;
        Ok::<_, Error>(())
    });
    let status = reply.await.status;
    given += usize::from(claim(&nodes.healthy, "voucher").await.is_some());
    assert_eq!((given, status), (1, StatusCode::SERVICE_UNAVAILABLE));
}

/// A claim whose reply is lost, with `act` before anybody asks what became of it: what its handler
/// was told.
async fn claim_in_vain(act: impl AsyncFnOnce(&Visitor)) -> (Result<Option<u64>, ErrorKind>, Nodes) {
    let nodes = Nodes::new([("n", 1), ("voucher", 7)]).await;
    nodes.lose_the_next_update();
    let mut told = Ok(None);
    let claiming = nodes.visitor.visit(async |session: Session| {
        told = session.claim("voucher").await.map_err(|error| error.kind());
    });
    meanwhile(claiming, act(&nodes.healthy)).await;
    nodes.store.heal();
    (told, nodes)
}

#[tokio::test(start_paused = true)]
async fn m5_a_claim_whose_reply_was_lost_gives_the_value_though_the_session_has_moved() {
    let (told, nodes) = claim_in_vain(async |healthy| drop(cycle(healthy).await)).await;
    assert_eq!(told, Ok(Some(7)), "cycled");
    assert_eq!(seen(&nodes.healthy).await, r#"{"n": 1}"#);
    let (told, nodes) = claim_in_vain(async |healthy| drop(log_in(healthy, "ann").await)).await;
    assert_eq!(told, Ok(Some(7)), "logged in");
    assert_eq!(seen(&nodes.healthy).await, r#"ann{"n": 1}"#);
}

#[tokio::test(start_paused = true)]
async fn m9_a_claim_whose_reply_was_lost_fails_where_the_session_is_gone() {
    let (told, nodes) = claim_in_vain(async |healthy| {
        assert_eq!(destroy(healthy).await.status, StatusCode::OK);
    })
    .await;
    // A marker may still name the claim's writer; a record that is gone does not.
    assert!(
        told.is_err() || told == Ok(Some(7)),
        "nobody has the value, and nobody is told: {told:?}"
    );
    assert_eq!(seen(&nodes.healthy).await, "none");

    let nodes = Nodes::new([("n", 1), ("voucher", 7)]).await;
    nodes.lose_the_next_update();
    let mut told = Ok(None);
    let claiming = nodes.visitor.visit(async |session: Session| {
        told = session
            .claim::<u64>("voucher")
            .await
            .map_err(|error| error.kind());
    });
    let old = id(&nodes.visitor);
    meanwhile(claiming, async {
        assert!(nodes.store.inner().delete(old).await.unwrap());
    })
    .await;
    assert!(told.is_err(), "without a marker: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn m9_a_claim_whose_reply_was_lost_fails_beyond_the_records_memory() {
    let (told, nodes) = claim_in_vain(async |healthy| write_on_top(healthy).await).await;
    assert!(told.is_err(), "{told:?}");
    assert_eq!(claim(&nodes.healthy, "voucher").await, None);
}

#[tokio::test(start_paused = true)]
async fn m5_an_update_whose_reply_was_lost_is_counted_once_though_the_session_has_moved() {
    let nodes = Nodes::new([("n", 1)]).await;
    nodes.lose_the_next_update();
    let reply = meanwhile(increment(&nodes.visitor, "n"), async {
        cycle(&nodes.healthy).await;
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    nodes.store.heal();
    until_undone().await;
    assert_eq!(seen(&nodes.healthy).await, r#"{"n": 2}"#);
}

#[tokio::test(start_paused = true)]
async fn c2_a_save_of_a_new_session_whose_request_was_dropped_says_so() {
    for logs_in in [false, true] {
        for fault in [Fault::Delay(SECOND), Fault::DelayReply(SECOND)] {
            let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
            let layer = layer_over(&DynStore::new(store.clone()), &clock);
            let visitor = Visitor::new(&layer);
            store.plan_for(StoreCall::Create, fault);
            let (send, receive) = oneshot::channel();
            let mut request = Box::pin(visitor.visit(async |session: Session| {
                if logs_in {
                    session.log_in("ann").unwrap();
                }
                session.insert("n", 1).unwrap();
                drop(send.send(session));
                std::future::pending::<StatusCode>().await
            }));
            assert!(poll!(&mut request).is_pending());
            let session = receive.await.unwrap();
            let mut saving = Box::pin(async move { session.save().await });
            assert!(poll!(&mut saving).is_pending());
            drop(request);
            let saved = saving.await.map_err(|error| error.kind());
            let why = format!("logs in: {logs_in}, {fault:?}");
            assert_eq!(saved, Err(ErrorKind::TooLate), "{why}");
            store.heal();
            until_undone().await;
            let left = live(&layer.sessions(), None).await;
            assert_eq!(left, [], "{why}: nobody has its token");
        }
    }
}
