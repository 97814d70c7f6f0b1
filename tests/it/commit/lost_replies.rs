//! Rule M5 for saves and for new sessions: what is lost or late neither fails nor is made twice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloakroom::{
    Activity, Error, ErrorKind, Record, Session, SessionFilter, SessionId, SessionLayer,
    SessionStore, Sessions, StoreError, Timestamp,
    store::{Created, Former, Reaped, StoreErrorKind, Touched, Updated},
};
use futures::future::join;
use http::StatusCode;

use crate::support::{Fault, FaultyStore, FixedClock, Reply, StoreCall, Visitor};

const LATE: Fault = Fault::DelayReply(Duration::from_secs(60));

fn visitor(store: impl SessionStore) -> Visitor {
    Visitor::new(&SessionLayer::new(store).clock(FixedClock::default()))
}

/// The operator's handle on another node.
fn operator(store: &FaultyStore) -> Sessions {
    let layer = SessionLayer::new(store.clone()).clock(FixedClock::default());
    layer.sessions()
}

/// The live sessions.
async fn listed(store: &FaultyStore) -> Vec<SessionId> {
    let filter = SessionFilter::default();
    let page = operator(store).list(&filter, None, 100).await.unwrap();
    page.sessions.iter().map(|session| session.id()).collect()
}

fn increment(session: &Session, key: &'static str) -> Result<u64, Error> {
    session.update(key, |n: Option<u64>| n.unwrap_or(0) + 1)
}

async fn save_late(session: &Session) {
    let error = session.save().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// What the visitor's session holds, and its user.
async fn seen(visitor: &Visitor) -> String {
    let show = async |session: Session| {
        let mut values = BTreeMap::new();
        for key in session.keys() {
            let value: Option<u64> = session.get(&key)?;
            values.insert(key, value.unwrap());
        }
        let user = session.user().unwrap_or_default();
        Ok::<_, Error>(format!("{user}{values:?}"))
    };
    visitor.visit(show).await.body
}

/// A new session whose save suffers `fault`, in a request that goes on with `act`.
async fn save_in_vain(
    store: &FaultyStore,
    fault: Fault,
    act: impl AsyncFnOnce(&Session) -> Result<(), Error>,
) -> (Visitor, Reply) {
    let visitor = visitor(store.clone());
    let faulty = store.clone();
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        faulty.plan_for(StoreCall::Create, fault);
        save_late(&session).await;
        faulty.heal();
        act(&session).await
    });
    let reply = reply.await;
    (visitor, reply)
}

#[tokio::test(start_paused = true)]
async fn m5_a_new_session_whose_save_was_late_is_created_once() {
    for fault in [LATE, Fault::Hang] {
        let store = FaultyStore::in_memory();
        let (visitor, reply) = save_in_vain(&store, fault, async |session| {
            increment(session, "m").map(drop)
        })
        .await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.set_cookies().len(), 1);
        assert_eq!(seen(&visitor).await, r#"{"m": 1, "n": 1}"#);
        assert_eq!(listed(&store).await.len(), 1, "{fault:?}");
    }
}

/// What becomes of a new session whose save was late, and which is revoked before it is made again.
async fn revoke_in_doubt(user: Option<&'static str>) -> (FaultyStore, Visitor, SessionId) {
    let store = FaultyStore::in_memory();
    let visitor = visitor(store.clone());
    let mut revoked = None;
    let reply = visitor.visit(async |session: Session| {
        if let Some(user) = user {
            session.log_in(user)?;
        }
        increment(&session, "n")?;
        store.plan_for(StoreCall::Create, LATE);
        save_late(&session).await;
        store.heal();
        revoked = listed(&store).await.first().copied();
        let operator = operator(&store);
        match user {
            Some(user) => assert_eq!(operator.revoke_user(user).await?, 1),
            None => assert!(operator.revoke(revoked.unwrap()).await?),
        }
        increment(&session, "m").map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    (store, visitor, revoked.unwrap())
}

#[tokio::test(start_paused = true)]
async fn p1_a_new_session_whose_save_was_late_is_not_revived_where_it_was_revoked() {
    for user in [None, Some("ann")] {
        let (store, visitor, revoked) = revoke_in_doubt(user).await;
        assert!(!listed(&store).await.contains(&revoked), "{user:?}");
        // Nothing is lost silently: nobody can tell that it was there.
        let user = user.unwrap_or_default();
        let expected = format!(r#"{user}{{"m": 1, "n": 1}}"#);
        assert_eq!(seen(&visitor).await, expected);
        assert_eq!(listed(&store).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_new_session_whose_reply_was_lost_is_not_revived_where_it_was_revoked() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(store.clone());
    let mut calls = 0;
    store.plan(move |_| {
        calls += 1;
        match calls {
            1 => Fault::LoseReply(StoreErrorKind::Timeout),
            2 => Fault::Delay(Duration::from_secs(1)),
            _ => Fault::None,
        }
    });
    let revoking = async {
        let created = listed(&store).await[0];
        assert!(operator(&store).revoke(created).await.unwrap());
        created
    };
    let visit = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    let (reply, revoked) = join(visit, revoking).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(!listed(&store).await.contains(&revoked));
    assert_eq!(seen(&visitor).await, r#"{"n": 1}"#);
    assert_eq!(listed(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p1_a_new_session_in_doubt_is_not_revived_while_its_marker_is_there() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(store.clone());
    let mut revoked = None;
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        store.plan_for(StoreCall::Create, LATE);
        save_late(&session).await;
        store.heal();
        let created = listed(&store).await[0];
        revoked = Some(created);
        store.plan_for(StoreCall::Delete, Fault::Refuse(StoreErrorKind::Other));
        assert!(operator(&store).revoke(created).await?);
        store.heal();
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&visitor).await, r#"{"n": 1}"#);
    assert!(!listed(&store).await.contains(&revoked.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn m5_a_new_session_that_is_created_after_it_was_given_up_does_not_stay() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(Sluggish::about(StoreCall::Create, &store, None));
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        save_late(&session).await;
        increment(&session, "n").map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(seen(&visitor).await, r#"{"n": 2}"#);
    assert_eq!(listed(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn m5_a_new_session_whose_save_was_cancelled_is_created_once() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(store.clone());
    let faulty = store.clone();
    let reply = visitor.visit(async |session: Session| {
        session.log_in("ann")?;
        faulty.plan_for(StoreCall::Create, LATE);
        let saving = tokio::time::timeout(Duration::from_secs(1), session.save());
        assert!(saving.await.is_err());
        faulty.heal();
        increment(&session, "n").map(drop)
    });
    assert_eq!(reply.await.set_cookies().len(), 1);
    assert_eq!(seen(&visitor).await, r#"ann{"n": 1}"#);
    // What was begun first arrives, and is closed.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn m5_a_new_session_whose_save_was_late_is_there_for_the_next_save() {
    let store = FaultyStore::in_memory();
    let (visitor, _) = save_in_vain(&store, LATE, async |session| {
        increment(session, "n")?;
        session.save().await?;
        assert!(!session.is_modified() && !session.is_new());
        Ok(())
    })
    .await;
    assert_eq!(seen(&visitor).await, r#"{"n": 2}"#);
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn m5_a_new_session_whose_save_was_late_is_gone_when_it_is_destroyed() {
    let store = FaultyStore::in_memory();
    let (visitor, reply) = save_in_vain(&store, LATE, async |session| {
        session.destroy();
        Ok(())
    })
    .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(visitor.cookie(), None);
    assert!(store.inner().is_empty());
}

#[tokio::test(start_paused = true)]
async fn m5_a_new_session_whose_save_was_late_can_be_logged_in() {
    let store = FaultyStore::in_memory();
    let (visitor, reply) = save_in_vain(&store, LATE, async |session| session.log_in("ann")).await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(seen(&visitor).await, r#"ann{"n": 1}"#);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f2_a_new_session_that_the_head_could_not_store_is_not_stored_later() {
    let store = FaultyStore::in_memory();
    let mut left = None;
    let (visitor, reply) = save_in_vain(&store, Fault::Hang, async |session| {
        store.plan_for(StoreCall::Create, Fault::Hang);
        left = Some(session.clone());
        Ok(())
    })
    .await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    store.heal();
    let error = left.unwrap().save().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLate);
    assert_eq!(visitor.cookie(), None);
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn a_save_that_the_store_refused_is_not_made_again_as_it_was() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(store.clone());
    let faulty = store.clone();
    let reply = visitor.visit(async |session: Session| {
        session.insert("n", 1)?;
        faulty.plan_for(StoreCall::Create, Fault::Refuse(StoreErrorKind::Other));
        session.save().await.unwrap_err();
        faulty.heal();
        session.remove("n");
        session.insert("m", 2)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(store.calls(), [StoreCall::Create, StoreCall::Create]);
    assert_eq!(seen(&visitor).await, r#"{"m": 2}"#);
}

#[tokio::test(start_paused = true)]
async fn m5_a_create_is_known_to_have_happened_whatever_replies_are_lost() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Timeout] {
        // As bits: which of the calls lose their reply.
        for lost in 0_u32..8 {
            let store = FaultyStore::in_memory();
            let mut calls = 0;
            store.plan(move |_| {
                calls += 1;
                if lost & (1 << (calls - 1)) == 0 {
                    Fault::None
                } else {
                    Fault::LoseReply(kind)
                }
            });
            let visitor = visitor(store.clone());
            let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
            assert_eq!(reply.await.status, StatusCode::OK, "{lost:b}");
            store.heal();
            assert_eq!(seen(&visitor).await, r#"{"n": 1}"#);
            assert_eq!(store.inner().len(), 1);
        }
        // Every create, for ever.
        let store = FaultyStore::in_memory();
        store.plan_for(StoreCall::Create, Fault::LoseReply(kind));
        let visitor = visitor(store.clone());
        let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
        assert_eq!(reply.await.status, StatusCode::OK);
        assert_eq!(seen(&visitor).await, r#"{"n": 1}"#);
        assert_eq!(store.inner().len(), 1);
    }
}

#[tokio::test]
async fn m5_a_new_session_with_an_unknown_result_is_created_once() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(store.clone());
    let faulty = store.clone();
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        faulty.plan(|call| match call {
            StoreCall::Create => Fault::LoseReply(StoreErrorKind::Timeout),
            _ => Fault::Refuse(StoreErrorKind::Other),
        });
        session.save().await.unwrap_err();
        faulty.heal();
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&visitor).await, r#"{"n": 1}"#);
    assert_eq!(store.inner().len(), 1);
}

/// Loses the reply of its first create, and somebody else writes on top before it can be asked again.
struct Overtaken {
    inner: FaultyStore,
    is_lost: AtomicBool,
}

/// The version after `record`, by another writer, with n = 5.
fn on_top(record: &Record) -> Record {
    let mut object: serde_json::Value = serde_json::from_slice(&record.to_bytes()).unwrap();
    let writer = format!("{:016x}", record.version().writer);
    object["recent"] = serde_json::json!([writer]);
    object["version"] = format!("2-{:016x}", 7).into();
    object["data"]["n"] = 5.into();
    Record::from_bytes(object.to_string().as_bytes()).unwrap()
}

impl SessionStore for Overtaken {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let created = self.inner.create(id, record, activity).await;
        if self.is_lost.swap(true, Ordering::Relaxed) {
            return created;
        }
        let overtaking = Arc::new(on_top(record));
        let updated = self
            .inner
            .update(id, &overtaking, activity, Former::new(record, activity));
        assert_eq!(updated.await.unwrap(), Updated::Saved);
        Err(StoreError::new(StoreErrorKind::Unavailable, "as planned"))
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.inner.load(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        self.inner.update(id, record, activity, former).await
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.inner.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.inner.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.inner.delete_expired(before, limit).await
    }
}

#[tokio::test]
async fn m5_a_create_whose_reply_was_lost_is_recognized_under_another_write() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(Overtaken {
        inner: store.clone(),
        is_lost: AtomicBool::new(false),
    });
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        session.save().await?;
        increment(&session, "n").map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&visitor).await, r#"{"n": 6}"#);
    assert_eq!(store.inner().len(), 1);
}

/// Its first create or update arrives after six seconds, though nobody waits for it any more; other updates take two.
struct Sluggish {
    inner: FaultyStore,
    about: StoreCall,
    is_late: AtomicBool,
    /// The reply to the first, where there is one.
    reply: Option<StoreErrorKind>,
}

impl Sluggish {
    fn about(about: StoreCall, inner: &FaultyStore, reply: Option<StoreErrorKind>) -> Self {
        Self {
            inner: inner.clone(),
            about,
            is_late: AtomicBool::new(false),
            reply,
        }
    }

    fn is_late(&self, call: StoreCall) -> bool {
        call == self.about && !self.is_late.swap(true, Ordering::Relaxed)
    }

    async fn make_late<T>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
    {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(6)).await;
            call.await
        });
        match self.reply {
            Some(kind) => Err(StoreError::new(kind, "as planned")),
            None => std::future::pending().await,
        }
    }
}

impl SessionStore for Sluggish {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        if !self.is_late(StoreCall::Create) {
            return self.inner.create(id, record, activity).await;
        }
        let (inner, record) = (self.inner.clone(), Arc::clone(record));
        let create = async move { inner.create(id, &record, activity).await };
        self.make_late(create).await?
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.inner.load(id).await
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        if !self.is_late(StoreCall::Update) {
            tokio::time::sleep(Duration::from_secs(2)).await;
            return self.inner.update(id, record, activity, former).await;
        }
        let (inner, record) = (self.inner.clone(), Arc::clone(record));
        let (replaced, since) = (Arc::clone(former.record()), former.activity());
        let update = async move {
            let former = Former::new(&replaced, since);
            inner.update(id, &record, activity, former).await
        };
        self.make_late(update).await?
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        self.inner.touch(id, former, activity).await
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.inner.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.inner.delete_expired(before, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn m5_a_save_that_arrives_after_its_deadline_is_counted_once() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(Sluggish::about(StoreCall::Update, &store, None));
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        save_late(&session).await;
        increment(&session, "m").map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&visitor).await, r#"{"m": 1, "n": 2}"#);
}

#[tokio::test(start_paused = true)]
async fn m5_a_save_that_arrives_after_it_was_refused_is_counted_once() {
    let store = FaultyStore::in_memory();
    let reply = Some(StoreErrorKind::Timeout);
    let visitor = visitor(Sluggish::about(StoreCall::Update, &store, reply));
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        store.plan_for(StoreCall::Update, Fault::Refuse(StoreErrorKind::Other));
        session.save().await.unwrap_err();
        store.heal();
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(seen(&visitor).await, r#"{"n": 2}"#);
}

/// A cycle whose marker is under way for six seconds, in a request that is dropped after `limit`.
async fn cycle_slowly(limit: Duration) -> (FaultyStore, Visitor) {
    let store = FaultyStore::in_memory();
    let visitor = visitor(Sluggish::about(StoreCall::Update, &store, None));
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
    let twin = visitor.twin();
    let cycling = twin.visit(async |session: Session| session.cycle_id());
    if let Ok(reply) = tokio::time::timeout(limit, cycling).await {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    (store, visitor)
}

#[tokio::test(start_paused = true)]
async fn m6_the_marker_of_a_cycle_that_was_dropped_takes_no_session_away_when_it_arrives() {
    let (store, visitor) = cycle_slowly(Duration::from_secs(1)).await;
    assert_eq!(seen(&visitor).await, r#"{"n": 1}"#);
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn m6_a_cycle_whose_marker_arrives_after_all_has_moved_the_session() {
    let (store, visitor) = cycle_slowly(Duration::from_secs(10)).await;
    assert_eq!(seen(&visitor).await, "{}");
    assert_eq!(listed(&store).await.len(), 1);
    assert_eq!(store.inner().len(), 1);
}
