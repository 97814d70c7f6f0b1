//! Cloakroom's stores as a [`Subject`].

use std::{hint::black_box, sync::Arc, time::Duration};

use cloakroom::{
    Activity, Record, SessionId, SessionStore, Timestamp,
    store::{Created, Former, Touched, Updated},
};
use uuid::Uuid;

use super::{Payload, round::Subject};

const HOUR: Duration = Duration::from_secs(3600);

pub struct Ours<S> {
    store: S,
    records: [Arc<Record>; 2],
}

pub struct Session {
    id: SessionId,
    writes: usize,
    seen: Timestamp,
}

impl<S: SessionStore> Ours<S> {
    pub fn new(store: S, payload: Payload) -> Self {
        let records = [1, 2].map(|version| {
            let verifier = "A".repeat(43);
            let value = payload.value(version);
            let json = format!(
                r#"{{"format":1,"version":"{version}-0000000000000001","verifier":"{verifier}","created_at":0,"data":{{"n":{value}}}}}"#
            );
            Arc::new(Record::from_bytes(json.as_bytes()).expect("a record"))
        });
        Self { store, records }
    }

    fn record(&self, session: &Session) -> &Arc<Record> {
        &self.records[session.writes % 2]
    }
}

fn activity(session: &Session) -> Activity {
    Activity {
        last_seen_at: session.seen,
        expires_at: Some(session.seen.saturating_add(HOUR)),
    }
}

impl<S: SessionStore> Subject for Ours<S> {
    type Session = Session;
    type Id = SessionId;

    fn session(&self) -> Session {
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .as_millis();
        Session {
            id: Uuid::nil().into(),
            writes: 0,
            seen: Timestamp::from_millis(now as u64),
        }
    }

    async fn create(&self, session: &mut Session) -> SessionId {
        session.id = Uuid::new_v4().into();
        let record = self.record(session);
        let created = self.store.create(session.id, record, activity(session));
        assert_eq!(created.await.expect("an answer"), Created::Yes);
        session.id
    }

    async fn load(&self, session: &Session) {
        let found = self.store.load(session.id).await.expect("an answer");
        assert!(black_box(found).is_some());
    }

    async fn update(&self, session: &mut Session) {
        let former = Former::new(self.record(session), activity(session));
        session.writes += 1;
        let record = self.record(session);
        let updated = self
            .store
            .update(session.id, record, activity(session), former);
        assert_eq!(updated.await.expect("an answer"), Updated::Saved);
    }

    async fn touch(&self, session: &mut Session) {
        let former = Former::new(self.record(session), activity(session));
        session.seen = session.seen.saturating_add(Duration::from_secs(1));
        let touched = self.store.touch(session.id, former, activity(session));
        assert_eq!(touched.await.expect("an answer"), Touched::Yes);
    }

    async fn delete(&self, id: SessionId) {
        self.store.delete(id).await.expect("an answer");
    }
}
