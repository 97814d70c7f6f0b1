//! Numbers that no other process draws: [`unique`].

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// A number that is drawn once, in this process and in all others: a random seed
/// for the process, and SplitMix64's bijection (Steele, Lea, Flood 2014) over a counter.
pub(crate) fn unique() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    let mut mixed = SEED.wrapping_add(drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

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
