//! The markers of sessions that ended or moved, in a store that is full.

use std::{sync::Arc, time::Duration};

use cloakroom::{
    Activity, MemoryStore, Record, Session, SessionId, SessionLayer, SessionStore, Timestamp,
    Version,
    store::{Created, StoreErrorKind, Updated, WhenFull},
};
use futures::FutureExt;
use serde_json::json;
use uuid::Uuid;

use crate::support::{FixedClock, Visitor, former};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const MINUTE: Duration = Duration::from_secs(60);

fn id(number: u128) -> SessionId {
    Uuid::from_u128(number).into()
}

fn record(counter: u64, more: serde_json::Value) -> Arc<Record> {
    let mut fields = json!({
        "format": 1,
        "version": Version { counter, writer: 7 }.to_string(),
        "verifier": "A".repeat(43),
        "created_at": 0,
        "data": {},
    });
    let object = fields.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    Arc::new(Record::from_bytes(fields.to_string().as_bytes()).unwrap())
}

/// The calls of a request that is made so long after [`NOW`].
struct At<'a>(&'a MemoryStore, Duration);

impl At<'_> {
    fn activity(&self) -> Activity {
        let last_seen_at = NOW.saturating_add(self.1);
        Activity {
            last_seen_at,
            expires_at: Some(last_seen_at.saturating_add(30 * MINUTE)),
        }
    }

    fn log_in(&self, session: u128) -> Result<Created, StoreErrorKind> {
        let user = record(1, json!({ "user": "ann", "authenticated_at": 0 }));
        let created = self.0.create(id(session), &user, self.activity());
        created
            .now_or_never()
            .unwrap()
            .map_err(|error| error.kind())
    }

    /// The session ends, and leaves a marker. `Missing` if it was evicted.
    fn end(&self, session: u128) -> Updated {
        let moved_at = NOW.saturating_add(self.1).as_millis();
        let marker = record(2, json!({ "moved_at": moved_at }));
        let first = record(1, json!({}));
        let updated = self.0.update(
            id(session),
            &marker,
            self.activity(),
            former(first.version()),
        );
        updated.now_or_never().unwrap().unwrap()
    }

    fn has(&self, session: u128) -> bool {
        let loaded = self.0.load(id(session)).now_or_never().unwrap();
        loaded.unwrap().is_some()
    }

    fn count(&self, sessions: std::ops::Range<u128>) -> usize {
        sessions.filter(|session| self.has(*session)).count()
    }
}

fn full_of_sessions(when_full: WhenFull) -> MemoryStore {
    let store = MemoryStore::builder()
        .max_sessions(16)
        .when_full(when_full)
        .build();
    let now = At(&store, Duration::ZERO);
    for session in 0..16 {
        assert_eq!(now.log_in(session), Ok(Created::Yes));
    }
    store
}

#[test]
fn m10_a_marker_is_evicted_last_within_its_minute_and_first_afterwards() {
    let store = full_of_sessions(WhenFull::Evict);
    for session in [3, 4] {
        assert_eq!(At(&store, Duration::ZERO).end(session), Updated::Saved);
    }
    let within = At(&store, MINUTE - Duration::from_millis(1));
    for newcomer in 100..130 {
        assert_eq!(within.log_in(newcomer), Ok(Created::Yes));
        assert!(within.has(3) && within.has(4));
    }
    assert_eq!(within.count(0..16), 2);
    assert_eq!(within.count(116..130), 14);
    let after = At(&store, MINUTE);
    after.log_in(200).unwrap();
    after.log_in(201).unwrap();
    assert!(!after.has(3) && !after.has(4));
    assert_eq!(after.count(116..130), 14);
}

#[test]
fn m10_markers_beyond_an_eighth_of_the_room_are_evicted_first() {
    let store = full_of_sessions(WhenFull::Evict);
    let now = At(&store, Duration::ZERO);
    for session in 0..16 {
        assert_eq!(now.end(session), Updated::Saved);
    }
    assert_eq!(store.len(), 0);
    for newcomer in 100..114 {
        assert_eq!(now.log_in(newcomer), Ok(Created::Yes));
    }
    // The latest two stay.
    assert_eq!(now.count(0..14), 0);
    assert!(now.has(14) && now.has(15));
    assert_eq!(now.count(100..114), 14);
    now.log_in(114).unwrap();
    assert!(now.has(14) && now.has(15));
    assert_eq!(now.count(100..115), 14);
}

#[test]
fn m10_a_share_of_bytes_bounds_markers_too() {
    let store = MemoryStore::builder().max_bytes(200_000).build();
    let now = At(&store, Duration::ZERO);
    let mut sessions = 0;
    while store.len() == sessions as usize {
        now.log_in(sessions).unwrap();
        sessions += 1;
    }
    for session in 1..sessions {
        // A marker may be larger than what it replaces, and so take the room of another.
        let _ = now.end(session);
    }
    for newcomer in 0..sessions {
        now.log_in(1_000_000 + newcomer).unwrap();
    }
    let left = now.count(0..sessions);
    let share = sessions as usize / 8;
    assert!(
        (share / 2..=share + 1).contains(&left),
        "{left} of {sessions}"
    );
}

#[test]
fn a_store_that_refuses_newcomers_lets_them_take_the_room_of_markers() {
    let store = full_of_sessions(WhenFull::Refuse);
    let now = At(&store, Duration::ZERO);
    assert_eq!(now.log_in(100), Err(StoreErrorKind::Full));
    for session in 0..8 {
        assert_eq!(now.end(session), Updated::Saved);
    }
    // What counts towards `max_sessions` and not in `len`.
    assert_eq!(store.len(), 8);
    for newcomer in 100..106 {
        assert_eq!(now.log_in(newcomer), Ok(Created::Yes));
    }
    assert_eq!(now.log_in(106), Err(StoreErrorKind::Full));
    assert!(now.has(6) && now.has(7));
    let after = At(&store, MINUTE);
    assert_eq!(after.log_in(106), Ok(Created::Yes));
    assert_eq!(after.log_in(107), Ok(Created::Yes));
    assert_eq!(after.log_in(108), Err(StoreErrorKind::Full));
    assert_eq!(store.len(), 16);
}

#[tokio::test]
async fn m10_a_late_request_with_a_full_store_sets_no_cookie() {
    let store = MemoryStore::builder().max_sessions(16).build();
    let layer = SessionLayer::new(store).clock(FixedClock::default());
    let insert = |session: Session| async move { session.insert("n", 1) };
    let ann = Visitor::new(&layer);
    ann.visit(insert).await;
    let straggler = ann.twin();
    ann.visit(|session| async move { session.cycle_id() }).await;
    for _ in 0..40 {
        let other = Visitor::new(&layer);
        other
            .visit(|session| async move { session.log_in("bob") })
            .await;
    }
    let reply = straggler.visit(insert).await;
    assert_eq!(reply.set_cookies().len(), 0);
}
