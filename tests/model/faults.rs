//! Planted faults: each rule switched off, and the property that fails then.

use std::{fmt::Write as _, fs, sync::atomic::Ordering::Relaxed};

use cloakroom::protocol::Policy;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::{
    net::{Environment, Net},
    properties,
    record::{FAULTS, MEMORY, bit},
    suites::{self, alone},
};

/// A rule that is switched off, or a promise that a store breaks.
enum Fault {
    Of(Policy),
    By(Environment),
}

/// A description, the fault, and the scenarios in which it is found.
type Planted = (&'static str, Fault, fn() -> Vec<Net>);

const FAULTS_TO_FIND: [Planted; 27] = [
    (
        "a write older than the record's list of writers counts as not stored",
        Fault::Of(Policy::WriteBeyondMemoryFails),
        pairs,
    ),
    (
        "a claim older than the record's list of writers counts as not stored",
        Fault::Of(Policy::ClaimBeyondMemoryFails),
        pairs,
    ),
    (
        "after a lost reply, a move is looked for before the list of writers is read",
        Fault::Of(Policy::WroteBeforeMoved),
        pairs,
    ),
    (
        "a claim with a lost reply finds nothing if the record is gone",
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
        "a log-in joins a session after another request wrote to it",
        Fault::Of(Policy::JoinsUnwritten),
        visits,
    ),
    (
        "a log-in keeps its copy of the data after the session moved elsewhere",
        Fault::Of(Policy::LaterBeginsEmpty),
        pairs,
    ),
    (
        "a move leaves a changed session without taking over the change",
        Fault::Of(Policy::RewritesBeforeMarker),
        pairs,
    ),
    (
        "the limit is enforced after the old session was left",
        Fault::Of(Policy::LimitBeforeMarker),
        limited,
    ),
    (
        "the limit ends the new session of a log-in and spares the one that it would leave",
        Fault::Of(Policy::LimitEndsBoth),
        undisturbed,
    ),
    (
        "the limit spares a session with a later log-in than its list says and goes on",
        Fault::Of(Policy::LimitListsAgain),
        undisturbed,
    ),
    (
        "a log-in with an unknown result answers without the new token",
        Fault::Of(Policy::TokenInDoubt),
        pairs,
    ),
    (
        "the new session of a refused log-in stays",
        Fault::Of(Policy::RefusedIsClosed),
        of_user,
    ),
    (
        "a session is ended during its move without a bar",
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
        "an unfinished move is not finished before the data is read",
        Fault::Of(Policy::Helps),
        visits,
    ),
    (
        "a request that finishes a move does not take over the old session's changes",
        Fault::Of(Policy::HelpTakesOver),
        visits,
    ),
    (
        "an undo writes no bar into the old session",
        Fault::Of(Policy::UndoBars),
        pairs,
    ),
    (
        "an undo does not close the id of a session that is not stored yet",
        Fault::Of(Policy::UndoCloses),
        pairs,
    ),
    (
        "an import continues although another one was faster",
        Fault::Of(Policy::ImportsOnce),
        imports,
    ),
    (
        "an old token opens a session after the new token was used",
        Fault::Of(Policy::ImportsUnused),
        imports,
    ),
    (
        "an import with an unknown result is undone",
        Fault::Of(Policy::ImportsInDoubtStay),
        imports,
    ),
    (
        "a store applies a call and reports it as refused",
        Fault::By(Environment::RefusalsThatWereNone),
        pairs,
    ),
    (
        "a store sends a call twice and does not report it",
        Fault::By(Environment::HiddenRetries),
        pairs,
    ),
    (
        "the marker of an ended session is deleted at once",
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

/// The limit without lost replies.
fn undisturbed() -> Vec<Net> {
    suites::limits(0, 0)
}

/// The first property that fails, the number of steps, and the requests.
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
