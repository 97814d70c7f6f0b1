//! How many instructions the layer adds to a request, by kind of request, and how many of them are atomic.
//! `scripts/instructions` runs it.
//!
//! The program runs itself under callgrind, once for each kind of request with and without the layer, and compares
//! the difference with the numbers in `instructions.txt`. It fails if one is more than 3 % above.
//! Instructions, unlike times, are the same on a busy machine. They depend on the compiler and on the
//! processor's features that valgrind emulates, so numbers of another compiler are shown and not compared.
//!
//! Atomic instructions are what locks and reference counts are made of. On x86, one takes about 20 cycles, even if no other
//! thread uses the same memory (Agner Fog's instruction tables).
//!
//! ```text
//! scripts/instructions           compare
//! scripts/instructions keep      write the numbers into instructions.txt
//! ```

mod requests;

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use cloakroom::SessionLayer;
use tokio::runtime::{Builder, Runtime};

use crate::requests::{Bench, KINDS};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
const REQUESTS: usize = 2_000;
/// Before those that count: tables and buffers have grown by then.
const WARM_UP: usize = 500;
/// More than this above the kept number fails.
const TOLERANCE: f64 = 0.03;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["keep"] => keep(),
        [subject, row, requests] => run(
            subject,
            row.parse().expect("the number of a row"),
            requests.parse().expect("a number of requests"),
        ),
        _ => {
            eprintln!("see the top of benches/instructions.rs");
            ExitCode::FAILURE
        }
    }
}

/// What callgrind watches.
fn run(subject: &str, row: usize, requests: usize) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let kind = KINDS[row];
    let mut bench = match subject {
        "with" => runtime.block_on(Bench::with_sessions(kind, SessionLayer::default())),
        _ => Bench::without(kind),
    };
    runtime.block_on(bench.round(WARM_UP));
    measured(&runtime, &mut bench, requests);
    ExitCode::SUCCESS
}

/// Callgrind counts from here to the end of it.
#[inline(never)]
fn measured(runtime: &Runtime, bench: &mut Bench, requests: usize) {
    runtime.block_on(bench.round(requests));
}

/// What a request costs.
struct Cost {
    instructions: f64,
    /// How many of the instructions are atomic.
    atomics: f64,
}

/// The cost of a request of one row.
fn count(subject: &str, row: usize) -> Cost {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args([
            "--toggle-collect=*instructions::measured*",
            "--collect-bus=yes",
        ])
        .arg(env::current_exe().expect("this program"))
        .args([subject, &row.to_string(), &REQUESTS.to_string()])
        .output()
        .expect("`valgrind` is installed");
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    match collected.and_then(numbers) {
        Some([instructions, atomics]) if output.status.success() => Cost {
            instructions: instructions / REQUESTS as f64,
            atomics: atomics / REQUESTS as f64,
        },
        _ => panic!("valgrind counted nothing: {report}"),
    }
}

/// The first two numbers of a line.
fn numbers(line: &str) -> Option<[f64; 2]> {
    let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??])
}

/// What the layer adds to each kind of request.
fn added() -> [Cost; KINDS.len()] {
    std::array::from_fn(|row| {
        let (with, without) = (count("with", row), count("without", row));
        Cost {
            instructions: with.instructions - without.instructions,
            atomics: with.atomics - without.atomics,
        }
    })
}

fn keep() -> ExitCode {
    let mut text = format!("{}\n", compiler());
    for (kind, added) in KINDS.iter().zip(added()) {
        let Cost {
            instructions,
            atomics,
        } = added;
        text.push_str(&format!("{instructions:.0} {atomics:.1} {}\n", kind.name));
    }
    fs::write(KEPT, &text).expect("instructions.txt");
    print!("{text}");
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let kept = fs::read_to_string(KEPT).expect("instructions.txt");
    let (compiler_then, kept) = kept.split_once('\n').expect("a compiler");
    let kept: Vec<[f64; 2]> = kept
        .lines()
        .map(numbers)
        .collect::<Option<_>>()
        .expect("numbers");
    let is_same_compiler = compiler() == compiler_then;
    println!(
        "| request | instructions the layer adds | kept | change | atomic ones | kept | change |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut is_worse = false;
    for ((kind, added), [instructions, atomics]) in KINDS.iter().zip(added()).zip(kept) {
        let mut row = format!("| {} |", kind.name);
        for (added, kept) in [(added.instructions, instructions), (added.atomics, atomics)] {
            let change = added / kept - 1.0;
            is_worse |= change > TOLERANCE;
            row += &format!(" {added:.0} | {kept:.0} | {:+.1} % |", change * 100.0);
        }
        println!("{row}");
    }
    if !is_same_compiler {
        println!(
            "Not compared: the kept numbers are of {compiler_then}, this is {}.",
            compiler()
        );
        return ExitCode::SUCCESS;
    }
    if is_worse {
        println!(
            "More than {:.0} % above the kept number.",
            TOLERANCE * 100.0
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Its first line: the version and the commit.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.expect("`rustc` is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
