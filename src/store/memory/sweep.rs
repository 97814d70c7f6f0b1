//! Deletes expired sessions from a [`MemoryInner`], a few at a time.

use std::{sync::atomic::Ordering, time::Duration};

use parking_lot::RwLockWriteGuard;

use super::inner::{MemoryInner, Shard};
use crate::{
    clock::Timestamp,
    deadline::pause,
    store::{Reaped, RemovalReason},
};

/// How many sessions are removed under one hold of a lock. It takes some microseconds, and readers wait for it.
const BATCH: usize = 32;

/// After so many removals, or so many shards that were looked at, other tasks run.
const STEP: usize = 1024;

/// A pass over all shards.
struct Sweep {
    before: Timestamp,
    limit: usize,
    removed: usize,
    /// The shard where it began.
    first: usize,
    /// How many shards it has finished.
    finished: usize,
}

impl MemoryInner {
    /// Lets other tasks run in between, if there is much to delete.
    pub(crate) async fn reap(&self, before: Timestamp, limit: usize) -> Reaped {
        let mut sweep = self.sweep(before, limit);
        while !self.step(&mut sweep) {
            pause(Duration::ZERO).await;
        }
        self.reaped(&sweep)
    }

    pub(crate) fn delete_expired(&self, before: Timestamp, limit: usize) -> Reaped {
        let mut sweep = self.sweep(before, limit);
        while !self.step(&mut sweep) {}
        self.reaped(&sweep)
    }

    fn sweep(&self, before: Timestamp, limit: usize) -> Sweep {
        Sweep {
            before,
            limit,
            removed: 0,
            first: self.swept.load(Ordering::Relaxed),
            finished: 0,
        }
    }

    fn next_of(&self, sweep: &Sweep) -> usize {
        (sweep.first + sweep.finished) & (self.shards.len() - 1)
    }

    fn reaped(&self, sweep: &Sweep) -> Reaped {
        let more = sweep.finished < self.shards.len();
        if more {
            self.swept.store(self.next_of(sweep), Ordering::Relaxed);
        }
        Reaped {
            removed: sweep.removed,
            more,
        }
    }

    /// A part of a sweep. Returns whether it was the last one.
    fn step(&self, sweep: &mut Sweep) -> bool {
        let last = self.shards.len().min(sweep.finished + STEP);
        let most = sweep.limit.min(sweep.removed + STEP);
        while sweep.finished < last {
            let batch = BATCH.min(most - sweep.removed);
            if batch == 0 {
                return most == sweep.limit;
            }
            let shard = &self.shards[self.next_of(sweep)];
            let removed = self.remove_batch(shard, sweep.before, batch);
            sweep.removed += removed;
            sweep.finished += usize::from(removed < batch);
        }
        sweep.finished == self.shards.len()
    }

    /// Removes at most `limit` expired sessions of a shard, under one hold of its lock.
    fn remove_batch(&self, shard: &Shard, before: Timestamp, limit: usize) -> usize {
        let mut table = shard.table.write();
        let mut expired = Vec::new();
        while expired.len() < limit
            && let Some(slot) = table.remove_expired(before)
        {
            expired.push(slot);
        }
        let removed = expired.len();
        if removed == limit {
            // Whoever waits for the lock gets it before the next batch does.
            RwLockWriteGuard::unlock_fair(table);
        } else {
            drop(table);
        }
        if removed > 0 {
            self.end(expired, RemovalReason::Expired);
        }
        removed
    }
}
