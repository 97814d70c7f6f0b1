//! When a session was last used, and how well it is known: [`Tier`] and [`Stamp`], in one atomic number.

use super::sync::{AtomicU64, Ordering};

/// How well a session is known: what leaves first when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// Never seen again since it was created; a moved marker stays here.
    New,
    /// Seen again.
    Seen,
    /// Has a user.
    User,
}

impl Tier {
    pub(super) const ALL: [Self; 3] = [Self::New, Self::Seen, Self::User];

    /// The greatest key of this tier.
    pub(super) fn last_key(self) -> u64 {
        pack(self, (1 << TIER_SHIFT) - 1)
    }
}

const TIER_SHIFT: u32 = 62;

/// Tier above, the shard's tick of the last use below: the key of eviction.
/// It is stored under a shared lock; of two uses at once either may be the last.
#[derive(Debug)]
pub(super) struct Stamp(AtomicU64);

impl Stamp {
    pub(super) fn new(tier: Tier, tick: u64) -> Self {
        Self(AtomicU64::new(pack(tier, tick)))
    }

    pub(super) fn store(&self, tier: Tier, tick: u64) {
        self.0.store(pack(tier, tick), Ordering::Relaxed);
    }

    pub(super) fn key(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn pack(tier: Tier, tick: u64) -> u64 {
    (tier as u64) << TIER_SHIFT | tick
}

/// The ticks of one shard: each use gets the next, so its order is exact.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicU64);

impl Ticks {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
