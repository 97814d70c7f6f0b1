//! The stores of tower-sessions as a [`Subject`].

use std::{collections::HashMap, hint::black_box};

use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};

use super::{Payload, round::Subject};

pub struct Peer<S> {
    store: S,
    payload: Payload,
}

pub struct Session {
    records: [Record; 2],
    writes: usize,
}

impl<S: SessionStore> Peer<S> {
    pub fn new(store: S, payload: Payload) -> Self {
        Self { store, payload }
    }
}

impl<S: SessionStore> Subject for Peer<S> {
    type Session = Session;
    type Id = Id;

    fn session(&self) -> Session {
        let records = [1, 2].map(|version| Record {
            id: Id::default(),
            data: HashMap::from([("n".to_owned(), self.payload.value(version))]),
            expiry_date: OffsetDateTime::now_utc() + Duration::HOUR,
        });
        Session { records, writes: 0 }
    }

    async fn create(&self, session: &mut Session) -> Id {
        let id = Id::default();
        let [first, second] = &mut session.records;
        (first.id, second.id) = (id, id);
        self.store.create(first).await.expect("an answer");
        assert_eq!(first.id, id);
        id
    }

    async fn load(&self, session: &Session) {
        let found = self.store.load(&session.records[0].id).await;
        assert!(black_box(found.expect("an answer")).is_some());
    }

    async fn update(&self, session: &mut Session) {
        session.writes += 1;
        let record = &session.records[session.writes % 2];
        self.store.save(record).await.expect("an answer");
    }

    async fn touch(&self, session: &mut Session) {
        let record = &mut session.records[session.writes % 2];
        record.expiry_date += Duration::SECOND;
        self.store.save(record).await.expect("an answer");
    }

    async fn delete(&self, id: Id) {
        self.store.delete(&id).await.expect("an answer");
    }
}
