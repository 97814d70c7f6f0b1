//! The sessions of one shard: [`Table`]. Pure: no lock, no clock, no bound.

use std::sync::Arc;

use hashbrown::HashTable;

use super::{
    heap::LazyHeap,
    stamp::{Stamp, Ticks, Tier},
};
use crate::{Activity, Record, SessionId, Timestamp, record::Kept};

/// A session in its place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: SessionId,
    pub(super) record: Arc<Record>,
    last_seen_at: Timestamp,
    /// Milliseconds; [`NEVER`] where there is no deadline.
    expires_at: u64,
    stamp: Stamp,
}

/// Later than every [`Timestamp`].
const NEVER: u64 = u64::MAX;

fn expiry(activity: Activity) -> u64 {
    activity.expires_at.map_or(NEVER, Timestamp::as_millis)
}

impl Slot {
    pub(super) fn activity(&self) -> Activity {
        Activity {
            last_seen_at: self.last_seen_at,
            expires_at: (self.expires_at != NEVER).then(|| Timestamp::from_millis(self.expires_at)),
        }
    }

    fn tag(&self) -> u64 {
        tag(self.id)
    }
}

/// What the table hashes by and the heaps remember: the id's 128 bits folded to 64.
///
/// Ids are random and made by this crate alone, so nobody can aim at a
/// collision; if two ever met, one would merely outstay its deadline unseen.
pub(super) fn tag(id: SessionId) -> u64 {
    let bits = u128::from_ne_bytes(*id.as_bytes());
    (bits >> 64) as u64 ^ bits as u64
}

fn tier_when_used(record: &Record) -> Tier {
    if record.is_moved() {
        Tier::New
    } else if record.user().is_some() {
        Tier::User
    } else {
        Tier::Seen
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    slots: HashTable<Slot>,
    by_use: LazyHeap,
    by_expiry: LazyHeap,
}

impl Table {
    pub(super) fn get(&self, id: SessionId) -> Option<&Slot> {
        self.slots.find(tag(id), |slot| slot.id == id)
    }

    fn get_mut(&mut self, id: SessionId) -> Option<&mut Slot> {
        self.slots.find_mut(tag(id), |slot| slot.id == id)
    }

    /// What is kept under `id`, now used. One atomic store: a shared lock is enough.
    pub(super) fn read(&self, id: SessionId, ticks: &Ticks) -> Option<Kept> {
        let slot = self.get(id)?;
        slot.stamp.store(tier_when_used(&slot.record), ticks.next());
        Some((Arc::clone(&slot.record), slot.activity()))
    }

    /// Puts in what is not there yet.
    pub(super) fn insert(
        &mut self,
        id: SessionId,
        record: Arc<Record>,
        activity: Activity,
        ticks: &Ticks,
    ) {
        let tier = match tier_when_used(&record) {
            Tier::User => Tier::User,
            Tier::New | Tier::Seen => Tier::New,
        };
        let slot = Slot {
            id,
            record,
            last_seen_at: activity.last_seen_at,
            expires_at: expiry(activity),
            stamp: Stamp::new(tier, ticks.next()),
        };
        self.by_use.push(slot.stamp.key(), slot.tag());
        if slot.expires_at != NEVER {
            self.by_expiry.push(slot.expires_at, slot.tag());
        }
        self.slots.insert_unique(slot.tag(), slot, Slot::tag);
        self.tidy();
    }

    /// Replaces the record of a session that is there; the former record.
    pub(super) fn replace(
        &mut self,
        id: SessionId,
        record: Arc<Record>,
        activity: Activity,
        ticks: &Ticks,
    ) -> Option<Arc<Record>> {
        let slot = self.get_mut(id)?;
        let former_use = slot.stamp.key();
        slot.stamp.store(tier_when_used(&record), ticks.next());
        let (new_use, tag) = (slot.stamp.key(), slot.tag());
        let former = std::mem::replace(&mut slot.record, record);
        slot.last_seen_at = activity.last_seen_at;
        let former_expiry = std::mem::replace(&mut slot.expires_at, expiry(activity));
        if new_use < former_use {
            self.by_use.push(new_use, tag);
        }
        if expiry(activity) < former_expiry {
            self.by_expiry.push(expiry(activity), tag);
        }
        self.tidy();
        Some(former)
    }

    /// Moves the activity of a session that is there forward, each time by itself.
    pub(super) fn advance(&mut self, id: SessionId, activity: Activity, ticks: &Ticks) {
        if let Some(slot) = self.get_mut(id) {
            slot.last_seen_at = slot.last_seen_at.max(activity.last_seen_at);
            slot.expires_at = slot.expires_at.max(expiry(activity));
            slot.stamp.store(tier_when_used(&slot.record), ticks.next());
        }
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Slot> {
        self.take(tag(id), |slot| slot.id == id)
    }

    /// Takes out what has the lowest tier, and of that the least recently used, but not `spared`.
    pub(super) fn remove_least(&mut self, spared: Option<SessionId>) -> Option<Slot> {
        let slots = &self.slots;
        let spared = spared.map(tag);
        let least = self.by_use.pop_least(u64::MAX, |tag| {
            let slot = slots.find(tag, |slot| slot.tag() == tag)?;
            (spared != Some(tag)).then(|| slot.stamp.key())
        });
        if let Some(spared) = spared
            && let Some(slot) = slots.find(spared, |slot| slot.tag() == spared)
        {
            // It may have been at the top: back with it.
            self.by_use.push(slot.stamp.key(), spared);
        }
        self.take(least?, |_| true)
    }

    /// Takes out one whose deadline is at or before `before`.
    pub(super) fn remove_expired(&mut self, before: Timestamp) -> Option<Slot> {
        let slots = &self.slots;
        let tag = self.by_expiry.pop_least(before.as_millis(), |tag| {
            Some(slots.find(tag, |slot| slot.tag() == tag)?.expires_at)
        })?;
        self.take(tag, |_| true)
    }

    fn take(&mut self, tag: u64, is_it: impl Fn(&Slot) -> bool) -> Option<Slot> {
        let entry = self
            .slots
            .find_entry(tag, |slot| slot.tag() == tag && is_it(slot))
            .ok()?;
        let (slot, _) = entry.remove();
        self.tidy();
        Some(slot)
    }

    /// Gives back room after a spike, and clears the heaps of leftovers.
    fn tidy(&mut self) {
        const SPARE: usize = 64;
        let live = self.slots.len();
        if self.slots.capacity() > 4 * live + SPARE {
            self.slots.shrink_to(2 * live, Slot::tag);
        }
        let slots = &self.slots;
        self.by_use.trim(live, || {
            slots.iter().map(|slot| (slot.stamp.key(), slot.tag()))
        });
        self.by_expiry.trim(live, || {
            let mortal = slots.iter().filter(|slot| slot.expires_at != NEVER);
            mortal.map(|slot| (slot.expires_at, slot.tag()))
        });
    }

    /// That each session is in both heaps, by a lower bound of its key.
    #[cfg(test)]
    fn validate(&self) {
        for slot in &self.slots {
            let bound = |heap: &LazyHeap| {
                heap.iter()
                    .filter(|(_, tag)| *tag == slot.tag())
                    .map(|(key, _)| key)
                    .min()
            };
            assert!(bound(&self.by_use).unwrap() <= slot.stamp.key());
            if slot.expires_at != NEVER {
                assert!(bound(&self.by_expiry).unwrap() <= slot.expires_at);
            }
        }
    }
}
