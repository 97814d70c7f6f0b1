//! Random numbers that identify a writer: [`unique`].

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime},
};

/// About a second, in nanoseconds: how long a seed is used.
const SEED_SHIFT: u32 = 30;

/// A thread's source of numbers. Each thread has its own, so that threads do not write to the same memory.
#[derive(Clone, Copy)]
struct Source {
    seed: u64,
    /// When the seed was drawn, in units of `1 << SEED_SHIFT` nanoseconds since the epoch; 0: never.
    seeded_at: u64,
    drawn: u64,
}

/// A number that no other call returns, in this process or another one.
///
/// A clone of a virtual machine, or a forked process, begins with the same
/// memory. So the time goes into each number, and the seed is drawn anew every second.
pub(crate) fn unique() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    unique_at(now.unwrap_or_default())
}

/// As [`unique`]; `now` is the time since the epoch, and was read just before.
pub(crate) fn unique_at(now: Duration) -> u64 {
    thread_local! {
        static SOURCE: Cell<Source> = const {
            Cell::new(Source { seed: 0, seeded_at: 0, drawn: 0 })
        };
    }
    // Wraps in the year 2554.
    let seconds = now.as_secs().wrapping_mul(1_000_000_000);
    let nanos = seconds.wrapping_add(u64::from(now.subsec_nanos()));
    let mut source = SOURCE.get();
    let second = (nanos >> SEED_SHIFT).max(1);
    if source.seeded_at != second {
        source.seed = random();
        source.seeded_at = second;
    }
    source.drawn = source.drawn.wrapping_add(1);
    SOURCE.set(source);
    number(source.seed, source.drawn, nanos)
}

fn number(seed: u64, drawn: u64, nanos: u64) -> u64 {
    mixed(seed ^ mixed(nanos)).wrapping_add(mixed(drawn))
}

/// SplitMix64's bijection (Steele, Lea, Flood 2014).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// From the operating system, or, if that fails, from the keys that the standard library draws for its maps.
#[cold]
fn random() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => RandomState::new().hash_one(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn a_clone_of_the_process_draws_other_numbers() {
        let (seed, drawn, nanos) = (random(), 7, 1_767_225_600_000_000_000);
        let here: HashSet<_> = (0..1000)
            .map(|n| number(seed, drawn + n, nanos + n))
            .collect();
        let there = (0..1000).map(|n| number(seed, drawn + n, nanos + 1_000 + n));
        assert_eq!(there.filter(|number| here.contains(number)).count(), 0);
    }

    #[test]
    fn no_two_draws_are_the_same_over_all_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| thread::spawn(|| (0..25_000).map(|_| unique()).collect::<Vec<_>>()))
            .collect();
        let mut drawn = HashSet::new();
        for thread in threads {
            drawn.extend(thread.join().unwrap());
        }
        assert_eq!(drawn.len(), 100_000);
    }
}
