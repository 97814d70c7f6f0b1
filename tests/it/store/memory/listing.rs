//! Lists of the memory store: a user's sessions by an index, all in the order of their ids.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use cloakroom::{
    Activity, MemoryStore, Record, SessionId, SessionStore, Timestamp, Version,
    store::{Listed, Query},
};
use futures::executor::block_on;
use proptest::prelude::*;
use scopeguard::defer;
use uuid::Uuid;

use crate::support::former;

const USERS: [Option<&str>; 4] = [None, Some("ann"), Some("bob"), Some("")];

fn record(user: Option<&str>, counter: u64) -> Arc<Record> {
    let verifier = "A".repeat(43);
    let user = user.map_or(String::new(), |user| format!(r#""user":"{user}","#));
    let json = format!(
        r#"{{"format":1,"version":"{counter}-0","verifier":"{verifier}","created_at":{counter},{user}"data":{{}}}}"#
    );
    Arc::new(Record::from_bytes(json.as_bytes()).unwrap())
}

fn at(millis: u64) -> Activity {
    Activity {
        last_seen_at: Timestamp::from_millis(millis),
        expires_at: Some(Timestamp::from_millis(millis)),
    }
}

fn of(user: &str) -> Query {
    Query::default().with_user(user)
}

fn all(store: &MemoryStore, filter: &Query, limit: usize) -> Vec<Listed> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = block_on(store.list(filter, after.as_ref(), limit)).unwrap();
        assert!(page.sessions.len() <= limit);
        all.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

fn ids(listed: &[Listed]) -> Vec<SessionId> {
    listed.iter().map(|listed| listed.id).collect()
}

/// Spread over all shards.
fn id(number: u64) -> SessionId {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Uuid::from_u128(u128::from(mixed) << 64 | u128::from(number)).into()
}

#[derive(Clone, Debug)]
enum Step {
    Create(u64, usize, u64),
    Update(u64, usize, u64),
    Touch(u64, u64),
    Delete(u64),
    Reap(u64),
    List { limit: usize, before: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // What ends at the epoch every newcomer sees out.
    let (who, user, time) = (0_u64..30, 0..USERS.len(), 1_u64..50);
    let step = prop_oneof![
        5 => (who.clone(), user.clone(), time.clone()).prop_map(|(a, b, c)| Step::Create(a, b, c)),
        3 => (who.clone(), user, time.clone()).prop_map(|(a, b, c)| Step::Update(a, b, c)),
        1 => (who.clone(), time.clone()).prop_map(|(a, b)| Step::Touch(a, b)),
        1 => who.prop_map(Step::Delete),
        1 => time.clone().prop_map(Step::Reap),
        2 => (1_usize..6, time).prop_map(|(limit, before)| Step::List { limit, before }),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lists_are_those_of_a_plain_map_after_any_history(steps in steps(), is_small: bool) {
        // One shard, or many.
        let bound = if is_small { 1_000 } else { 1_000_000 };
        let store = MemoryStore::builder().max_sessions(bound).build();
        let mut model: BTreeMap<SessionId, (Arc<Record>, Activity)> = BTreeMap::new();
        for (index, step) in steps.into_iter().enumerate() {
            let counter = index as u64 + 1;
            match step {
                Step::Create(who, user, time) => {
                    let record = record(USERS[user], counter);
                    block_on(store.create(id(who), &record, at(time))).unwrap();
                    model.entry(id(who)).or_insert((record, at(time)));
                }
                Step::Update(who, user, time) => {
                    if let Some(kept) = model.get_mut(&id(who)) {
                        let expected = kept.0.version();
                        *kept = (record(USERS[user], counter), at(time));
                        block_on(store.update(id(who), &kept.0, kept.1, former(expected))).unwrap();
                    }
                }
                Step::Touch(who, time) => {
                    if let Some((record, activity)) = model.get_mut(&id(who)) {
                        block_on(store.touch(id(who), former(record.version()), at(time))).unwrap();
                        activity.last_seen_at = activity.last_seen_at.max(at(time).last_seen_at);
                        activity.expires_at = activity.expires_at.max(at(time).expires_at);
                    }
                }
                Step::Delete(who) => {
                    block_on(store.delete(id(who))).unwrap();
                    model.remove(&id(who));
                }
                Step::Reap(before) => {
                    block_on(store.delete_expired(Timestamp::from_millis(before), 100)).unwrap();
                    model.retain(|_, (_, activity)| activity.expires_at > at(before).expires_at);
                }
                Step::List { limit, before } => {
                    let before = Timestamp::from_millis(before);
                    for user in USERS {
                        for (seen, created) in
                            [(None, None), (Some(before), None), (None, Some(before))]
                        {
                            let mut query = Query::default();
                            if let Some(user) = user {
                                query = query.with_user(user);
                            }
                            if let Some(moment) = seen {
                                query = query.with_last_seen_before(moment);
                            }
                            if let Some(moment) = created {
                                query = query.with_created_before(moment);
                            }
                            let listed = all(&store, &query, limit);
                            let admits = |(_, (record, activity)): &(&SessionId, &(Arc<Record>, Activity))| {
                                query.unordered().admits(record, *activity)
                            };
                            let expected: Vec<_> = model
                                .iter()
                                .filter(admits)
                                .collect();
                            prop_assert_eq!(listed.len(), expected.len());
                            let counted = block_on(store.count(&query)).unwrap();
                            prop_assert_eq!(counted, expected.len() as u64);
                            for (listed, (id, (record, activity))) in listed.iter().zip(expected) {
                                prop_assert_eq!(listed.id, *id);
                                prop_assert!(Arc::ptr_eq(&listed.record, record));
                                prop_assert_eq!(listed.activity, *activity);
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(block_on(store.count(&Query::default())).unwrap(), model.len() as u64);
        }
    }
}

#[test]
fn what_is_evicted_leaves_its_users_list() {
    let store = MemoryStore::builder().max_sessions(3).build();
    for number in 0..5 {
        block_on(store.create(id(number), &record(Some("ann"), 1), at(9))).unwrap();
    }
    let mut expected = vec![id(2), id(3), id(4)];
    expected.sort();
    assert_eq!(ids(&all(&store, &of("ann"), 10)), expected);
}

#[test]
fn a_page_looks_at_so_many_sessions_and_the_next_goes_on() {
    let store = MemoryStore::builder().max_sessions(100_000).build();
    for number in 0..40_000 {
        block_on(store.create(id(number), &record(None, 1), at(9))).unwrap();
    }
    let rare = id(20_000);
    block_on(store.touch(rare, former(record(None, 1).version()), at(10))).unwrap();
    let everybody = all(&store, &Query::default(), 999);
    assert_eq!(everybody.len(), 40_000);
    assert!(everybody.is_sorted_by(|one, other| one.id < other.id));

    // What no session gets through is found out in several pages too.
    let nobody = Query::default().with_last_seen_before(Timestamp::EPOCH);
    let first = block_on(store.list(&nobody, None, 10)).unwrap();
    assert!(first.sessions.is_empty());
    assert!(first.next.is_some());
    assert!(all(&store, &nobody, 10).is_empty());
}

#[test]
fn lists_agree_with_the_table_while_many_write() {
    let store = MemoryStore::builder().max_sessions(100_000).build();
    let empty = store.bytes();
    // These rest while others come and go.
    let resting: BTreeSet<SessionId> = (0..500).map(id).collect();
    for id in &resting {
        block_on(store.create(*id, &record(Some("ann"), 1), at(9))).unwrap();
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        defer! { is_over.store(true, Ordering::Relaxed) }
        for thread in 0..4_u64 {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let mut turn = 0_u64;
                while !is_over.load(Ordering::Relaxed) || turn < 1_000 {
                    // The same ids in every thread.
                    let who = id(1_000 + (turn * 7 + thread) % 50);
                    let user = USERS[(turn % 4) as usize];
                    match turn % 3 {
                        0 => drop(block_on(store.create(who, &record(user, turn), at(9)))),
                        1 => {
                            if let Some((kept, _)) = block_on(store.load(who)).unwrap() {
                                let version = kept.version();
                                let next = record(user, version.counter + 1);
                                drop(block_on(store.update(who, &next, at(9), former(version))));
                            }
                        }
                        _ => drop(block_on(store.delete(who))),
                    }
                    turn += 1;
                }
            });
        }
        for limit in [1, 7, 1_000] {
            for filter in [of("ann"), Query::default()] {
                let listed = ids(&all(&store, &filter, limit));
                assert!(listed.is_sorted_by(|one, other| one < other));
                let listed = BTreeSet::from_iter(listed);
                assert!(resting.is_subset(&listed), "a resting session is missing");
            }
        }
    });
    for user in ["ann", "bob", ""] {
        let mut expected = Vec::new();
        for listed in all(&store, &Query::default(), 1_000) {
            if listed.record.user() == Some(user) {
                expected.push(listed.id);
            }
        }
        assert_eq!(ids(&all(&store, &of(user), 3)), expected);
    }
    for listed in all(&store, &Query::default(), 1_000) {
        block_on(store.delete(listed.id)).unwrap();
    }
    assert_eq!((store.len(), store.bytes()), (0, empty));
}

#[test]
fn a_list_is_no_use_of_a_session() {
    let store = MemoryStore::builder().max_sessions(2).build();
    for number in 0..2 {
        block_on(store.create(id(number), &record(Some("ann"), 1), at(9))).unwrap();
    }
    let version = Version {
        counter: 1,
        writer: 0,
    };
    block_on(store.touch(id(0), former(version), at(9))).unwrap();
    all(&store, &of("ann"), 1);
    all(&store, &Query::default(), 1);
    block_on(store.create(id(2), &record(Some("ann"), 1), at(9))).unwrap();
    let mut expected = vec![id(0), id(2)];
    expected.sort();
    assert_eq!(ids(&all(&store, &of("ann"), 9)), expected);
}
