//! The sessions in memory and their bounds, behind [`MemoryStore`](super::MemoryStore): [`MemoryInner`].

use std::{
    iter,
    sync::{Arc, atomic::AtomicUsize},
    thread,
    time::Duration,
};

use parking_lot::RwLock;

use super::{
    WhenFull,
    budget::Budget,
    eviction::Tier,
    markers::Markers,
    table::{Replaced, Slot, Table},
    users::{self, Users},
};
use crate::{
    clock::Timestamp,
    error::store::{StoreError, StoreErrorKind},
    record::{
        Activity, Kept, Record, lifetime::MARKER_LIFETIME, token::SessionId, version::Version,
    },
    store::{Created, Removal, RemovalReason, RemovalSink, Touched, Updated},
};

/// The calls of the store, without futures.
pub(crate) struct MemoryInner {
    /// Each has a range of ids, in their order.
    pub(super) shards: Box<[Shard]>,
    pub(super) users: Arc<Users>,
    budget: Budget,
    /// The markers of moved sessions (rule M6).
    markers: Markers,
    when_full: WhenFull,
    /// The shard where the next sweep begins.
    pub(super) swept: AtomicUsize,
    sinks: RwLock<Vec<RemovalSink>>,
}

/// On cache lines of its own, so that threads in different shards do not slow each other.
#[repr(align(64))]
pub(super) struct Shard {
    // Never held across an await, because every call of this store is synchronous.
    pub(super) table: RwLock<Table>,
}

/// The bytes that this many empty shards take.
fn spare_bytes(shards: usize) -> usize {
    shards * (size_of::<Shard>() + Table::SPARE_BYTES) + Users::spare_bytes(shards)
}

/// About how many sessions share a lock. One eviction may have to look through so many.
const SHARD_SESSIONS: usize = 4096;
const MAX_SHARDS: usize = 1024;

/// How many expired sessions are deleted for a session that finds the store full.
const REAPED_WHEN_FULL: usize = 128;

/// How many expired sessions a new session removes. Without a runtime nothing else reaps.
const SWEPT_BY_NEWCOMER: usize = 2;

/// A session is deleted this long after its deadline, or later (rule L3).
const GRACE: Duration = Duration::from_secs(5 * 60);

fn cost(record: &Record) -> usize {
    let index = record.user().map_or(0, |_| users::ENTRY_BYTES);
    Table::PLACE_BYTES + index + record.memory_bytes()
}

impl MemoryInner {
    /// A store for so many sessions, and bytes including all overhead.
    pub(super) fn new(max_sessions: usize, max_bytes: usize, when_full: WhenFull) -> Self {
        let most = max_sessions.min(max_bytes / Table::PLACE_BYTES);
        let shards = (most / SHARD_SESSIONS)
            .clamp(1, MAX_SHARDS)
            .next_power_of_two();
        // The tables take their room before there is any session.
        let max_bytes = max_bytes.saturating_sub(spare_bytes(shards));
        let users = Arc::new(Users::new(shards));
        let shard = || Shard {
            table: RwLock::new(Table::new(&users)),
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            users: Arc::clone(&users),
            budget: Budget::new(max_sessions, max_bytes),
            when_full,
            swept: AtomicUsize::new(0),
            markers: Markers::new(max_sessions, max_bytes),
            sinks: RwLock::default(),
        }
    }

    /// How many sessions are stored, including markers.
    pub(super) fn len(&self) -> usize {
        self.budget.sessions()
    }

    /// How many markers are stored.
    pub(super) fn markers(&self) -> usize {
        self.markers.count()
    }

    /// The bytes of the sessions and the tables.
    pub(super) fn bytes(&self) -> usize {
        spare_bytes(self.shards.len()) + self.budget.bytes()
    }

    /// The bound of [`bytes`](Self::bytes).
    pub(super) fn max_bytes(&self) -> usize {
        spare_bytes(self.shards.len()).saturating_add(self.budget.max_bytes())
    }

    /// The bound of [`len`](Self::len). `None` if only the bytes are bounded.
    pub(super) fn max_sessions(&self) -> Option<usize> {
        Some(self.budget.max_sessions()).filter(|max| *max < usize::MAX)
    }

    /// Reports removals to `sink` from now on.
    pub(super) fn report_removals(&self, sink: RemovalSink) {
        self.sinks.write().push(sink);
    }

    pub(super) fn shard(&self, id: SessionId) -> &Shard {
        &self.shards[self.index(id)]
    }

    /// The shard of an id: its first bits, so that a list ordered by id goes shard by shard.
    pub(super) fn index(&self, id: SessionId) -> usize {
        let [a, b, c, d, ..] = *id.as_bytes();
        let first = u64::from(u32::from_be_bytes([a, b, c, d]));
        ((first * self.shards.len() as u64) >> 32) as usize
    }

    pub(crate) fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let bytes = cost(record);
        self.check_fits(bytes)?;
        let shard = self.shard(id);
        let before = activity.last_seen_at.saturating_sub(GRACE);
        let mut swept = 0;
        loop {
            let mut table = shard.table.write();
            if swept < SWEPT_BY_NEWCOMER
                && let Some(expired) = table.remove_expired(before)
            {
                drop(table);
                swept += 1;
                self.end([expired], RemovalReason::Expired);
            } else if table.get(id).is_some() {
                return Ok(Created::Exists);
            } else if self.budget.try_reserve(1, bytes) {
                table.insert(id, Arc::clone(record), activity);
                if record.is_moved() {
                    self.markers.add(bytes);
                }
                return Ok(Created::Yes);
            } else if self.when_full == WhenFull::Refuse {
                drop(table);
                self.reap_or_refuse(activity.last_seen_at)?;
            } else {
                let least = self.remove_least(&mut table, activity.last_seen_at, None);
                drop(table);
                self.evict(least, shard, None);
            }
        }
    }

    pub(crate) fn load(&self, id: SessionId) -> Option<Kept> {
        let shard = self.shard(id);
        shard.table.read().read(id)
    }

    /// The version that is stored under `id`. This does not count as a use.
    pub(crate) fn version(&self, id: SessionId) -> Option<Version> {
        let table = self.shard(id).table.read();
        table.get(id).map(|slot| slot.record.version())
    }

    pub(crate) fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let bytes = cost(record);
        self.check_fits(bytes)?;
        let shard = self.shard(id);
        loop {
            let mut former_bytes = 0;
            let least = {
                let mut table = shard.table.write();
                let has_room = |former: &Record| {
                    former_bytes = cost(former);
                    self.budget
                        .try_reserve(0, bytes.saturating_sub(former_bytes))
                };
                match table.replace(id, expected, has_room, record, activity) {
                    Replaced::Missing => return Ok(Updated::Missing),
                    Replaced::Conflict => return Ok(Updated::Conflict),
                    Replaced::Yes(former) => {
                        if record.is_moved() {
                            self.markers.add(bytes);
                        }
                        drop(table);
                        self.forget_marker(&former);
                        drop(former);
                        self.budget.release(0, former_bytes.saturating_sub(bytes));
                        return Ok(Updated::Saved);
                    }
                    Replaced::Full => match self.when_full {
                        WhenFull::Evict => {
                            Some(self.remove_least(&mut table, activity.last_seen_at, Some(id)))
                        }
                        WhenFull::Refuse => None,
                    },
                }
            };
            match least {
                Some(least) => self.evict(least, shard, Some(id)),
                None => self.reap_or_refuse(activity.last_seen_at)?,
            }
        }
    }

    pub(crate) fn touch(&self, id: SessionId, expected: Version, activity: Activity) -> Touched {
        let shard = self.shard(id);
        let mut table = shard.table.write();
        table.advance(id, expected, activity)
    }

    pub(crate) fn delete(&self, id: SessionId) -> bool {
        let removed = self.shard(id).table.write().remove(id);
        removed.map(|slot| self.release(slot)).is_some()
    }

    /// Removes the next session to evict, if it is one that was not used again, or a marker whose protection has ended.
    fn remove_least(
        &self,
        table: &mut Table,
        now: Timestamp,
        spared: Option<SessionId>,
    ) -> Option<Slot> {
        while table.demote_marker(now.saturating_sub(MARKER_LIFETIME)) {}
        if self.markers.are_too_many() {
            table.demote_marker(Timestamp::MAX);
        }
        table.remove_least(Tier::New, spared)
    }

    /// Ends `least`. If that is `None`, ends a session of the lowest tier, in this shard or else in another one, but not
    /// `spared`.
    fn evict(&self, least: Option<Slot>, shard: &Shard, spared: Option<SessionId>) {
        let least = least.or_else(|| {
            Tier::ALL.into_iter().find_map(|tier| {
                iter::once(shard)
                    .chain(&self.shards)
                    .find_map(|shard| shard.table.write().remove_least(tier, spared))
            })
        });
        match least {
            Some(slot) => self.end([slot], RemovalReason::Evicted),
            // Other threads are removing the last sessions.
            None => thread::yield_now(),
        }
    }

    /// Makes room by deleting expired sessions, or a marker whose protection ends. An error if there is none.
    fn reap_or_refuse(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.saturating_sub(GRACE);
        if self.delete_expired(before, REAPED_WHEN_FULL).removed > 0 {
            return Ok(());
        }
        let until = if self.markers.are_too_many() {
            Timestamp::MAX
        } else {
            now.saturating_sub(MARKER_LIFETIME)
        };
        let mut shards = self.shards.iter();
        if let Some(marker) =
            shards.find_map(|shard| shard.table.write().remove_marker(until, None))
        {
            self.end([marker], RemovalReason::Evicted);
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Full,
            "the memory store is full and evicts nobody: raise max_sessions or max_bytes",
        ))
    }

    /// Drops removed sessions and reports them. Call it without a lock.
    pub(super) fn end(&self, slots: impl IntoIterator<Item = Slot>, reason: RemovalReason) {
        let sinks = self.sinks.read().clone();
        // Their room is released before a sink is called, because the sink may need room, or panic.
        let removals: Vec<Removal> = slots
            .into_iter()
            .filter_map(|slot| {
                let removal = (!sinks.is_empty()).then(|| {
                    let kept = (Arc::clone(&slot.record), slot.activity());
                    Removal::new(slot.id, reason, Some(kept))
                });
                self.release(slot);
                removal
            })
            .collect();
        for removal in removals {
            for sink in &sinks {
                sink.report(removal.clone());
            }
        }
    }

    fn forget_marker(&self, record: &Record) {
        if record.is_moved() {
            self.markers.subtract(cost(record));
        }
    }

    fn release(&self, slot: Slot) {
        let bytes = cost(&slot.record);
        self.forget_marker(&slot.record);
        drop(slot);
        self.budget.release(1, bytes);
    }

    fn check_fits(&self, bytes: usize) -> Result<(), StoreError> {
        let max = self.budget.max_bytes();
        if bytes > max {
            let what = format!(
                "a session of {bytes} bytes does not fit into a store with room for {max}: raise max_bytes"
            );
            return Err(StoreError::new(StoreErrorKind::Other, what).not_applied());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        record::{data::Data, token::Verifier},
        store::MemoryStore,
    };

    fn id(number: u64) -> SessionId {
        let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (spread ^ (spread >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Uuid::from_u128(u128::from(mixed ^ (mixed >> 29)) << 64 | u128::from(number)).into()
    }

    const ACTIVITY: Activity = Activity {
        last_seen_at: Timestamp::EPOCH,
        expires_at: Some(Timestamp::MAX),
    };

    fn create(inner: &MemoryInner, record: &Arc<Record>, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            inner.create(id(number), record, ACTIVITY).unwrap();
        }
    }

    /// Checks that the allocated memory is at most what is counted, and at least half of it.
    #[track_caller]
    fn check_counted(inner: &MemoryInner, record: &Record) {
        let tables = inner
            .shards
            .iter()
            .map(|shard| shard.table.read().allocated());
        let records = inner.budget.sessions() * record.memory_bytes();
        let allocated = tables.sum::<usize>() + records;
        let counted = inner.budget.bytes();
        assert!(
            allocated <= counted && counted <= 2 * allocated,
            "{allocated} bytes are allocated and {counted} counted for {} sessions",
            inner.budget.sessions()
        );
    }

    #[test]
    fn what_is_allocated_is_what_is_counted_or_a_little_less() {
        let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
        let record = Arc::new(Record::new(verifier, Version::first(7), Timestamp::EPOCH));
        // Just before and after a table grows, and over several shards.
        for count in [2_000, 3_584, 3_585, 5_000, 7_168, 7_169, 20_000] {
            let bounded = |max: u64| {
                let max = usize::try_from(max).unwrap();
                MemoryStore::builder().max_sessions(max).build().0
            };
            let filled = bounded(count);
            create(&filled, &record, 0..count);
            check_counted(&filled, &record);

            // Evicting.
            create(&filled, &record, count..3 * count);
            check_counted(&filled, &record);

            // Deleting.
            for number in 2 * count..4 * count {
                filled.delete(id(number));
                create(&filled, &record, [number + count].into_iter());
            }
            check_counted(&filled, &record);

            for spike in [3, 4] {
                let spiked = bounded(spike * count);
                create(&spiked, &record, 0..spike * count);
                for number in count..spike * count {
                    spiked.delete(id(number));
                }
                check_counted(&spiked, &record);
            }
        }
    }

    #[test]
    fn where_a_shard_has_nothing_to_give_the_lowest_tier_of_all_leaves() {
        let verifier = Verifier::decode(&"A".repeat(43)).unwrap();
        let record = Record::new(verifier, Version::first(7), Timestamp::EPOCH);
        let max_bytes = 8 * SHARD_SESSIONS * Table::PLACE_BYTES;
        let value = vec![b'1'; max_bytes * 6 / 10];
        let large = Data::from_sorted([("k", value.as_slice())].into_iter());
        let large = Arc::new(record.clone().with_data(large));
        for number in (0..90).step_by(3) {
            let [seen, new, newcomer] = [number, number + 1, number + 2].map(id);
            let inner = MemoryStore::builder().max_bytes(max_bytes).build().0;
            if std::ptr::eq(inner.shard(newcomer), inner.shard(seen)) {
                continue;
            }
            inner
                .create(seen, &Arc::new(record.clone()), ACTIVITY)
                .unwrap();
            inner.load(seen);
            inner.create(new, &large, ACTIVITY).unwrap();
            inner.create(newcomer, &large, ACTIVITY).unwrap();
            assert!(inner.load(new).is_none());
            assert!(inner.load(seen).is_some());
        }
    }
}
