//! The scenarios and their bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{Mutex, MutexGuard, atomic::Ordering::Relaxed},
    time::Instant,
};

use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::{
    net::{Act, Net},
    properties::SOMETIMES,
    record::{FAULTS, MEMORY},
    world::{Op, With},
};
use Op::{
    Claim, Create, Cycle, Destroy, Import, Increment, Insert, LogIn, LogInTake, Renew, Revoke,
    RevokeUser, Save, SaveLogIn, Touch,
};

/// The rules are switched off for the whole process, so only one check runs at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn is_large() -> bool {
    env::var("CLOAKROOM_MODEL").is_ok_and(|bounds| bounds == "large")
}

/// The results of several scenarios.
#[derive(Default)]
pub(crate) struct Report {
    scenarios: usize,
    states: usize,
    depth: usize,
    falls: BTreeMap<&'static str, (usize, String)>,
    seen: BTreeSet<&'static str>,
}

impl Report {
    pub(crate) fn explore(&mut self, net: Net) {
        let name = format!("{:?} lost {} limit {:?}", net.ops, net.lost, net.limit);
        let checker = net
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AllFailures)
            .spawn_bfs()
            .join();
        self.scenarios += 1;
        self.states += checker.unique_state_count();
        self.depth = self.depth.max(checker.max_depth());
        for (property, path) in checker.discoveries() {
            if SOMETIMES.iter().any(|(name, _)| *name == property) {
                self.seen.insert(property);
                continue;
            }
            if env::var("CLOAKROOM_MODEL_TRACE").is_ok() {
                println!("{property} falls in {name}");
                for (world, act) in path.clone().into_vec() {
                    println!("  {:?}  -> {act:?}", world.store);
                    for actor in &world.actors {
                        println!("       {:.400}", format!("{:?}", actor.phase));
                    }
                }
            }
            let acts: Vec<Act> = path.into_actions();
            let fall = self
                .falls
                .entry(property)
                .or_insert_with(|| (0, format!("{name}: {acts:?}")));
            fall.0 += 1;
        }
    }

    fn print(&self, name: &str, since: Instant) {
        println!(
            "{name}: {} scenarios, {} states, depth {}, {:.1} s",
            self.scenarios,
            self.states,
            self.depth,
            since.elapsed().as_secs_f64()
        );
        for (property, (times, first)) in &self.falls {
            println!("  {property}: falls in {times}, first {first}");
        }
    }
}

/// Every multiset of `n` of `all`.
fn multisets(all: &[Op], n: usize) -> Vec<Vec<Op>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    (0..all.len())
        .flat_map(|first| {
            multisets(&all[first..], n - 1)
                .into_iter()
                .map(move |mut rest| {
                    rest.insert(0, all[first]);
                    rest
                })
        })
        .collect()
}

const OPS: [Op; 13] = [
    Increment,
    Save,
    SaveLogIn(1),
    Insert,
    Claim,
    LogIn(1),
    LogIn(2),
    LogInTake(1),
    Cycle,
    Destroy,
    Revoke,
    Renew,
    Touch,
];

fn sound(memory: usize) {
    FAULTS.store(0, Relaxed);
    MEMORY.store(memory, Relaxed);
}

/// With each fault once.
fn disturbed(ops: &[Op], lost: u8, abandoned: u8) -> Net {
    Net {
        lost,
        cancelled: 1,
        late: 1,
        crashed: 1,
        abandoned,
        ..Net::on_one(ops)
    }
}

/// Every pair of requests on one session.
pub(crate) fn pairs(lost: u8) -> Vec<Net> {
    multisets(&OPS, 2)
        .iter()
        .map(|ops| disturbed(ops, lost, 1))
        .collect()
}

pub(crate) fn triples(all: &[Op], lost: u8, abandoned: u8) -> Vec<Net> {
    multisets(all, 3)
        .iter()
        .map(|ops| disturbed(ops, lost, abandoned))
        .collect()
}

/// A session of a user who logs in again, or as another user.
pub(crate) fn of_a_user(lost: u8) -> Vec<Net> {
    let mut all = OPS.to_vec();
    all.push(RevokeUser(1));
    let user = |ops: &Vec<Op>| Net {
        user: 1,
        ..disturbed(ops, lost, 1)
    };
    multisets(&all, 2).iter().map(user).collect()
}

/// More writes after a lost reply than a record remembers.
pub(crate) fn memory(lost: u8) -> Vec<Net> {
    [
        [Increment, Increment, Increment],
        [Save, Increment, Increment],
        [Insert, Claim, Increment],
        [Claim, Increment, Increment],
        [Claim, Cycle, Destroy],
        [Claim, Save, Touch],
    ]
    .iter()
    .map(|ops| Net {
        lost,
        reaped: 1,
        // It is a known exception if a session is evicted while its move is unknown.
        evicted: u8::from(!ops.iter().any(|op| op.moves())),
        ..Net::on_one(ops)
    })
    .collect()
}

/// A move, a concurrent change of the old session, and a request with the new token.
pub(crate) fn visits(lost: u8, abandoned: u8) -> Vec<Net> {
    let mut nets = Vec::new();
    for first in [LogIn(1), Cycle] {
        for meanwhile in [
            Increment,
            Claim,
            LogIn(1),
            Cycle,
            Destroy,
            Revoke,
            RevokeUser(1),
        ] {
            for visit in [Increment, Claim, Renew, Touch, Cycle, LogIn(1), Destroy] {
                let old = With::Old(0);
                nets.push(Net {
                    ops: vec![(first, old), (meanwhile, old), (visit, With::New(0))],
                    ..disturbed(&[], lost, abandoned)
                });
            }
        }
    }
    nets
}

/// One or two sessions for each user, and several devices; a double click on one of them.
pub(crate) fn limits(lost: u8, abandoned: u8) -> Vec<Net> {
    let mut nets = Vec::new();
    let mut add = |limit: usize, devices: &[(Op, u8)], starts: u8, user: u8| {
        nets.push(Net {
            ops: devices
                .iter()
                .map(|(op, on)| (*op, With::Old(*on)))
                .collect(),
            starts,
            user,
            limit: Some(limit),
            ..disturbed(&[], lost, abandoned)
        });
    };
    add(1, &[(LogIn(1), 0), (LogIn(1), 1)], 2, 0);
    add(1, &[(LogIn(1), 0), (LogIn(1), 0)], 1, 0);
    add(1, &[(LogIn(1), 0), (LogIn(1), 0), (LogIn(1), 1)], 2, 0);
    add(1, &[(LogIn(1), 0), (LogIn(1), 1), (LogIn(1), 0)], 2, 0);
    add(1, &[(LogIn(1), 0), (LogIn(1), 1), (Increment, 0)], 2, 0);
    add(1, &[(LogIn(1), 0), (LogIn(1), 1), (RevokeUser(1), 0)], 2, 0);
    add(1, &[(LogIn(1), 0), (LogIn(1), 0)], 1, 1);
    // A user logs in again, and elsewhere.
    add(1, &[(LogIn(1), 0), (LogIn(1), 1)], 2, 1);
    add(1, &[(LogIn(1), 0), (Cycle, 0)], 1, 1);
    add(2, &[(LogIn(1), 0), (LogIn(1), 1), (LogIn(1), 2)], 3, 1);
    add(2, &[(LogIn(1), 0), (LogIn(1), 1), (LogIn(1), 2)], 3, 0);
    nets
}

/// Every pair, with `alter` to it.
fn pairs_with(lost: u8, abandoned: u8, alter: impl Fn(Net) -> Net) -> Vec<Net> {
    let pairs = multisets(&OPS, 2);
    pairs
        .iter()
        .map(|ops| alter(disturbed(ops, lost, abandoned)))
        .collect()
}

/// A new visitor, while the operator ends all sessions without a user.
fn creations(lost: u8) -> Vec<Net> {
    [&[Create][..], &[Create, RevokeUser(0)], &[Create, Create]]
        .iter()
        .map(|ops| disturbed(ops, lost, 1))
        .collect()
}

/// Requests with the cookie of another library, and with the token that one of them got.
pub(crate) fn imports(lost: u8, abandoned: u8) -> Vec<Net> {
    let (old, new) = (With::Old(0), With::New(0));
    let import = (Import, old);
    let all: [&[(Op, With)]; 10] = [
        &[import],
        &[import, import],
        &[import, (Claim, new)],
        &[import, import, (Claim, new)],
        &[import, import, (Destroy, new)],
        &[import, import, (Revoke, new)],
        &[import, import, (Cycle, new)],
        &[import, import, (LogIn(1), new)],
        &[import, (Claim, new), (Claim, With::New(0))],
        &[import, import, (Increment, With::New(1))],
    ];
    let net = |ops: &&[(Op, With)]| {
        [false, true].map(|keeps| Net {
            ops: ops.to_vec(),
            keeps,
            ..disturbed(&[], lost, abandoned)
        })
    };
    all.iter().flat_map(net).collect()
}

/// A name, how many writers a record remembers, and the scenarios.
type Suite = (&'static str, usize, Vec<Net>);

fn suites() -> Vec<Suite> {
    let more = u8::from(is_large());
    let most = [
        Increment,
        Insert,
        Claim,
        LogIn(1),
        LogIn(2),
        Cycle,
        Destroy,
        Revoke,
    ];
    let mut suites = vec![
        ("pairs", 1, pairs(1 + more)),
        ("pairs, nothing remembered", 0, pairs(1 + more)),
        ("pairs of a user", 1, of_a_user(1 + more)),
        (
            "pairs, markers expire",
            1,
            pairs_with(more, 1, |net| Net { reaped: 1, ..net }),
        ),
        (
            "pairs, markers expire before a move begins",
            1,
            pairs_with(more, 1, |net| Net {
                reaped: 1,
                stale: true,
                ..net
            }),
        ),
        (
            "pairs, a session is evicted",
            1,
            pairs_with(1, 0, |net| Net { evicted: 1, ..net }),
        ),
        (
            "pairs, an undoing is lost",
            1,
            pairs_with(1, 1, |net| Net {
                undo_lost: 1,
                ..net
            }),
        ),
        ("creations", 1, creations(2)),
        ("imports, a reply lost", 1, imports(1, more)),
        ("imports, one given up", 1, imports(more, 1)),
        (
            "imports, two replies lost, one given up",
            1,
            imports(2, 1)
                .into_iter()
                .filter(|net| net.ops.len() < 3)
                .collect(),
        ),
        ("more writes than remembered", 1, memory(1 + more)),
        ("visits with a new token", 1, visits(1, more)),
        ("visits with a new token, one given up", 1, visits(more, 1)),
        (
            "a limit",
            1,
            limits(1, 1)
                .into_iter()
                .filter(|net| net.ops.len() < 3)
                .collect(),
        ),
        (
            "a limit, two replies lost",
            1,
            limits(2, 0)
                .into_iter()
                .filter(|net| net.ops.len() < 3)
                .collect(),
        ),
        (
            "a limit, three requests",
            1,
            limits(more, 0)
                .into_iter()
                .filter(|net| net.ops.len() > 2)
                .collect(),
        ),
        ("triples, a reply lost", 1, triples(&most, 1, more)),
        ("triples, one given up", 1, triples(&most, more, 1)),
    ];
    if is_large() {
        let deep = [
            [LogIn(1), LogIn(1), Claim],
            [LogIn(1), LogIn(2), Increment],
            [Cycle, Claim, Revoke],
        ];
        let deep = deep.iter().map(|ops| disturbed(ops, 1, 3)).collect();
        suites.push(("three requests, each given up in another way", 1, deep));
    }
    suites
}

/// More steps than any run needs. Otherwise two machines keep each other busy.
const DEEPEST: usize = 60;

#[test]
fn every_rule_holds_in_every_scenario() {
    let _alone = alone();
    let mut seen = BTreeSet::new();
    // To run a single suite.
    let only = env::var("CLOAKROOM_MODEL_SUITE").unwrap_or_default();
    for (name, memory, nets) in suites().into_iter().filter(|suite| suite.0.contains(&only)) {
        sound(memory);
        let since = Instant::now();
        let mut report = Report::default();
        for net in nets {
            report.explore(net);
        }
        report.print(name, since);
        assert!(report.falls.is_empty(), "{name}: {:#?}", report.falls);
        assert!(report.depth <= DEEPEST, "{name}: {} steps", report.depth);
        seen.extend(report.seen);
    }
    let never = SOMETIMES.iter().filter(|(name, _)| !seen.contains(name));
    let never: Vec<_> = never.map(|(name, _)| name).collect();
    assert!(
        never.is_empty() || !only.is_empty(),
        "never seen: {never:#?}"
    );
}
