//! The sessions of one shard: [`Table`]. It has no lock of its own, no clock and no bound.

use std::{mem, sync::Arc};

use hashbrown::HashTable;

use super::{
    eviction::{Stamp, Ticks, Tier},
    heap::LazyHeap,
    users::Users,
};
use crate::{
    clock::Timestamp,
    record::{Activity, Kept, Record, token::SessionId, version::Version},
    store::Touched,
};

/// A session in its place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: SessionId,
    pub(super) record: Arc<Record>,
    last_seen_at: Timestamp,
    /// In milliseconds. [`NEVER`] if there is no deadline.
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

    /// When it was made, if it is a protected marker.
    fn made_at(&self) -> Option<u64> {
        let moved_at = self.record.moved_at().filter(|_| self.stamp.is_marker())?;
        Some(moved_at.as_millis())
    }

    fn use_again(&self, ticks: &Ticks) {
        let tier = match tier_when_used(&self.record) {
            // One that has lost its protection does not get it back.
            Tier::Marker if !self.stamp.is_marker() => Tier::New,
            tier => tier,
        };
        self.stamp.use_again(tier, ticks);
    }

    /// The key of eviction: tier and last use.
    pub(super) fn last_use(&self) -> u64 {
        self.stamp.key()
    }

    fn tag(&self) -> u64 {
        tag(self.id)
    }
}

/// The hash of an id, for the table and the heaps: its 128 bits folded to 64.
///
/// Ids are random and drawn by this crate, so nobody can choose colliding ones. If two ids had the same tag, one of
/// them might be reaped too late. One half is rotated, so that the bits which all ids have in common, and the first
/// bytes, which the ids of a shard have in common, are combined with random bits.
pub(super) fn tag(id: SessionId) -> u64 {
    let bits = u128::from_le_bytes(*id.as_bytes());
    ((bits >> 64) as u64).rotate_left(16) ^ bits as u64
}

fn tier_when_used(record: &Record) -> Tier {
    if record.is_moved() {
        Tier::Marker
    } else if record.user().is_some() {
        Tier::User
    } else {
        Tier::Seen
    }
}

/// The result of [`Table::replace`].
pub(super) enum Replaced {
    Yes(Arc<Record>),
    Missing,
    Conflict,
    Full,
}

// In this order, what a read needs is in the first cache line of a shard.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Table {
    slots: HashTable<Slot>,
    ticks: Ticks,
    /// All sessions except those in `markers`.
    by_use: LazyHeap,
    by_expiry: LazyHeap,
    /// The protected markers, by the time when they were made.
    markers: LazyHeap,
    /// How many protected markers there are.
    marked: usize,
    /// The index of users of all tables. It is changed together with the slots.
    users: Arc<Users>,
    rebuilds: u64,
}

/// The true entries of `Table::by_use`.
fn uses(slots: &HashTable<Slot>) -> impl Iterator<Item = (u64, u64)> {
    let sessions = slots.iter().filter(|slot| !slot.stamp.is_marker());
    sessions.map(|slot| (slot.stamp.key(), slot.tag()))
}

/// Those of `Table::by_expiry`.
fn deadlines(slots: &HashTable<Slot>) -> impl Iterator<Item = (u64, u64)> {
    let mortal = slots.iter().filter(|slot| slot.expires_at != NEVER);
    mortal.map(|slot| (slot.expires_at, slot.tag()))
}

/// Those of `Table::markers`.
fn marks(slots: &HashTable<Slot>) -> impl Iterator<Item = (u64, u64)> {
    let made_at = |slot: &Slot| Some((slot.made_at()?, slot.tag()));
    slots.iter().filter_map(made_at)
}

/// Buckets of a table beyond 18/7 of its sessions.
const SPARE: usize = 16;

impl Table {
    /// The bytes of a session beside its record, at most: its slot in a table that has just grown, and its entries in
    /// two heaps that have just grown, with outdated entries.
    pub(super) const PLACE_BYTES: usize =
        (size_of::<Slot>() + 1) * 18 / 7 + 2 * size_of::<(u64, u64)>() * 13 / 8;

    /// The bytes of its allocations beyond that, at most.
    pub(super) const SPARE_BYTES: usize = {
        // The control bytes of one more group, and the allocator's overhead.
        const GROUP: usize = 16;
        const BLOCK: usize = 2 * size_of::<usize>();
        SPARE * (size_of::<Slot>() + 1) + GROUP + 3 * LazyHeap::SPARE_BYTES + 4 * BLOCK
    };

    pub(super) fn new(users: &Arc<Users>) -> Self {
        Self {
            users: Arc::clone(users),
            ..Self::default()
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Slot> {
        self.slots.find(tag(id), |slot| slot.id == id)
    }

    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The sessions in `count` places, from `place` on. `None` if the table was rebuilt since it had so many
    /// `rebuilds`, so that sessions have other places.
    pub(super) fn slots_from(
        &self,
        place: usize,
        count: usize,
        rebuilds: u64,
    ) -> Option<impl Iterator<Item = &Slot>> {
        let end = place.saturating_add(count).min(self.places());
        let slots = (place..end).filter_map(|place| self.slots.get_bucket(place));
        (rebuilds == self.rebuilds).then_some(slots)
    }

    pub(super) fn places(&self) -> usize {
        self.slots.num_buckets()
    }

    /// How often the table was rebuilt.
    pub(super) fn rebuilds(&self) -> u64 {
        self.rebuilds
    }

    /// The record under `id`. Counts as a use, by one atomic store, so that a shared lock is enough.
    pub(super) fn read(&self, id: SessionId) -> Option<Kept> {
        let slot = self.get(id)?;
        slot.use_again(&self.ticks);
        Some((Arc::clone(&slot.record), slot.activity()))
    }

    /// Inserts a session if the id is free.
    pub(super) fn insert(&mut self, id: SessionId, record: Arc<Record>, activity: Activity) {
        let tier = match tier_when_used(&record) {
            tier @ (Tier::User | Tier::Marker) => tier,
            Tier::New | Tier::Seen => Tier::New,
        };
        let slot = Slot {
            id,
            record,
            last_seen_at: activity.last_seen_at,
            expires_at: expiry(activity),
            stamp: Stamp::new(tier, self.ticks.next_alone()),
        };
        match slot.made_at() {
            Some(made_at) => {
                self.marked += 1;
                self.markers.push(made_at, slot.tag());
            }
            None => self.by_use.push(slot.stamp.key(), slot.tag()),
        }
        if slot.expires_at != NEVER {
            self.by_expiry.push(slot.expires_at, slot.tag());
        }
        if self.slots.len() == self.slots.capacity() {
            self.rebuild();
        }
        if let Some(user) = slot.record.user() {
            self.users.enter(user, id);
        }
        self.slots.insert_unique(slot.tag(), slot, Slot::tag);
        self.tidy();
    }

    /// Replaces the record of a stored session if it has this version, and if `has_room` says yes to it. Returns the
    /// former one.
    pub(super) fn replace(
        &mut self,
        id: SessionId,
        expected: Version,
        has_room: impl FnOnce(&Record) -> bool,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Replaced {
        let Some(slot) = self.slots.find_mut(tag(id), |slot| slot.id == id) else {
            return Replaced::Missing;
        };
        if slot.record.version() != expected {
            return Replaced::Conflict;
        }
        if !has_room(&slot.record) {
            return Replaced::Full;
        }
        let (former_use, was_marker) = (slot.stamp.key(), slot.stamp.is_marker());
        slot.stamp
            .store(tier_when_used(record), self.ticks.next_alone());
        let (new_use, tag) = (slot.stamp.key(), slot.tag());
        let former = mem::replace(&mut slot.record, Arc::clone(record));
        slot.last_seen_at = activity.last_seen_at;
        let former_expiry = mem::replace(&mut slot.expires_at, expiry(activity));
        let made_at = slot.made_at();
        self.marked = self.marked + usize::from(made_at.is_some()) - usize::from(was_marker);
        let is_used_less = made_at.is_none() && new_use < former_use;
        let expires_sooner = expiry(activity) < former_expiry;
        if let Some(made_at) = made_at {
            self.markers.push(made_at, tag);
        }
        if is_used_less {
            self.by_use.push(new_use, tag);
        }
        if expires_sooner {
            self.by_expiry.push(expiry(activity), tag);
        }
        let (left, entered) = (former.user(), record.user());
        if left != entered {
            left.inspect(|user| self.users.leave(user, id));
            entered.inspect(|user| self.users.enter(user, id));
        }
        // Most updates change no heap.
        if made_at.is_some() || was_marker || is_used_less || expires_sooner {
            self.tidy();
        }
        Replaced::Yes(former)
    }

    /// Moves each time of a stored session's activity forward, if it has this version.
    pub(super) fn advance(
        &mut self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Touched {
        let Some(slot) = self.slots.find_mut(tag(id), |slot| slot.id == id) else {
            return Touched::Missing;
        };
        if slot.record.version() != expected {
            return Touched::Stale;
        }
        slot.last_seen_at = slot.last_seen_at.max(activity.last_seen_at);
        slot.expires_at = slot.expires_at.max(expiry(activity));
        slot.use_again(&self.ticks);
        Touched::Yes
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Slot> {
        self.take(tag(id), |slot| slot.id == id)
    }

    /// Removes the next session to evict: the least recently used of the lowest tier, `up_to` this tier, but not
    /// `spared`.
    pub(super) fn remove_least(&mut self, up_to: Tier, spared: Option<SessionId>) -> Option<Slot> {
        let slots = &self.slots;
        let spared = spared.map(tag);
        let true_key = |tag| {
            let slot = slots.find(tag, |slot| slot.tag() == tag)?;
            (spared != Some(tag) && !slot.stamp.is_marker()).then(|| slot.stamp.key())
        };
        let least = self
            .by_use
            .pop_least(up_to.last_key(), true_key, || uses(slots));
        if let Some(spared) = spared
            && let Some(slot) = slots.find(spared, |slot| slot.tag() == spared)
        {
            // It may have been at the top, where it was removed.
            self.by_use.push(slot.stamp.key(), spared);
        }
        match least {
            Some(least) => self.take(least, |_| true),
            None if up_to == Tier::Marker => self.remove_marker(Timestamp::MAX, spared),
            None => None,
        }
    }

    /// Takes out the oldest protected marker that was made at or before `until`.
    pub(super) fn remove_marker(&mut self, until: Timestamp, spared: Option<u64>) -> Option<Slot> {
        let tag = self.oldest_marker(until, spared)?;
        self.take(tag, |_| true)
    }

    /// Ends the protection of the oldest marker that was made at or before `until`.
    pub(super) fn demote_marker(&mut self, until: Timestamp) -> bool {
        let Some(tag) = self.oldest_marker(until, None) else {
            return false;
        };
        if let Some(slot) = self.slots.find(tag, |slot| slot.tag() == tag) {
            slot.stamp.change_tier(Tier::New);
            self.marked -= 1;
            self.by_use.push(slot.stamp.key(), tag);
        }
        true
    }

    /// Removes the oldest protected marker from the order of markers, and returns its tag.
    fn oldest_marker(&mut self, until: Timestamp, spared: Option<u64>) -> Option<u64> {
        let slots = &self.slots;
        let true_key = |tag| {
            let slot = slots.find(tag, |slot| slot.tag() == tag)?;
            slot.made_at().filter(|_| spared != Some(tag))
        };
        let oldest = self
            .markers
            .pop_least(until.as_millis(), true_key, || marks(slots));
        if let Some(spared) = spared
            && let Some(slot) = slots.find(spared, |slot| slot.tag() == spared)
            && let Some(made_at) = slot.made_at()
        {
            self.markers.push(made_at, spared);
        }
        oldest
    }

    /// Removes a session whose deadline is at or before `before`.
    pub(super) fn remove_expired(&mut self, before: Timestamp) -> Option<Slot> {
        let slots = &self.slots;
        let true_key = |tag| Some(slots.find(tag, |slot| slot.tag() == tag)?.expires_at);
        let before = before.as_millis();
        let tag = self
            .by_expiry
            .pop_least(before, true_key, || deadlines(slots))?;
        self.take(tag, |_| true)
    }

    fn take(&mut self, tag: u64, is_it: impl Fn(&Slot) -> bool) -> Option<Slot> {
        let entry = self
            .slots
            .find_entry(tag, |slot| slot.tag() == tag && is_it(slot))
            .ok()?;
        let (slot, _) = entry.remove();
        self.marked -= usize::from(slot.stamp.is_marker());
        if let Some(user) = slot.record.user() {
            self.users.leave(user, slot.id);
        }
        self.tidy();
        Some(slot)
    }

    /// Moves the sessions to a table with room for an eighth more, which has at most 18/7 buckets for each session.
    /// Otherwise it would double after many removals, and take up to twice that.
    fn rebuild(&mut self) {
        let live = self.slots.len();
        let mut rebuilt = HashTable::with_capacity(live + live / 8 + 1);
        for slot in self.slots.drain() {
            rebuilt.insert_unique(slot.tag(), slot, Slot::tag);
        }
        self.slots = rebuilt;
        self.rebuilds += 1;
    }

    /// Shrinks the table after a peak, and removes outdated entries from the heaps.
    fn tidy(&mut self) {
        let live = self.slots.len();
        if self.slots.num_buckets() > live * 18 / 7 + SPARE {
            self.rebuild();
        }
        let slots = &self.slots;
        self.by_use.trim(live - self.marked, || uses(slots));
        self.markers.trim(self.marked, || marks(slots));
        self.by_expiry.trim(live, || deadlines(slots));
    }

    /// The bytes of its allocations, without the records.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let heaps = [&self.by_use, &self.by_expiry, &self.markers];
        let entries = heaps.map(LazyHeap::capacity).iter().sum::<usize>();
        self.slots.allocation_size() + entries * size_of::<(u64, u64)>()
    }

    /// Checks that each session is in both heaps, with a lower bound of its key, and in the index of users.
    #[cfg(test)]
    fn validate(&self) {
        let with_user = self.slots().filter(|slot| slot.record.user().is_some());
        assert_eq!(self.users.len(), with_user.count());
        let marked = self.slots().filter(|slot| slot.stamp.is_marker());
        assert_eq!(self.marked, marked.count());
        for slot in &self.slots {
            if let Some(user) = slot.record.user() {
                assert_eq!(self.users.ids(user, slot.id, 1), [slot.id]);
            }
            let bound = |heap: &LazyHeap| {
                heap.iter()
                    .filter(|(_, tag)| *tag == slot.tag())
                    .map(|(key, _)| key)
                    .min()
            };
            match slot.made_at() {
                Some(made_at) => assert!(bound(&self.markers).unwrap() <= made_at),
                None => assert!(bound(&self.by_use).unwrap() <= slot.stamp.key()),
            }
            if slot.expires_at != NEVER {
                assert!(bound(&self.by_expiry).unwrap() <= slot.expires_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::record::{Login, token::Verifier};

    fn id(number: u8) -> SessionId {
        Uuid::from_u128(u128::from(number)).into()
    }

    fn record(has_user: bool, is_moved: bool) -> Arc<Record> {
        let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
        let mut record = Record::new(verifier, Version::first(7), Timestamp::EPOCH);
        record = record.with_login(has_user.then(|| Login {
            user: "ann".into(),
            at: Timestamp::EPOCH,
        }));
        record.set_extras(|extras| extras.moved_at = is_moved.then_some(Timestamp::EPOCH));
        Arc::new(record)
    }

    fn until(expires_at: Option<u64>) -> Activity {
        Activity {
            last_seen_at: Timestamp::EPOCH,
            expires_at: expires_at.map(Timestamp::from_millis),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, bool, Option<u64>),
        Read(u8),
        Replace(u8, bool, bool, Option<u64>),
        Advance(u8, Option<u64>),
        Remove(u8),
        RemoveLeast(Tier, Option<u8>),
        RemoveExpired(u64),
        DemoteMarker,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let who = 0_u8..40;
        let expiry = prop::option::weighted(0.8, 0_u64..200);
        let step = prop_oneof![
            4 => (who.clone(), any::<bool>(), expiry.clone())
                .prop_map(|(who, user, expiry)| Step::Insert(who, user, expiry)),
            3 => who.clone().prop_map(Step::Read),
            3 => (who.clone(), any::<bool>(), any::<bool>(), expiry.clone())
                .prop_map(|(who, user, moved, expiry)| Step::Replace(who, user, moved, expiry)),
            2 => (who.clone(), expiry).prop_map(|(who, expiry)| Step::Advance(who, expiry)),
            1 => who.clone().prop_map(Step::Remove),
            1 => (prop::sample::select(&Tier::ALL[..]), prop::option::of(who))
                .prop_map(|(up_to, spared)| Step::RemoveLeast(up_to, spared)),
            1 => (0_u64..200).prop_map(Step::RemoveExpired),
            1 => Just(Step::DemoteMarker),
        ];
        prop::collection::vec(step, 0..500)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn heaps_and_users_know_every_session_after_any_history(steps in steps()) {
            let mut table = Table::default();
            for step in steps {
                match step {
                    Step::Insert(who, user, expiry) => {
                        if table.get(id(who)).is_none() {
                            table.insert(id(who), record(user, false), until(expiry));
                        }
                    }
                    Step::Read(who) => {
                        let is_there = table.get(id(who)).is_some();
                        prop_assert_eq!(table.read(id(who)).is_some(), is_there);
                    }
                    Step::Replace(who, user, moved, expiry) => {
                        let (record, version) = (record(user, moved), Version::first(7));
                        let is_there = table.get(id(who)).is_some();
                        let replaced = table.replace(
                            id(who), version, |_| true, &record, until(expiry),
                        );
                        prop_assert_eq!(matches!(replaced, Replaced::Yes(_)), is_there);
                    }
                    Step::Advance(who, expiry) => {
                        table.advance(id(who), Version::first(7), until(expiry));
                    }
                    Step::Remove(who) => {
                        let removed = table.remove(id(who));
                        prop_assert!(removed.is_none_or(|slot| slot.id == id(who)));
                        prop_assert!(table.get(id(who)).is_none());
                    }
                    Step::RemoveLeast(up_to, spared) => {
                        let spared = spared.map(id);
                        let others = table.slots.iter().filter(|slot| {
                            Some(slot.id) != spared && slot.stamp.key() <= up_to.last_key()
                        });
                        let least = others.min_by_key(|slot| slot.stamp.key());
                        let least = least.map(|slot| (slot.id, slot.stamp.is_marker()));
                        let removed = table.remove_least(up_to, spared);
                        let removed = removed.map(|slot| (slot.id, slot.stamp.is_marker()));
                        // Markers were all made at the same time.
                        let is_marker = least.is_some_and(|(_, is_marker)| is_marker);
                        let is_another = removed.is_some_and(|(id, is_marker)| {
                            is_marker && Some(id) != spared
                        });
                        prop_assert!(removed == least || is_marker && is_another);
                    }
                    Step::DemoteMarker => {
                        let marked = table.marked;
                        prop_assert_eq!(table.demote_marker(Timestamp::EPOCH), marked > 0);
                        prop_assert_eq!(table.marked, marked.saturating_sub(1));
                    }
                    Step::RemoveExpired(before) => {
                        let deadlines = table.slots.iter().map(|slot| slot.expires_at);
                        let first = deadlines.min().filter(|first| *first <= before);
                        let removed = table.remove_expired(Timestamp::from_millis(before));
                        prop_assert_eq!(removed.map(|slot| slot.expires_at), first);
                    }
                }
                table.validate();
            }
        }
    }

    #[test]
    fn who_stays_is_seen_once_from_place_to_place_or_all_are_looked_at_again() {
        let mut table = Table::default();
        let record = record(false, false);
        for number in 0..40 {
            table.insert(id(number), Arc::clone(&record), until(None));
        }
        let (mut rounds, mut rebuilt) = (0, 0);
        for newcomer in 40..=u8::MAX {
            let rebuilds = table.rebuilds();
            let mut seen = Vec::new();
            for place in 0..table.places() {
                let Some(slots) = table.slots_from(place, 1, rebuilds) else {
                    rebuilt += 1;
                    seen.clear();
                    break;
                };
                seen.extend(slots.map(|slot| slot.id).filter(|seen| *seen < id(40)));
                if place == 7 {
                    table.insert(id(newcomer), Arc::clone(&record), until(None));
                    if newcomer % 3 == 0 && newcomer > 42 {
                        table.remove(id(newcomer - 2));
                    }
                }
            }
            if !seen.is_empty() {
                rounds += 1;
                seen.sort_unstable();
                assert!(seen.into_iter().eq((0..40).map(id)));
            }
        }
        assert!(
            rounds > 0 && rebuilt > 0,
            "{rounds} rounds, {rebuilt} rebuilt"
        );
    }

    #[test]
    fn capacity_shrinks_after_a_spike() {
        let mut table = Table::default();
        let id = |number: u32| {
            let spread = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Uuid::from_u128(u128::from(spread)).into()
        };
        let record = record(false, false);
        for number in 0..20_000 {
            table.insert(id(number), Arc::clone(&record), until(Some(9)));
        }
        assert!(table.slots.capacity() >= 20_000);
        for number in 100..20_000 {
            table.remove(id(number));
        }
        assert!(table.slots.capacity() < 300);
        assert!(table.by_use.capacity() < 300);
        assert!(table.by_expiry.capacity() < 300);
        table.validate();
        for number in 0..100 {
            table.remove(id(number));
        }
        assert_eq!(table.slots.len(), 0);
        assert!(table.slots.capacity() < 100);
    }
}
