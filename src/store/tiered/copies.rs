//! The copies in memory, and whether each may answer a load: [`Copies`].

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::flight::{Asked, Flight};
use crate::{
    clock::Timestamp,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::{Created, MemoryStore, Touched, Updated},
};

/// The memory store, and the state of its copies that it does not keep.
pub(super) struct Copies {
    front: MemoryStore,
    // Held while the memory store is read or changed, so that both agree. Never held across an await.
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    places: HashMap<SessionId, Place>,
    /// When there are this many places, the places without a copy are removed.
    tidy_at: usize,
}

/// A session that has a copy, or a call in progress.
#[derive(Default)]
struct Place {
    /// How many calls are in progress.
    calls: u32,
    /// How many writes have ended while calls were in progress.
    writes: u64,
    /// When the backend was asked for the copy. `None` if the copy must not answer a load.
    asked_at: Option<Instant>,
    flight: Weak<Flight>,
}

/// The result of looking for a copy.
pub(super) enum Found<'a> {
    Copy(Kept),
    /// A load of the backend, to wait for or to make.
    Flight(Arc<Flight>, Call<'a>),
}

/// A call to the backend in progress.
pub(super) struct Call<'a> {
    copies: &'a Copies,
    id: SessionId,
    pub(super) asked: Asked,
}

/// A write to the backend in progress. If it ends without a known result, the copy is removed.
pub(super) struct Write<'a> {
    call: Call<'a>,
    is_known: bool,
}

impl Copies {
    pub(super) fn new(front: MemoryStore) -> Self {
        Self {
            front,
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, id: SessionId) -> &Mutex<Shard> {
        // Not by bits of the id, because all ids of a shard would have them in common.
        let hash = self.hasher.hash_one(id);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    /// A copy that is fresh enough, or else a load that began late enough, or a new one.
    pub(super) fn find(&self, id: SessionId, max_staleness: Duration) -> Found<'_> {
        let mut shard = self.shard(id).lock();
        let place = shard.place(id, &self.front);
        let asked = Asked {
            at: Instant::now(),
            writes: place.writes,
        };
        if let Some(at) = place.asked_at
            && (Asked { at, ..asked }).is_fresh(asked.at, max_staleness)
            && let Some(kept) = self.front.inner().load(id)
        {
            return Found::Copy(kept);
        }
        let joined = place.flight.upgrade().filter(|flight| {
            flight.asked.writes == place.writes
                && flight.asked.is_fresh(asked.at, max_staleness)
                && !flight.has_landed()
        });
        let flight = joined.unwrap_or_else(|| {
            let flight = Arc::new(Flight::new(asked));
            place.flight = Arc::downgrade(&flight);
            flight
        });
        place.calls += 1;
        let call = Call {
            copies: self,
            id,
            asked,
        };
        Found::Flight(flight, call)
    }

    pub(super) fn call(&self, id: SessionId) -> Call<'_> {
        let mut shard = self.shard(id).lock();
        let place = shard.place(id, &self.front);
        place.calls += 1;
        Call {
            copies: self,
            id,
            asked: Asked {
                at: Instant::now(),
                writes: place.writes,
            },
        }
    }

    pub(super) fn write(&self, id: SessionId) -> Write<'_> {
        Write {
            call: self.call(id),
            is_known: false,
        }
    }

    pub(super) fn delete_expired(&self, before: Timestamp, limit: usize) {
        survive(|| self.front.inner().delete_expired(before, limit));
    }

    /// Stores a copy. Returns whether that worked.
    fn put(&self, id: SessionId, record: &Arc<Record>, activity: Activity) -> bool {
        let inner = self.front.inner();
        let put = survive(|| match inner.version(id) {
            None => inner.create(id, record, activity).ok() == Some(Created::Yes),
            Some(former) => inner.update(id, record, activity, former).ok() == Some(Updated::Saved),
        });
        put == Some(true)
    }
}

/// Runs `act`, and catches a panic: the memory store may evict a session, and a listener may panic.
fn survive<T>(act: impl FnOnce() -> T) -> Option<T> {
    // The memory store holds no lock at that time, and nothing here is half done.
    catch_unwind(AssertUnwindSafe(act)).ok()
}

impl Shard {
    fn place(&mut self, id: SessionId, front: &MemoryStore) -> &mut Place {
        if self.places.len() >= self.tidy_at {
            self.places
                .retain(|id, place| place.calls > 0 || front.inner().version(*id).is_some());
            self.places.shrink_to(2 * self.places.len());
            self.tidy_at = 2 * self.places.len() + 16;
        }
        self.places.entry(id).or_default()
    }
}

impl Call<'_> {
    /// Stores the backend's answer to this load, or to one that it waited for.
    ///
    /// Does nothing if a write has ended since, because the answer may be older.
    pub(super) fn learned(&self, asked: Asked, kept: Option<&Kept>) {
        self.change(|place, copies| {
            if place.writes != asked.writes {
                return;
            }
            let Some((record, activity)) = kept else {
                place.asked_at = None;
                return;
            };
            let former = copies.front.inner().version(self.id);
            place.asked_at = match former {
                // Either the answer is late, or the backend has lost a write. The next load asks again.
                Some(former) if former.counter > record.version().counter => None,
                // A later activity stays.
                Some(former) if former == record.version() => {
                    copies.front.inner().touch(self.id, former, *activity);
                    place.asked_at.max(Some(asked.at))
                }
                _ => (copies.put(self.id, record, *activity)).then_some(asked.at),
            };
        });
    }

    /// Runs `change`, and removes the copy if it must not answer a load afterwards.
    fn change(&self, change: impl FnOnce(&mut Place, &Copies)) {
        let mut shard = self.copies.shard(self.id).lock();
        let place = shard.place(self.id, &self.copies.front);
        change(place, self.copies);
        if place.asked_at.is_none() {
            self.copies.front.inner().delete(self.id);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut shard = self.copies.shard(self.id).lock();
        if let Some(place) = shard.places.get_mut(&self.id) {
            place.calls -= 1;
            if place.calls == 0 && place.asked_at.is_none() {
                shard.places.remove(&self.id);
            }
        }
    }
}

impl Write<'_> {
    /// Stores the record that the backend has saved.
    ///
    /// If another write has ended meanwhile, this only replaces an older copy: if there is no copy, the other write may
    /// have been a delete.
    pub(super) fn saved(mut self, record: &Arc<Record>, activity: Activity) {
        self.is_known = true;
        let Call { id, asked, .. } = self.call;
        self.call.change(|place, copies| {
            let is_first = place.writes == asked.writes;
            place.writes += 1;
            let is_next = match copies.front.inner().version(id) {
                None => is_first,
                Some(former) => former.counter < record.version().counter,
            };
            if is_next {
                place.asked_at = copies.put(id, record, activity).then_some(asked.at);
            }
        });
    }

    /// Stores the activity that the backend has written for this version.
    pub(super) fn touched(mut self, version: Version, activity: Activity) {
        self.is_known = true;
        let Call { id, .. } = self.call;
        self.call.change(|place, copies| {
            place.writes += 1;
            if copies.front.inner().touch(id, version, activity) != Touched::Yes {
                place.asked_at = None;
            }
        });
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.call.change(|place, _| {
                place.writes += 1;
                place.asked_at = None;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::record::token::Verifier;

    #[test]
    fn what_is_known_of_evicted_copies_is_forgotten() {
        let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
        let record = Arc::new(Record::new(verifier, Version::first(7), Timestamp::EPOCH));
        let activity = Activity {
            last_seen_at: Timestamp::EPOCH,
            expires_at: None,
        };
        let copies = Copies::new(MemoryStore::builder().max_sessions(1_000).build());
        for number in 0..50_000 {
            let id = Uuid::from_u128(number << 40).into();
            copies.write(id).saved(&record, activity);
        }
        assert_eq!(copies.front.len(), 1_000);
        let known = || copies.shards.iter().map(|shard| shard.lock().places.len());
        assert!(known().sum::<usize>() <= 3 * 1_000 + 17 * SHARDS);
        for number in 0..50_000 {
            drop(copies.write(Uuid::from_u128(number << 40).into()));
        }
        assert_eq!(known().sum::<usize>(), 0);
    }
}
