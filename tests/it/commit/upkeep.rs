//! Talk with the store that is under way while the handler goes on: save, touch, reload, claim.

use std::time::Duration;

use cloakroom::{Error, ErrorKind, Session, SessionLayer, SessionStore};
use http::StatusCode;

use crate::support::{Fault, FaultyStore, FixedClock, StoreCall, Visitor};

const SECOND: Duration = Duration::from_secs(1);

struct Site {
    store: FaultyStore,
    clock: FixedClock,
    visitor: Visitor,
}

impl Site {
    /// With a visitor whose session has n = 41.
    async fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let layer = SessionLayer::new(store.clone()).clock(clock.clone());
        let visitor = Visitor::new(&layer.reap_every(None));
        let reply = visitor.visit(async |session: Session| session.insert("n", 41));
        assert_eq!(reply.await.status, StatusCode::OK);
        Self {
            store,
            clock,
            visitor,
        }
    }

    async fn values(&self) -> String {
        let show = async |session: Session| {
            let keys = session.keys();
            let values = keys.iter().map(|key| {
                let value = session.get::<u32>(key).unwrap();
                format!("{key}={}", value.unwrap())
            });
            values.collect::<Vec<_>>().join(" ")
        };
        self.visitor.visit(show).await.body
    }
}

fn increment(session: &Session) -> Result<u32, Error> {
    session.update("n", |n: Option<u32>| n.unwrap_or(0) + 1)
}

#[tokio::test(start_paused = true)]
async fn a_reload_under_way_brings_nothing_into_what_was_begun_after_a_destroy() {
    let site = Site::new().await;
    let slow = site.store.clone();
    let reply = site.visitor.visit(async |session: Session| {
        slow.plan_for(StoreCall::LoadLatest, Fault::Delay(2 * SECOND));
        let meanwhile = async {
            tokio::time::sleep(SECOND).await;
            session.destroy();
            increment(&session)
        };
        let (_, incremented) = tokio::join!(session.reload(), meanwhile);
        incremented.map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    site.store.heal();
    assert_eq!(site.values().await, "n=1");
}

#[tokio::test(start_paused = true)]
async fn a_touch_under_way_does_not_end_what_was_begun_after_a_destroy() {
    let site = Site::new().await;
    let (slow, twin) = (site.store.clone(), site.visitor.twin());
    let reply = site.visitor.visit(async |session: Session| {
        twin.visit(async |session: Session| session.destroy()).await;
        slow.plan_for(StoreCall::Touch, Fault::Delay(2 * SECOND));
        let meanwhile = async {
            tokio::time::sleep(SECOND).await;
            session.destroy();
            session.insert("flash", 1)
        };
        let (touched, inserted) = tokio::join!(session.touch(), meanwhile);
        assert_eq!(touched.unwrap_err().kind(), ErrorKind::Ended);
        inserted
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    site.store.heal();
    assert_eq!(site.values().await, "flash=1");
}

#[tokio::test(start_paused = true)]
async fn a_save_in_doubt_is_reported_once_and_then_given_up() {
    let site = Site::new().await;
    let (slow, twin) = (site.store.clone(), site.visitor.twin());
    let reply = site.visitor.visit(async |session: Session| {
        increment(&session)?;
        slow.plan_for(StoreCall::Update, Fault::DelayReply(60 * SECOND));
        assert!(session.save().await.is_err());
        slow.heal();
        for _ in 0..20 {
            twin.visit(async |session: Session| increment(&session).map(drop))
                .await;
        }
        let error = session.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        session.reload().await?;
        assert_eq!(session.get::<u32>("n")?, Some(62));
        increment(&session).map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(site.values().await, "n=63");
}

#[tokio::test]
async fn a_claimed_value_reaches_its_claimer_whatever_else_is_refused() {
    let site = Site::new().await;
    let twin = site.visitor.twin();
    let reply = site.visitor.visit(async |session: Session| {
        session.insert("t", 7)?;
        session.save().await?;
        let taken = session.try_update("n", |n: Option<u32>| match n {
            Some(n) if n > 0 => Ok(Some(n - 1)),
            _ => Err(()),
        })?;
        assert_eq!(taken, Ok(Some(40)));
        twin.visit(async |session: Session| session.insert("n", 0))
            .await;
        assert_eq!(session.claim("t").await?, Some(7));
        Ok::<_, Error>(())
    });
    // What the closure refuses is for the commit to say.
    assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.values().await, "n=0");
}

#[tokio::test(start_paused = true)]
async fn l1_a_commit_that_was_overtaken_does_not_take_activity_back() {
    let site = Site::new().await;
    let (slow, twin, clock) = (site.store.clone(), site.visitor.twin(), site.clock.clone());
    let visit = site.visitor.visit(async |session: Session| {
        slow.plan_for(StoreCall::Update, Fault::Delay(2 * SECOND));
        increment(&session)?;
        Ok::<_, Error>(session.id().unwrap().to_string())
    });
    let overtaking = async {
        tokio::time::sleep(SECOND).await;
        slow.heal();
        clock.advance(3 * SECOND);
        twin.visit(async |session: Session| session.insert("m", 1))
            .await;
    };
    let (reply, ()) = tokio::join!(visit, overtaking);
    let id = reply.body.parse().unwrap();
    let (_, activity) = site.store.inner().load(id).await.unwrap().unwrap();
    let since_start = activity.last_seen_at.as_millis() - FixedClock::START.as_millis();
    assert_eq!(since_start, 3000);
    assert_eq!(site.values().await, "m=1 n=42");
}

#[tokio::test]
async fn touch_and_reload_say_that_this_request_has_destroyed_the_session() {
    let site = Site::new().await;
    let reply = site.visitor.visit(async |session: Session| {
        session.destroy();
        for ended in [session.touch().await, session.reload().await] {
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::Ended);
        }
        session.save().await?;
        assert_eq!(session.touch().await.unwrap_err().kind(), ErrorKind::Ended);
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
}
