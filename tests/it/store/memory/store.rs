use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use cloakroom::{
    Activity, MemoryStore, Record, Session, SessionId, SessionLayer, SessionStore, StoreError,
    Timestamp, Version,
    store::{
        Created, Reaped, RemovalReason, RemovalSink, StoreErrorKind, Touched, Updated, WhenFull,
    },
};
use futures::{FutureExt, executor::block_on};
use http::{StatusCode, header};
use parking_lot::Mutex;
use proptest::prelude::*;
use scopeguard::defer;
use uuid::Uuid;

use crate::support::{Fault, FaultyStore, FixedClock, StoreCall, Visitor, former};

const GRACE: Duration = Duration::from_secs(5 * 60);
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// SplitMix64's bijection: an id's first bits are as random as real ones.
fn id(number: u64) -> SessionId {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Uuid::from_u128(u128::from(mixed ^ (mixed >> 31)) << 64 | u128::from(number)).into()
}

#[derive(Clone, Copy)]
struct Kind {
    version: Version,
    size: usize,
    has_user: bool,
    is_moved: bool,
}

impl Kind {
    fn first() -> Self {
        Self {
            version: Version {
                counter: 1,
                writer: 7,
            },
            size: 0,
            has_user: false,
            is_moved: false,
        }
    }

    fn sized(size: usize) -> Self {
        Self {
            size,
            ..Self::first()
        }
    }

    fn of_user() -> Self {
        Self {
            has_user: true,
            ..Self::first()
        }
    }

    fn next(mut self) -> Self {
        self.version.counter += 1;
        self.version.writer += 1;
        self
    }

    fn record(self) -> Arc<Record> {
        let json = format!(
            r#"{{"format":1,"version":"{}","verifier":"{}","created_at":0,{}{}"data":{{"k":"{}"}}}}"#,
            self.version,
            "A".repeat(43),
            if self.has_user {
                r#""user":"ann","#
            } else {
                ""
            },
            if self.is_moved {
                r#""moved_at":0,"#
            } else {
                ""
            },
            "x".repeat(self.size),
        );
        Arc::new(Record::from_bytes(json.as_bytes()).unwrap())
    }
}

fn seen(last_seen_at: Timestamp, expires_at: Option<Timestamp>) -> Activity {
    Activity {
        last_seen_at,
        expires_at,
    }
}

fn for_ever() -> Activity {
    seen(NOW, None)
}

/// Every call of the memory store is done when it is first polled.
fn at_once<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    call.now_or_never().expect("it waits for nothing")
}

/// What one session of this kind costs beside its record.
fn place_bytes(kind: Kind) -> usize {
    let store = MemoryStore::default();
    let empty = store.bytes();
    let record = kind.record();
    at_once(store.create(id(0), &record, for_ever())).unwrap();
    store.bytes() - empty - record.memory_bytes()
}

/// What a store of one shard counts without a session.
fn shard_bytes() -> usize {
    bounded(1).bytes()
}

fn bounded(max_sessions: usize) -> MemoryStore {
    MemoryStore::builder().max_sessions(max_sessions).build()
}

type Endings = Arc<Mutex<Vec<(SessionId, RemovalReason)>>>;

fn endings_of(store: &MemoryStore) -> Endings {
    let endings = Endings::default();
    let kept = Arc::clone(&endings);
    store.report_removals(RemovalSink::new(move |ending| {
        kept.lock().push((ending.id, ending.reason));
    }));
    endings
}

// The model: what the store must do, in the plainest way.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    New,
    Seen,
    User,
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

struct Modelled {
    record: Arc<Record>,
    activity: Activity,
    used: (Tier, usize),
}

struct Model {
    slots: BTreeMap<SessionId, Modelled>,
    place: usize,
    empty: usize,
    /// What a user adds to it.
    index: usize,
    max_sessions: usize,
    max_bytes: usize,
    tick: usize,
    endings: Vec<(SessionId, RemovalReason)>,
}

impl Model {
    fn cost(&self, record: &Record) -> usize {
        let index = record.user().map_or(0, |_| self.index);
        self.place + index + record.memory_bytes()
    }

    fn bytes(&self) -> usize {
        let sessions = self.slots.values().map(|slot| self.cost(&slot.record));
        self.empty + sessions.sum::<usize>()
    }

    fn used(&mut self, tier: Tier) -> (Tier, usize) {
        self.tick += 1;
        (tier, self.tick)
    }

    fn reap(&mut self, before: Timestamp, limit: usize) -> usize {
        for removed in 0..limit {
            let deadlines = self
                .slots
                .iter()
                .filter_map(|(id, slot)| Some((slot.activity.expires_at?, *id)));
            let Some((_, id)) = deadlines.min().filter(|(first, _)| *first <= before) else {
                return removed;
            };
            self.slots.remove(&id);
            self.endings.push((id, RemovalReason::Expired));
        }
        limit
    }

    fn make_room(&mut self, sessions: usize, bytes: usize, spared: Option<SessionId>) {
        while self.slots.len() + sessions > self.max_sessions
            || self.bytes() + bytes > self.max_bytes
        {
            let others = self.slots.iter().filter(|(id, _)| Some(**id) != spared);
            let least = *others.min_by_key(|(_, slot)| slot.used).unwrap().0;
            self.slots.remove(&least);
            self.endings.push((least, RemovalReason::Evicted));
        }
    }

    /// `None`: it can never fit.
    fn create(
        &mut self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Option<Created> {
        let cost = self.cost(record);
        if self.empty + cost > self.max_bytes {
            return None;
        }
        self.reap(activity.last_seen_at.saturating_sub(GRACE), 2);
        if self.slots.contains_key(&id) {
            return Some(Created::Exists);
        }
        self.make_room(1, cost, None);
        let used = self.used(match record.user() {
            Some(_) if !record.is_moved() => Tier::User,
            _ => Tier::New,
        });
        let slot = Modelled {
            record: Arc::clone(record),
            activity,
            used,
        };
        self.slots.insert(id, slot);
        Some(Created::Yes)
    }

    fn load(&mut self, id: SessionId) -> Option<(Arc<Record>, Activity)> {
        let tier = tier_when_used(&self.slots.get(&id)?.record);
        let used = self.used(tier);
        let slot = self.slots.get_mut(&id)?;
        slot.used = used;
        Some((Arc::clone(&slot.record), slot.activity))
    }

    /// `None`: it can never fit.
    fn update(
        &mut self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Option<Updated> {
        let cost = self.cost(record);
        if self.empty + cost > self.max_bytes {
            return None;
        }
        let Some(slot) = self.slots.get(&id) else {
            return Some(Updated::Missing);
        };
        if slot.record.version() != expected {
            return Some(Updated::Conflict);
        }
        let growth = cost.saturating_sub(self.cost(&slot.record));
        self.make_room(0, growth, Some(id));
        let used = self.used(tier_when_used(record));
        let slot = Modelled {
            record: Arc::clone(record),
            activity,
            used,
        };
        self.slots.insert(id, slot);
        Some(Updated::Saved)
    }

    fn touch(&mut self, id: SessionId, expected: Version, activity: Activity) -> Touched {
        let Some(slot) = self.slots.get(&id) else {
            return Touched::Missing;
        };
        if slot.record.version() != expected {
            return Touched::Stale;
        }
        let used = self.used(tier_when_used(&slot.record));
        let slot = self.slots.get_mut(&id).unwrap();
        slot.used = used;
        let kept = &mut slot.activity;
        kept.last_seen_at = kept.last_seen_at.max(activity.last_seen_at);
        kept.expires_at = match (kept.expires_at, activity.expires_at) {
            (Some(kept), Some(new)) => Some(kept.max(new)),
            _ => None,
        };
        Touched::Yes
    }
}

#[derive(Clone, Debug)]
enum Act {
    Create,
    Load,
    Update,
    Touch,
    Delete,
    Reap { limit: usize },
}

#[derive(Clone, Debug)]
struct Step {
    act: Act,
    who: u64,
    size: usize,
    has_user: bool,
    is_moved: bool,
    /// Minutes from now; `None`: never.
    ttl: Option<u64>,
    /// Minutes since the step before.
    later: u64,
    /// 0, 1: the version that is there. 2: another counter. 3: another writer.
    expected: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let act = prop_oneof![
        5 => Just(Act::Create),
        5 => Just(Act::Load),
        5 => Just(Act::Update),
        3 => Just(Act::Touch),
        1 => Just(Act::Delete),
        1 => (0_usize..6).prop_map(|limit| Act::Reap { limit }),
    ];
    let step = (
        act,
        0_u64..14,
        prop_oneof![8 => 0_usize..300, 2 => 300_usize..1500, 1 => 1500_usize..9000],
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.15),
        prop::option::weighted(0.8, 0_u64..30),
        0_u64..3,
        0_u8..4,
    )
        .prop_map(
            |(act, who, size, has_user, is_moved, ttl, later, expected)| Step {
                act,
                who,
                size,
                has_user,
                is_moved,
                ttl,
                later,
                expected,
            },
        );
    prop::collection::vec(step, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn one_shard_is_a_map_with_an_order_of_use_after_any_history(
        steps in steps(),
        max_sessions in 1_usize..12,
        max_bytes in 3500_usize..10_000,
    ) {
        let store = MemoryStore::builder()
            .max_sessions(max_sessions)
            .max_bytes(max_bytes)
            .build();
        let endings = endings_of(&store);
        let mut model = Model {
            slots: BTreeMap::new(),
            place: place_bytes(Kind::first()),
            empty: shard_bytes(),
            index: place_bytes(Kind::of_user()) - place_bytes(Kind::first()),
            max_sessions,
            max_bytes,
            tick: 0,
            endings: Vec::new(),
        };
        let mut now = NOW;
        for (index, step) in steps.iter().enumerate() {
            let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
            now = now.saturating_add(minutes(step.later));
            let who = id(step.who);
            let present = model.slots.get(&who).map(|slot| slot.record.version());
            let mut expected = present.unwrap_or(Kind::first().version);
            match step.expected {
                2 => expected.counter += 1,
                3 => expected.writer += 1,
                _ => {}
            }
            let kind = Kind {
                size: step.size,
                has_user: step.has_user,
                is_moved: step.is_moved,
                version: Version {
                    counter: expected.counter + 1,
                    writer: index as u64,
                },
            };
            let record = kind.record();
            // No two deadlines are the same, so their order is exact too.
            let unique = Duration::from_millis(index as u64);
            let expires_at = step
                .ttl
                .map(|ttl| now.saturating_add(minutes(ttl)).saturating_add(unique));
            let activity = seen(now, expires_at);
            match step.act {
                Act::Create => prop_assert_eq!(
                    at_once(store.create(who, &record, activity)).ok(),
                    model.create(who, &record, activity)
                ),
                Act::Load => {
                    let (found, known) = (at_once(store.load(who)).unwrap(), model.load(who));
                    prop_assert_eq!(found.is_some(), known.is_some());
                    if let (Some(found), Some(known)) = (found, known) {
                        prop_assert!(Arc::ptr_eq(&found.0, &known.0));
                        prop_assert_eq!(found.1, known.1);
                    }
                }
                Act::Update => prop_assert_eq!(
                    at_once(store.update(who, &record, activity, former(expected))).ok(),
                    model.update(who, &record, activity, expected)
                ),
                Act::Touch => prop_assert_eq!(
                    at_once(store.touch(who, former(expected), activity)).unwrap(),
                    model.touch(who, expected, activity)
                ),
                Act::Delete => prop_assert_eq!(
                    at_once(store.delete(who)).unwrap(),
                    model.slots.remove(&who).is_some()
                ),
                Act::Reap { limit } => {
                    let reaped = at_once(store.delete_expired(now, limit)).unwrap();
                    prop_assert_eq!(reaped.removed, model.reap(now, limit));
                    let rest = model.slots.values().filter_map(|slot| slot.activity.expires_at);
                    prop_assert!(reaped.more || rest.min().is_none_or(|first| first > now));
                    prop_assert!(!reaped.more || reaped.removed == limit);
                }
            }
            prop_assert_eq!(&*endings.lock(), &model.endings);
            let markers = model.slots.values().filter(|slot| slot.record.is_moved());
            prop_assert_eq!(store.len(), model.slots.len() - markers.count());
            prop_assert_eq!(store.bytes(), model.bytes());
            prop_assert!(store.len() <= max_sessions && store.bytes() <= max_bytes);
        }
        for who in model.slots.keys() {
            prop_assert!(at_once(store.delete(*who)).unwrap());
        }
        prop_assert!(store.is_empty());
        prop_assert_eq!(store.bytes(), shard_bytes());
    }
}

#[test]
fn create_never_overwrites() {
    let store = MemoryStore::default();
    let first = Kind::first().record();
    assert_eq!(
        at_once(store.create(id(1), &first, for_ever())).unwrap(),
        Created::Yes
    );
    let second = Kind::sized(50).next().record();
    let later = seen(NOW.saturating_add(GRACE), Some(Timestamp::MAX));
    assert_eq!(
        at_once(store.create(id(1), &second, later)).unwrap(),
        Created::Exists
    );
    let (record, activity) = at_once(store.load(id(1))).unwrap().unwrap();
    assert!(Arc::ptr_eq(&record, &first));
    assert_eq!(activity, for_ever());
    assert_eq!(store.len(), 1);
}

#[test]
fn update_acts_only_on_the_expected_version() {
    let store = MemoryStore::default();
    let first = Kind::first();
    let second = first.next().record();
    let update =
        |expected| at_once(store.update(id(1), &second, for_ever(), former(expected))).unwrap();
    assert_eq!(update(first.version), Updated::Missing);
    assert!(store.is_empty());

    at_once(store.create(id(1), &first.record(), for_ever())).unwrap();
    let (mut other_writer, mut other_counter) = (first.version, first.version);
    other_writer.writer += 1;
    other_counter.counter += 1;
    assert_eq!(update(other_writer), Updated::Conflict);
    assert_eq!(update(other_counter), Updated::Conflict);
    assert_eq!(update(first.version), Updated::Saved);
    assert_eq!(update(first.version), Updated::Conflict);
    assert!(at_once(store.delete(id(1))).unwrap());
    assert_eq!(update(second.version()), Updated::Missing);
    assert!(store.is_empty());
}

#[test]
fn update_and_touch_act_on_what_has_expired() {
    let store = MemoryStore::default();
    let first = Kind::first();
    let expired = seen(NOW, Some(Timestamp::EPOCH));
    at_once(store.create(id(1), &first.record(), expired)).unwrap();
    let touched = at_once(store.touch(id(1), former(first.version), expired));
    assert_eq!(touched.unwrap(), Touched::Yes);
    let next = first.next().record();
    let updated = at_once(store.update(id(1), &next, expired, former(first.version)));
    assert_eq!(updated.unwrap(), Updated::Saved);
    assert!(at_once(store.load(id(1))).unwrap().is_some());
}

#[test]
fn touch_acts_only_on_the_expected_version() {
    let store = MemoryStore::default();
    let first = Kind::first();
    let later = seen(NOW.saturating_add(GRACE), None);
    let touch = |expected| at_once(store.touch(id(1), former(expected), later)).unwrap();
    assert_eq!(touch(first.version), Touched::Missing);
    assert!(store.is_empty());

    at_once(store.create(id(1), &first.record(), for_ever())).unwrap();
    let mut other_writer = first.version;
    other_writer.writer += 1;
    assert_eq!(touch(other_writer), Touched::Stale);
    assert_eq!(touch(first.next().version), Touched::Stale);
    assert_eq!(
        at_once(store.load(id(1))).unwrap().unwrap().1,
        for_ever(),
        "a stale touch moves nothing"
    );
    assert_eq!(touch(first.version), Touched::Yes);
    let (record, activity) = at_once(store.load(id(1))).unwrap().unwrap();
    assert_eq!(record.version(), first.version);
    assert_eq!(activity, later);
}

#[test]
fn touch_moves_each_time_forward_only() {
    let store = MemoryStore::default();
    let version = Kind::first().version;
    let at = Timestamp::from_millis;
    let touched = |last_seen_at, expires_at: Option<u64>| {
        let activity = seen(at(last_seen_at), expires_at.map(at));
        let touched = at_once(store.touch(id(1), former(version), activity));
        assert_eq!(touched.unwrap(), Touched::Yes);
        at_once(store.load(id(1))).unwrap().unwrap().1
    };
    at_once(store.create(id(1), &Kind::first().record(), seen(at(100), Some(at(200))))).unwrap();
    assert_eq!(touched(90, Some(190)), seen(at(100), Some(at(200))));
    assert_eq!(touched(110, Some(190)), seen(at(110), Some(at(200))));
    assert_eq!(touched(90, Some(210)), seen(at(110), Some(at(210))));
    assert_eq!(touched(90, None), seen(at(110), None));
    assert_eq!(touched(120, Some(220)), seen(at(120), None));
}

#[test]
fn delete_of_nothing_is_false() {
    let store = MemoryStore::default();
    assert!(!at_once(store.delete(id(1))).unwrap());
    at_once(store.create(id(1), &Kind::first().record(), for_ever())).unwrap();
    assert!(at_once(store.delete(id(1))).unwrap());
    assert!(!at_once(store.delete(id(1))).unwrap());
    assert_eq!(store.bytes(), MemoryStore::default().bytes());
}

#[test]
fn delete_expired_keeps_to_its_limit_and_asks_to_be_called_again() {
    // 16 shards: the limit holds over all of them.
    let store = bounded(65_536);
    let endings = endings_of(&store);
    let record = Kind::first().record();
    let deadline = NOW.saturating_add(GRACE);
    for number in 0..1_000 {
        let activity = match number % 2 {
            0 => seen(NOW, Some(deadline)),
            _ => for_ever(),
        };
        at_once(store.create(id(number), &record, activity)).unwrap();
    }
    let reap = |before, limit| at_once(store.delete_expired(before, limit)).unwrap();
    let early = Timestamp::from_millis(deadline.as_millis() - 1);
    assert_eq!(reap(early, 1_000), Reaped::default());
    let mut removed = 0;
    loop {
        let reaped = reap(deadline, 33);
        assert!(reaped.removed <= 33);
        removed += reaped.removed;
        assert_eq!(endings.lock().len(), removed);
        if !reaped.more {
            break;
        }
        assert_eq!(reaped.removed, 33);
    }
    assert_eq!((removed, store.len()), (500, 500));
    let expired = |(_, reason): &(_, RemovalReason)| *reason == RemovalReason::Expired;
    assert!(endings.lock().iter().all(expired));
}

#[test]
fn what_never_ends_survives_every_sweep_and_can_be_deleted() {
    let store = MemoryStore::default();
    at_once(store.create(id(1), &Kind::first().record(), for_ever())).unwrap();
    assert_eq!(
        at_once(store.delete_expired(Timestamp::MAX, usize::MAX)).unwrap(),
        Reaped::default()
    );
    assert!(at_once(store.delete(id(1))).unwrap());
}

#[test]
fn a_sweep_sees_deadlines_that_moved_either_way() {
    let store = MemoryStore::default();
    let at = |minutes: u64| NOW.saturating_add(Duration::from_secs(60 * minutes));
    let first = Kind::first();
    for number in 0..3 {
        at_once(store.create(id(number), &first.record(), seen(NOW, Some(at(10))))).unwrap();
    }
    at_once(store.touch(id(0), former(first.version), seen(NOW, Some(at(20))))).unwrap();
    let sooner = seen(NOW, Some(at(5)));
    at_once(store.update(id(1), &first.next().record(), sooner, former(first.version))).unwrap();
    let endings = endings_of(&store);
    for (minutes, gone) in [(5, id(1)), (10, id(2)), (20, id(0))] {
        endings.lock().clear();
        at_once(store.delete_expired(at(minutes), 9)).unwrap();
        assert_eq!(*endings.lock(), [(gone, RemovalReason::Expired)]);
    }
}

#[test]
fn a_flood_of_new_sessions_evicts_only_its_own_kind() {
    const FLOOD: u64 = 1_000_000;
    let store = bounded(100_000);
    let (anonymous, known) = (Kind::first().record(), Kind::of_user().record());
    for number in 0..20_000 {
        at_once(store.create(id(number), &anonymous, for_ever())).unwrap();
        at_once(store.load(id(number))).unwrap();
    }
    for number in 20_000..40_000 {
        at_once(store.create(id(number), &known, for_ever())).unwrap();
    }
    for number in 40_000..40_000 + FLOOD {
        at_once(store.create(id(number), &anonymous, for_ever())).unwrap();
    }
    assert_eq!(store.len(), 100_000);
    for number in 0..40_000 {
        assert!(at_once(store.load(id(number))).unwrap().is_some());
    }
}

#[test]
fn a_flood_evicts_no_user_where_large_sessions_leave_few_to_a_shard() {
    let store = MemoryStore::builder().max_bytes(32 << 20).build();
    let endings = endings_of(&store);
    let large = Kind::sized(60 << 10).record();
    let known = Kind::of_user().record();
    for number in 0..400 {
        at_once(store.create(id(number), &known, for_ever())).unwrap();
    }
    for number in 400..3000 {
        at_once(store.create(id(number), &large, for_ever())).unwrap();
    }
    assert!(endings.lock().len() > 1000);
    for number in 0..400 {
        assert!(at_once(store.load(id(number))).unwrap().is_some());
    }
}

/// Threads do everything to few sessions at once, while one watches the bounds.
fn hammer(
    store: &MemoryStore,
    ids: u64,
    sizes: [usize; 3],
    (max_sessions, max_bytes): (usize, usize),
) {
    const THREADS: u64 = 4;
    const STEPS: u64 = 8_000;
    let empty = store.bytes();
    let is_over = AtomicBool::new(false);
    let running = AtomicUsize::new(THREADS as usize);
    let sizes = sizes.map(|size| {
        let first = Kind::sized(size);
        (first.record(), first.next().record())
    });
    let (first, next) = (Kind::first().version, Kind::first().next().version);
    thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::SeqCst) > 0 {
                if store.len() > max_sessions || store.bytes() > max_bytes {
                    is_over.store(true, Ordering::SeqCst);
                }
            }
        });
        for thread in 0..THREADS {
            let (sizes, running) = (&sizes, &running);
            scope.spawn(move || {
                defer! { running.fetch_sub(1, Ordering::SeqCst); }
                for step in 0..STEPS {
                    let draw = u128::from_ne_bytes(*id(thread * STEPS + step).as_bytes());
                    let draw = (draw >> 64) as u64 ^ draw as u64;
                    let who = id(draw % ids);
                    let (old, new) = &sizes[(draw >> 32) as usize % sizes.len()];
                    match (draw >> 40) % 8 {
                        0..3 => drop(at_once(store.create(who, old, for_ever())).unwrap()),
                        3 => drop(at_once(store.load(who)).unwrap()),
                        4..6 => {
                            let (record, expected) = if draw & (1 << 40) == 0 {
                                (new, first)
                            } else {
                                (old, next)
                            };
                            let former = former(expected);
                            at_once(store.update(who, record, for_ever(), former)).unwrap();
                        }
                        6 => drop(at_once(store.touch(who, former(first), for_ever())).unwrap()),
                        _ => drop(at_once(store.delete(who)).unwrap()),
                    }
                }
            });
        }
    });
    assert!(!is_over.load(Ordering::SeqCst));
    let kept = (0..ids).filter(|number| at_once(store.delete(id(*number))).unwrap());
    assert!(kept.count() > 0);
    assert_eq!((store.len(), store.bytes()), (0, empty));
}

#[test]
fn the_bounds_hold_at_every_moment_over_one_shard() {
    let store = MemoryStore::builder()
        .max_sessions(40)
        .max_bytes(40_000)
        .build();
    hammer(&store, 64, [0, 400, 3_000], (40, 40_000));
}

#[test]
fn the_bounds_hold_at_every_moment_over_many_shards() {
    // The bytes allow for four shards, and the sessions are so large that shards run empty.
    let max_bytes = 4 * 4096 * place_bytes(Kind::first());
    let store = MemoryStore::builder().max_bytes(max_bytes).build();
    hammer(
        &store,
        96,
        [0, 20_000, max_bytes / 8],
        (usize::MAX, max_bytes),
    );
}

#[test]
fn a_session_that_grows_is_not_evicted_for_its_own_sake() {
    // Some 8 shards, room for three large sessions, each alone in its shard.
    let max_bytes = 8 * 4096 * place_bytes(Kind::first());
    for number in 0..32 {
        let store = MemoryStore::builder().max_bytes(max_bytes).build();
        let large = Kind::sized(max_bytes * 3 / 10);
        for other in [100, 200, 300] {
            at_once(store.create(id(number + other), &large.record(), for_ever())).unwrap();
        }
        let grown = Kind::sized(max_bytes * 6 / 10).next().record();
        let updated =
            at_once(store.update(id(number + 100), &grown, for_ever(), former(large.version)));
        assert_eq!(updated.unwrap(), Updated::Saved);
        assert!(at_once(store.load(id(number + 100))).unwrap().is_some());
        assert_eq!(store.len(), 2);
    }
}

#[test]
fn a_record_larger_than_the_store_is_an_error_that_evicts_nobody() {
    let store = MemoryStore::builder().max_bytes(20_000).build();
    let first = Kind::first();
    for number in 0..10 {
        at_once(store.create(id(number), &first.record(), for_ever())).unwrap();
    }
    let bytes = store.bytes();
    let large = Kind::sized(20_000).next().record();
    let created = at_once(store.create(id(99), &large, for_ever())).unwrap_err();
    let updated =
        at_once(store.update(id(0), &large, for_ever(), former(first.version))).unwrap_err();
    assert_eq!(created.kind(), StoreErrorKind::Other);
    assert_eq!(updated.kind(), StoreErrorKind::Other);
    assert_eq!((store.len(), store.bytes()), (10, bytes));
}

#[test]
fn the_bounds_are_met_exactly() {
    let record = Kind::first().record();
    let each = place_bytes(Kind::first()) + record.memory_bytes();
    let most = shard_bytes() + 3 * each;
    let store = MemoryStore::builder().max_bytes(most).build();
    let endings = endings_of(&store);
    for number in 0..4 {
        at_once(store.create(id(number), &record, for_ever())).unwrap();
    }
    assert_eq!((store.len(), store.bytes()), (3, most));
    assert_eq!(*endings.lock(), [(id(0), RemovalReason::Evicted)]);
}

#[test]
fn bytes_are_none_after_a_spike_is_deleted() {
    let store = MemoryStore::default();
    let record = Kind::sized(100).record();
    for number in 0..20_000 {
        at_once(store.create(id(number), &record, for_ever())).unwrap();
    }
    assert!(store.bytes() > 20_000 * record.memory_bytes());
    for number in 0..20_000 {
        assert!(at_once(store.delete(id(number))).unwrap());
    }
    assert_eq!(
        (store.len(), store.bytes()),
        (0, MemoryStore::default().bytes())
    );
}

#[test]
fn without_a_runtime_every_new_session_removes_two_expired_ones() {
    block_on(async {
        // One shard, which every newcomer comes by.
        let store = bounded(1_000);
        let record = Kind::first().record();
        for number in 0..100 {
            let activity = seen(NOW, Some(NOW));
            store.create(id(number), &record, activity).await.unwrap();
        }
        let almost = Timestamp::from_millis(NOW.saturating_add(GRACE).as_millis() - 1);
        store
            .create(id(100), &record, seen(almost, None))
            .await
            .unwrap();
        assert_eq!(store.len(), 101);
        let later = seen(NOW.saturating_add(GRACE), None);
        for number in 101..151 {
            let before = store.len();
            store.create(id(number), &record, later).await.unwrap();
            assert_eq!(store.len(), before - 1);
        }
        assert_eq!(store.len(), 51);
    });
}

#[test]
fn an_ending_is_reported_with_no_lock_held_and_its_room_free() {
    let store = bounded(1);
    let inner = store.clone();
    let told = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&told);
    let record = Kind::first().record();
    let kept = Arc::clone(&record);
    store.report_removals(RemovalSink::new(move |ending| {
        let (gone, _) = ending.record.unwrap();
        assert!(Arc::ptr_eq(&gone, &kept));
        // Once, or it would evict its own newcomer for ever.
        if times.fetch_add(1, Ordering::SeqCst) == 0 {
            assert!(inner.is_empty());
            assert!(at_once(inner.load(ending.id)).unwrap().is_none());
            assert!(!at_once(inner.delete(ending.id)).unwrap());
            at_once(inner.create(ending.id, &kept, for_ever())).unwrap();
            at_once(inner.delete_expired(Timestamp::MAX, 9)).unwrap();
            inner.report_removals(RemovalSink::new(|_| {}));
        }
    }));
    at_once(store.create(id(1), &record, for_ever())).unwrap();
    at_once(store.create(id(2), &record, for_ever())).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
    assert!(at_once(store.load(id(2))).unwrap().is_some());
    assert_eq!(store.len(), 1);
}

#[test]
fn a_sink_that_panics_leaves_no_bytes_behind() {
    let store = MemoryStore::default();
    store.report_removals(RemovalSink::new(|_| panic!("as planned")));
    let record = Kind::first().record();
    for number in 0..100 {
        at_once(store.create(id(number), &record, seen(NOW, Some(NOW)))).unwrap();
    }
    while !store.is_empty() {
        let reaping = std::panic::AssertUnwindSafe(|| at_once(store.delete_expired(NOW, 10)));
        assert!(std::panic::catch_unwind(reaping).is_err());
    }
    assert_eq!(store.bytes(), MemoryStore::default().bytes());
    assert_eq!(
        at_once(store.delete_expired(NOW, 10)).unwrap(),
        Reaped::default()
    );
}

fn refusing(max_sessions: usize) -> MemoryStore {
    let bounds = MemoryStore::builder().max_sessions(max_sessions);
    bounds.when_full(WhenFull::Refuse).build()
}

#[test]
fn a_full_store_that_refuses_leaves_everybody_else_alone() {
    let store = refusing(10);
    let endings = endings_of(&store);
    let first = Kind::first();
    for number in 0..10 {
        let created = at_once(store.create(id(number), &first.record(), for_ever()));
        assert_eq!(created.unwrap(), Created::Yes);
    }
    let refused = at_once(store.create(id(10), &first.record(), for_ever())).unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Full);
    let exists = at_once(store.create(id(3), &first.record(), for_ever())).unwrap();
    assert_eq!(exists, Created::Exists);
    for number in 0..10 {
        let next = first.next().record();
        let updated = at_once(store.update(id(number), &next, for_ever(), former(first.version)));
        assert_eq!(updated.unwrap(), Updated::Saved);
    }
    assert_eq!((store.len(), endings.lock().len()), (10, 0));
    at_once(store.delete(id(3))).unwrap();
    let created = at_once(store.create(id(10), &first.record(), for_ever())).unwrap();
    assert_eq!(created, Created::Yes);
}

#[test]
fn what_grows_beyond_a_store_that_refuses_stays_as_it_was() {
    let small = Kind::first();
    let each = place_bytes(small) + small.record().memory_bytes();
    let bounds = MemoryStore::builder().max_bytes(shard_bytes() + 10 * each);
    let store = bounds.when_full(WhenFull::Refuse).build();
    for number in 0..10 {
        at_once(store.create(id(number), &small.record(), for_ever())).unwrap();
    }
    let large = Kind::sized(each + 1).next().record();
    let grown =
        at_once(store.update(id(0), &large, for_ever(), former(small.version))).unwrap_err();
    assert_eq!(grown.kind(), StoreErrorKind::Full);
    let (kept, _) = at_once(store.load(id(0))).unwrap().unwrap();
    assert_eq!(kept.version(), small.version);
    at_once(store.delete(id(1))).unwrap();
    let grown = at_once(store.update(id(0), &large, for_ever(), former(small.version)));
    assert_eq!(grown.unwrap_err().kind(), StoreErrorKind::Full);
    at_once(store.delete(id(2))).unwrap();
    let grown = at_once(store.update(id(0), &large, for_ever(), former(small.version)));
    assert_eq!(grown.unwrap(), Updated::Saved);
    assert_eq!(
        store.bytes(),
        shard_bytes() + 8 * each + (large.memory_bytes() - small.record().memory_bytes())
    );
}

#[test]
fn a_store_that_refuses_makes_room_by_what_has_expired_in_any_shard() {
    let sessions = 5 * 4096;
    let store = refusing(sessions);
    let endings = endings_of(&store);
    let record = Kind::first().record();
    for number in 0..sessions as u64 {
        let expires_at = (number < 3).then_some(NOW);
        at_once(store.create(id(number), &record, seen(NOW, expires_at))).unwrap();
    }
    let passed = NOW.saturating_add(GRACE);
    let almost = Timestamp::from_millis(passed.as_millis() - 1);
    let newcomer = |number, now| at_once(store.create(id(number), &record, seen(now, None)));
    let refused = newcomer(100_000, almost).unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Full);
    for number in 0..3 {
        assert_eq!(newcomer(200_000 + number, passed).unwrap(), Created::Yes);
    }
    assert_eq!(
        newcomer(300_000, passed).unwrap_err().kind(),
        StoreErrorKind::Full
    );
    let mut ended = endings.lock().clone();
    ended.sort_unstable_by_key(|(id, _)| *id);
    let mut expired: Vec<_> = (0..3).map(|n| (id(n), RemovalReason::Expired)).collect();
    expired.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(ended, expired);
}

#[tokio::test]
async fn a_visitor_whom_a_full_store_refuses_gets_503_and_the_others_go_on() {
    let clock = FixedClock::default();
    let layer = SessionLayer::new(refusing(2)).clock(clock.clone());
    let count = async |visitor: &Visitor| {
        let visit = visitor.visit(|session| async move {
            let visits = session.update("n", |n: Option<u32>| n.unwrap_or(0) + 1);
            visits.map(|visits| visits.to_string())
        });
        visit.await
    };
    let known = [Visitor::new(&layer), Visitor::new(&layer)];
    for visitor in &known {
        assert_eq!(count(visitor).await.body, "1");
    }
    let reply = count(&Visitor::new(&layer)).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    assert_eq!((reply.body.as_str(), reply.set_cookies().len()), ("", 0));

    let looks = Visitor::new(&layer);
    let reply = looks.visit(|session| async move { session.is_new().to_string() });
    assert_eq!(reply.await.body, "true");
    for visitor in &known {
        assert_eq!(count(visitor).await.body, "2");
    }

    let leaves = |session: Session| async move { session.destroy() };
    assert_eq!(known[0].visit(leaves).await.status, StatusCode::OK);
    // The marker of the one that has ended takes its place for some minutes.
    clock.advance(Duration::from_secs(10 * 60));
    assert_eq!(count(&Visitor::new(&layer)).await.body, "1");
    assert_eq!(count(&known[1]).await.body, "3");
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let store = FaultyStore::in_memory();
    store.plan_for(StoreCall::Create, Fault::Fail(StoreErrorKind::Full));
    let visitor = Visitor::new(&SessionLayer::new(store.clone()));
    let insert = |session: Session| async move { session.insert("n", 1) };
    let reply = visitor.visit(insert).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let creates = store
        .calls()
        .into_iter()
        .filter(|call| *call == StoreCall::Create);
    assert_eq!(creates.count(), 1);
}

#[test]
fn every_clone_and_an_arc_of_it_are_the_same_store() {
    let store = MemoryStore::default();
    let shared = Arc::new(store.clone());
    at_once(shared.create(id(1), &Kind::first().record(), for_ever())).unwrap();
    assert!(at_once(store.load_latest(id(1))).unwrap().is_some());
    assert!(!store.clone().is_empty());
}

#[test]
fn its_debug_shows_numbers_alone() {
    let store = MemoryStore::default();
    at_once(store.create(id(1), &Kind::of_user().record(), for_ever())).unwrap();
    let shown = format!("{store:?}");
    let bytes = store.bytes();
    assert_eq!(
        shown,
        format!("MemoryStore {{ sessions: 1, bytes: {bytes}, .. }}")
    );
}
