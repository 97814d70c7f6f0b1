//! The order of eviction: the [`Tier`] first, then the last use. Both are in one atomic number, the [`Stamp`].

use super::sync::{AtomicU64, Ordering};

/// Sessions of a lower tier are evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// Not used since it was created, or a marker of a moved session that has lost its protection.
    New,
    /// Used again.
    Seen,
    /// Has a user.
    User,
    /// A marker of a moved session, protected for as long as requests with the old token may be under way.
    Marker,
}

impl Tier {
    pub(super) const ALL: [Self; 4] = [Self::New, Self::Seen, Self::User, Self::Marker];

    /// The greatest key of this tier.
    pub(super) fn last_key(self) -> u64 {
        pack(self, (1 << TIER_SHIFT) - 1)
    }
}

const TIER_SHIFT: u32 = 62;

/// The session with the least key of its shard is evicted first. The tier is in the upper two bits, the tick of the
/// last use in the others.
///
/// It is stored under a shared lock: after two uses at once, either of them may count as the last.
#[derive(Debug)]
pub(super) struct Stamp(AtomicU64);

impl Stamp {
    pub(super) fn new(tier: Tier, tick: u64) -> Self {
        Self(AtomicU64::new(pack(tier, tick)))
    }

    pub(super) fn store(&self, tier: Tier, tick: u64) {
        self.0.store(pack(tier, tick), Ordering::Relaxed);
    }

    /// Stores the next tick, unless the last one is that of this session: then it is the last one used. So threads that
    /// all use one session write no stamp and no tick.
    pub(super) fn use_again(&self, tier: Tier, ticks: &Ticks) {
        if self.key() != pack(tier, ticks.last()) {
            self.store(tier, ticks.next());
        }
    }

    pub(super) fn key(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn is_marker(&self) -> bool {
        self.key() >= pack(Tier::Marker, 0)
    }

    /// The same use, in another tier.
    pub(super) fn change_tier(&self, tier: Tier) {
        let tick = self.key() & ((1 << TIER_SHIFT) - 1);
        self.store(tier, tick);
    }
}

fn pack(tier: Tier, tick: u64) -> u64 {
    (tier as u64) << TIER_SHIFT | tick
}

/// Counts the uses of one shard, so that their order does not depend on a clock.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicU64);

impl Ticks {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The same under an exclusive lock, without an atomic addition.
    pub(super) fn next_alone(&mut self) -> u64 {
        let tick = self.0.load(Ordering::Relaxed);
        self.0.store(tick + 1, Ordering::Relaxed);
        tick
    }

    /// What `next` has returned last. Nobody has that before the first tick.
    fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed).wrapping_sub(1) & ((1 << TIER_SHIFT) - 1)
    }
}
