//! Planted faults: each rule taken out, and what finds it.

use std::{fmt::Write as _, fs, sync::atomic::Ordering::Relaxed};

use cloakroom::protocol::Policy;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::{
    net::{Environment, Net},
    properties,
    record::{FAULTS, MEMORY, bit},
    suites::{self, alone},
};

/// A rule that is taken out, or a promise that a store breaks.
enum Fault {
    Of(Policy),
    By(Environment),
}

/// What it is, and the scenarios that show it.
type Planted = (&'static str, Fault, fn() -> Vec<Net>);

const FAULTS_TO_FIND: [Planted; 25] = [
    (
        "a write that the record no longer remembers counts as not stored",
        Fault::Of(Policy::WriteBeyondMemoryFails),
        pairs,
    ),
    (
        "a claim that the record no longer remembers counts as not stored",
        Fault::Of(Policy::ClaimBeyondMemoryFails),
        pairs,
    ),
    (
        "whether the session moved is asked before whether the write is in it",
        Fault::Of(Policy::WroteBeforeMoved),
        pairs,
    ),
    (
        "a claim whose reply was lost, of a record that is gone, finds nothing",
        Fault::Of(Policy::ClaimMissingFails),
        memory,
    ),
    (
        "a log-in does not join a faster one",
        Fault::Of(Policy::Joins),
        pairs,
    ),
    (
        "a log-in joins another user's session",
        Fault::Of(Policy::JoinsSameUser),
        pairs,
    ),
    (
        "a log-in joins a session that was written to",
        Fault::Of(Policy::JoinsUnwritten),
        visits,
    ),
    (
        "a log-in whose session has moved keeps its copy",
        Fault::Of(Policy::LaterBeginsEmpty),
        pairs,
    ),
    (
        "a move leaves a session that has changed without taking the change in",
        Fault::Of(Policy::RewritesBeforeMarker),
        pairs,
    ),
    (
        "the limit is enforced after the old session was left",
        Fault::Of(Policy::LimitBeforeMarker),
        limited,
    ),
    (
        "a log-in in doubt answers without the new token",
        Fault::Of(Policy::TokenInDoubt),
        pairs,
    ),
    (
        "what a refused log-in has created stays",
        Fault::Of(Policy::RefusedIsClosed),
        of_user,
    ),
    (
        "a session that is moving is ended without barring it",
        Fault::Of(Policy::EndBars),
        of_user,
    ),
    (
        "a log-out does not follow a cycle",
        Fault::Of(Policy::EndFollowsCycle),
        pairs,
    ),
    (
        "a log-out follows a log-in",
        Fault::Of(Policy::EndSparesLogIn),
        pairs,
    ),
    (
        "a move that nobody finished is not finished before reading",
        Fault::Of(Policy::Helps),
        visits,
    ),
    (
        "who finishes a move does not take over what the old session has",
        Fault::Of(Policy::HelpTakesOver),
        visits,
    ),
    (
        "undoing does not bar the old session",
        Fault::Of(Policy::UndoBars),
        pairs,
    ),
    (
        "undoing does not close the id of what is not there yet",
        Fault::Of(Policy::UndoCloses),
        pairs,
    ),
    (
        "an import goes on though another was faster",
        Fault::Of(Policy::ImportsOnce),
        imports,
    ),
    (
        "an old token opens a session that was used since",
        Fault::Of(Policy::ImportsUnused),
        imports,
    ),
    (
        "an import in doubt is taken back",
        Fault::Of(Policy::ImportsInDoubtStay),
        imports,
    ),
    (
        "a store calls refused what it has applied",
        Fault::By(Environment::RefusalsThatWereNone),
        pairs,
    ),
    (
        "a store hides that it has sent a call twice",
        Fault::By(Environment::HiddenRetries),
        pairs,
    ),
    (
        "the marker of a session that ended goes at once",
        Fault::By(Environment::MarkersThatGo),
        pairs,
    ),
];

fn pairs() -> Vec<Net> {
    suites::pairs(1)
}

fn of_user() -> Vec<Net> {
    suites::of_a_user(1)
}

fn visits() -> Vec<Net> {
    suites::visits(1, 1)
}

fn memory() -> Vec<Net> {
    suites::memory(1)
}

fn imports() -> Vec<Net> {
    suites::imports(1, 1)
}

fn limited() -> Vec<Net> {
    suites::limits(1, 1)
}

/// The first property that falls, with how many steps, and the requests.
fn find(fault: &Fault, scenarios: &[Net]) -> Option<(&'static str, usize, String)> {
    MEMORY.store(0, Relaxed);
    FAULTS.store(
        match fault {
            Fault::Of(policy) => bit(*policy),
            Fault::By(_) => 0,
        },
        Relaxed,
    );
    let found = scenarios.iter().cloned().find_map(|mut net| {
        if let Fault::By(world) = fault {
            net.world = *world;
        }
        let ops: Vec<String> = net
            .ops
            .iter()
            .map(|(op, with)| format!("{op:?} {with:?}"))
            .collect();
        let checker = net
            .checker()
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let falls = checker
            .discoveries()
            .into_iter()
            .filter(|(name, _)| !properties::is_sometimes(name));
        let steps = |path: stateright::Path<_, _>| path.into_actions().len();
        let shortest = falls
            .map(|(name, path)| (name, steps(path)))
            .min_by_key(|(name, steps)| (*steps, *name));
        shortest.map(|(name, steps)| (name, steps, ops.join(", ")))
    });
    FAULTS.store(0, Relaxed);
    found
}

#[test]
fn every_planted_fault_is_found_as_the_table_in_contributing_says() {
    let _alone = alone();
    let mut table = String::from("| planted fault | found by | in steps |\n| --- | --- | --- |\n");
    let mut missed = Vec::new();
    for (name, fault, scenarios) in &FAULTS_TO_FIND {
        match find(fault, &scenarios()) {
            Some((property, steps, requests)) => {
                println!("{name}: {property} in {steps} steps, {requests}");
                writeln!(table, "| {name} | {property} | {steps} |").unwrap();
            }
            None => missed.push(*name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:#?}");
    let contributing = concat!(env!("CARGO_MANIFEST_DIR"), "/../../CONTRIBUTING.md");
    let text = fs::read_to_string(contributing).unwrap();
    assert!(
        text.contains(&table),
        "CONTRIBUTING.md should have this table:\n{table}"
    );
}
