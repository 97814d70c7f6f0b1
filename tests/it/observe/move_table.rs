//! What is remembered of moves, so that each session's end is told once, does not grow with their number.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use allocation_counter::measure;
use cloakroom::{
    Activity, Record, SessionId, SessionLayer, SessionStore, StoreError, Timestamp,
    store::{Created, Former, Reaped, Touched, Updated},
};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::runtime::Builder;

use crate::support::{
    FixedClock, Recorder, Visitor,
    acts::{cycle, holding, id, log_in},
    fixture::{MINUTE, SECOND},
};

const MOVES: i64 = 2000;

/// A store that holds its sessions and nothing beside them.
#[derive(Clone, Default)]
struct PlainStore(Arc<Mutex<HashMap<SessionId, Entry>>>);

type Entry = (Arc<Record>, Activity);

impl SessionStore for PlainStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        Ok(match self.0.lock().entry(id) {
            hash_map::Entry::Occupied(_) => Created::Exists,
            hash_map::Entry::Vacant(place) => {
                place.insert((Arc::clone(record), activity));
                Created::Yes
            }
        })
    }

    async fn load(&self, id: SessionId) -> Result<Option<Entry>, StoreError> {
        Ok(self.0.lock().get(&id).cloned())
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        Ok(match self.0.lock().get_mut(&id) {
            None => Updated::Missing,
            Some((kept, _)) if kept.version() != former.version() => Updated::Conflict,
            Some(kept) => {
                *kept = (Arc::clone(record), activity);
                Updated::Saved
            }
        })
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        Ok(match self.0.lock().get_mut(&id) {
            None => Touched::Missing,
            Some((kept, _)) if kept.version() != former.version() => Touched::Stale,
            Some((_, kept)) => {
                *kept = activity;
                Touched::Yes
            }
        })
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        Ok(self.0.lock().remove(&id).is_some())
    }

    async fn delete_expired(&self, _: Timestamp, _: usize) -> Result<Reaped, StoreError> {
        Ok(Reaped::default())
    }
}

/// How many bytes more are held after so many moves of one session. The store keeps none of their markers.
fn held_after_moves(logs_in: bool, pass: impl Fn(&FixedClock)) -> i64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (clock, recorder) = (FixedClock::default(), Recorder::default());
    let store = PlainStore::default();
    let layer = SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(None)
        .absolute_timeout(None)
        .on_event(recorder.clone());
    let visitor: Visitor = runtime.block_on(holding(&layer, [("n", 1)]));
    let moves = |count: i64| {
        for _ in 0..count {
            pass(&clock);
            let old = id(&visitor);
            let reply = if logs_in {
                runtime.block_on(log_in(&visitor, "ann"))
            } else {
                runtime.block_on(cycle(&visitor))
            };
            assert_eq!(reply.status, StatusCode::OK);
            runtime.block_on(store.delete(old)).unwrap();
            recorder.events();
        }
    };
    // What is made once is made.
    moves(100);
    measure(|| moves(MOVES)).bytes_current
}

#[test]
fn what_is_remembered_of_moves_is_bounded_however_the_clock_goes() {
    type Pass = fn(&FixedClock);
    let clocks: [(&str, Pass); 4] = [
        // Nothing else grows with the moves: by now all that came before is forgotten.
        ("runs", |clock| clock.advance(12 * MINUTE)),
        ("stands still", |_| ()),
        ("goes on", |clock| clock.advance(SECOND / 10)),
        ("was set back", |clock| {
            clock.go_back(MINUTE);
            clock.advance(MINUTE - SECOND / 1000);
        }),
    ];
    for (how, pass) in clocks {
        for logs_in in [true, false] {
            let held = held_after_moves(logs_in, pass);
            assert!(
                held < 20 * MOVES,
                "logs in: {logs_in}, the clock {how}: {held} bytes after {MOVES} moves"
            );
        }
    }
}
