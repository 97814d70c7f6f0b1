//! The id under which a session goes on, known before it is committed.

use cloakroom::{Error, Session, SessionId, SessionLayer, store::StoreErrorKind};

use crate::support::{Fault, FaultyStore, FixedClock, StoreCall, Visitor};

fn layer(store: &FaultyStore) -> SessionLayer {
    SessionLayer::new(store.clone()).clock(FixedClock::default())
}

async fn id(visitor: &Visitor) -> String {
    let reply =
        visitor.visit(async |session: Session| Ok::<_, Error>(format!("{:?}", session.id())));
    reply.await.body
}

#[tokio::test]
async fn the_next_id_is_known_as_soon_as_a_log_in_or_a_cycle_is_called() {
    for (is_new, logs_in) in [(true, true), (false, true), (false, false)] {
        let store = FaultyStore::in_memory();
        let visitor = Visitor::new(&layer(&store));
        if !is_new {
            visitor
                .visit(async |session: Session| session.insert("n", 1))
                .await;
        }
        let reply = visitor.visit(async move |session: Session| {
            assert_eq!(session.next_id(), None);
            let before = session.id();
            if logs_in {
                session.log_in("ann")?;
            } else {
                session.cycle_id()?;
            }
            let next = session.next_id();
            assert!(next.is_some() && next != before);
            // Whatever is called besides, it is one session that begins.
            session.cycle_id()?;
            if logs_in {
                session.log_in("ann")?;
            }
            assert_eq!((session.next_id(), session.id()), (next, before));
            session.insert("n", 2)?;
            if !is_new {
                session.save().await?;
                assert_eq!((session.next_id(), session.id()), (next, before));
            }
            Ok::<_, Error>(format!("{next:?}"))
        });
        let next = reply.await.body;
        assert_eq!(id(&visitor).await, next);
    }
}

#[tokio::test]
async fn after_the_save_of_a_new_log_in_its_id_is_the_sessions() {
    let store = FaultyStore::in_memory();
    let visitor = Visitor::new(&layer(&store));
    let reply = visitor.visit(async |session: Session| {
        session.log_in("ann")?;
        let next = session.next_id();
        session.save().await?;
        assert_eq!((session.id(), session.next_id()), (next, None));
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, 200);
}

#[tokio::test]
async fn a_session_that_neither_logs_in_nor_cycles_has_no_next_id() {
    let store = FaultyStore::in_memory();
    let visitor = Visitor::new(&layer(&store));
    let reply = visitor.visit(async |session: Session| {
        session.insert("n", 1)?;
        session.cycle_id()?;
        assert_eq!(session.next_id(), None);
        session.log_in("ann")?;
        session.destroy();
        assert_eq!(session.next_id(), None);
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, 200);
}

#[tokio::test]
async fn a_save_whose_creation_is_in_doubt_does_not_begin_again_under_its_id() {
    let store = FaultyStore::in_memory();
    let visitor = Visitor::new(&layer(&store));
    let failing = store.clone();
    let reply = visitor.visit(async move |session: Session| {
        session.log_in("ann")?;
        let first: Option<SessionId> = session.next_id();
        failing.plan(|call| match call {
            StoreCall::Create | StoreCall::LoadLatest => Fault::Fail(StoreErrorKind::Unavailable),
            _ => Fault::None,
        });
        assert!(session.save().await.is_err());
        let second = session.next_id();
        assert_ne!(second, first);
        failing.heal();
        session.save().await?;
        assert!(session.id().is_some() && session.id() == second);
        Ok::<_, Error>(())
    });
    let reply = reply.await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}
