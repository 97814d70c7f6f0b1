//! A claimed value goes to exactly one request.

use std::time::Duration;

use cloakroom::{Error, ErrorKind, Session, SessionLayer, store::StoreErrorKind};
use futures::{future::join_all, poll};
use http::StatusCode;

use crate::support::{Fault, FaultyStore, FixedClock, Reply, StoreCall, Visitor};

/// A visitor whose session has a `ticket`.
async fn holder(store: &FaultyStore) -> Visitor {
    let layer = SessionLayer::new(store.clone()).clock(FixedClock::default());
    let visitor = Visitor::new(&layer);
    let reply = visitor.visit(async |session: Session| {
        session.insert("kept", 1)?;
        session.insert("ticket", "concert")
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    store.calls();
    visitor
}

/// What was claimed, as the body; empty for nothing.
async fn claim(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| {
            let ticket: Option<String> = session.claim("ticket").await?;
            assert!(!session.contains_key("ticket"));
            Ok::<_, Error>(ticket.unwrap_or_default())
        })
        .await
}

/// Fifty tasks claim one value: how many get it.
async fn claim_together(store: FaultyStore) -> usize {
    let visitor = holder(&store).await;
    let claims = (0..50).map(|_| {
        let visitor = visitor.clone();
        tokio::spawn(async move {
            let reply = claim(&visitor).await;
            assert_eq!(reply.status, StatusCode::OK);
            reply.body
        })
    });
    let claims = claims.collect::<Vec<_>>();
    let claimed = join_all(claims).await.into_iter().map(Result::unwrap);
    let winners = claimed.filter(|body| body == "concert").count();
    store.heal();
    visitor
        .visit(async |session: Session| assert_eq!(session.keys(), ["kept"]))
        .await;
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m9_claim_gives_the_value_to_exactly_one() {
    for _ in 0..20 {
        assert_eq!(claim_together(FaultyStore::in_memory()).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m9_claim_gives_the_value_to_exactly_one_where_every_call_lets_others_pass() {
    for _ in 0..20 {
        let store = FaultyStore::in_memory();
        store.plan(|_| Fault::Yield);
        assert_eq!(claim_together(store).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m9_claim_gives_the_value_to_exactly_one_where_replies_are_lost() {
    for every in [1, 2, 3] {
        let store = FaultyStore::in_memory();
        let mut updates = 0;
        store.plan(move |call| {
            updates += u32::from(call == StoreCall::Update);
            if call == StoreCall::Update && updates % every == 0 {
                Fault::LoseReply(StoreErrorKind::Timeout)
            } else {
                Fault::None
            }
        });
        assert_eq!(claim_together(store).await, 1, "{every}");
    }
}

#[tokio::test]
async fn claim_is_committed_before_the_handler_goes_on() {
    let store = FaultyStore::in_memory();
    let visitor = holder(&store).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        assert_eq!(session.claim::<String>("ticket").await?.unwrap(), "concert");
        assert_eq!(claim(&other).await.body, "");
        assert!(!session.is_modified());
        Ok::<_, Error>(())
    });
    assert!(reply.await.set_cookies().is_empty());
    assert_eq!(
        store.calls(),
        [StoreCall::Load, StoreCall::Update, StoreCall::Load],
        "one round trip, and none where there is nothing to claim"
    );
}

#[tokio::test]
async fn claim_leaves_other_changes_pending() {
    let visitor = holder(&FaultyStore::in_memory()).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        session.update("kept", |n: Option<u64>| n.unwrap_or(0) + 1)?;
        other
            .visit(async |session: Session| session.insert("kept", 10))
            .await;
        assert!(session.claim::<String>("ticket").await?.is_some());
        assert_eq!(session.get("kept")?, Some(11));
        assert!(session.is_modified());
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    visitor
        .visit(async |session: Session| assert_eq!(session.get("kept").unwrap(), Some(11)))
        .await;
}

#[tokio::test]
async fn claim_beneath_a_change_that_cannot_be_merged_leaves_a_session_that_can_be_changed() {
    let visitor = holder(&FaultyStore::in_memory()).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        let refusing = |n: Option<u64>| if n == Some(1) { Ok(Some(2)) } else { Err(()) };
        session.try_update("kept", refusing)?.unwrap();
        other
            .visit(async |session: Session| {
                session.insert("kept", 7)?;
                session.insert("large", "x".repeat(1000))
            })
            .await;
        assert!(session.claim::<String>("ticket").await?.is_some());
        assert!(session.remove("large"));
        session.insert("more", 1)?;
        session.insert("kept", 3)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    visitor
        .visit(async |session: Session| {
            assert_eq!(session.keys(), ["kept", "more"]);
            assert_eq!(session.get("kept").unwrap(), Some(3));
        })
        .await;
}

#[tokio::test]
async fn claim_saves_a_pending_change_of_its_key_first() {
    let visitor = holder(&FaultyStore::in_memory()).await;
    let reply = visitor.visit(async |session: Session| {
        session.insert("ticket", "opera")?;
        let claimed: Option<String> = session.claim("ticket").await?;
        Ok::<_, Error>(claimed.unwrap())
    });
    assert_eq!(reply.await.body, "opera");
    assert_eq!(claim(&visitor).await.body, "");
}

#[tokio::test]
async fn claim_of_another_type_leaves_the_value() {
    let visitor = holder(&FaultyStore::in_memory()).await;
    let reply = visitor.visit(async |session: Session| {
        let error = session.claim::<u64>("ticket").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deserialize);
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(claim(&visitor).await.body, "concert");
}

#[tokio::test]
async fn claim_in_a_session_that_is_new_or_has_ended_gives_nothing_stored() {
    let store = FaultyStore::in_memory();
    let visitor = holder(&store).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        other
            .visit(async |session: Session| session.destroy())
            .await;
        assert_eq!(session.claim::<String>("ticket").await?, None);
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(claim(&other).await.body, "");
    assert!(store.inner().is_empty());
}

#[tokio::test(start_paused = true)]
async fn m9_claim_during_a_move_gives_the_value_to_one_session() {
    let store = FaultyStore::in_memory();
    let visitor = holder(&store).await;
    let claimer = visitor.twin();
    let mut is_first = true;
    store.plan(move |call| match call {
        StoreCall::Update if std::mem::take(&mut is_first) => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::None,
    });
    let mut moving = Box::pin(visitor.visit(async |session: Session| session.cycle_id()));
    assert!(poll!(&mut moving).is_pending());
    assert_eq!(claim(&claimer).await.body, "concert");
    assert_eq!(moving.await.status, StatusCode::OK);
    assert_eq!(claim(&visitor).await.body, "");
}
