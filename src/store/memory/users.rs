//! Which sessions a user has: [`Users`].

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::record::token::SessionId;

/// The index of users: the ids of each user's sessions, in order.
///
/// It keeps a keyed hash of each user. If two users have the same hash, a list looks at the records of both. It is
/// changed under the lock of the session's shard, which is taken first, so that it agrees with the table.
#[derive(Debug)]
pub(super) struct Users {
    shards: Box<[Mutex<BTreeSet<Entry>>]>,
    hasher: RandomState,
}

type Entry = (u64, SessionId);

/// The bytes of an entry, at most: a node has room for 11 entries and holds at least five.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() * 10 / 3;

/// The bytes of a shard beyond that, at most: itself, and a single node.
const SHARD_BYTES: usize =
    size_of::<Mutex<BTreeSet<Entry>>>() + 11 * size_of::<Entry>() + 4 * size_of::<usize>();

/// More threads hardly ever write at once.
const MAX_SHARDS: usize = 64;

impl Users {
    /// An index for a store with so many shards, a power of two.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards.min(MAX_SHARDS))
                .map(|_| Mutex::default())
                .collect(),
            hasher: RandomState::new(),
        }
    }

    /// The bytes beside its entries, at most, for a store with so many shards.
    pub(super) fn spare_bytes(shards: usize) -> usize {
        shards.min(MAX_SHARDS) * SHARD_BYTES
    }

    pub(super) fn enter(&self, user: &str, id: SessionId) {
        let (hash, shard) = self.find(user);
        shard.lock().insert((hash, id));
    }

    pub(super) fn leave(&self, user: &str, id: SessionId) {
        let (hash, shard) = self.find(user);
        shard.lock().remove(&(hash, id));
    }

    /// The first `limit` ids from `from` on. Some may belong to another user.
    pub(super) fn ids(&self, user: &str, from: SessionId, limit: usize) -> Vec<SessionId> {
        let (hash, shard) = self.find(user);
        let last = SessionId::from(Uuid::max());
        let shard = shard.lock();
        let entries = shard.range((hash, from)..=(hash, last));
        entries.take(limit).map(|(_, id)| *id).collect()
    }

    fn find(&self, user: &str) -> (u64, &Mutex<BTreeSet<Entry>>) {
        let hash = self.hasher.hash_one(user);
        let index = hash as usize & (self.shards.len() - 1);
        (hash, &self.shards[index])
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::new(1)
    }
}
