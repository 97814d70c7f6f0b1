//! Callers that want the same thing wait for one another here: [`Queues`].

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Queue = Arc<tokio::sync::Mutex<()>>;

/// A queue for each key that somebody waits for, and none for any other.
#[derive(Debug)]
pub(crate) struct Queues<K>(Mutex<HashMap<K, Queue>>);

impl<K> Default for Queues<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Queues<K> {
    /// Waits for those who entered the queue of `key` before. First come, first served.
    pub(crate) async fn enter(&self, key: K) -> Turn<'_, K> {
        let mut turn = Turn {
            queues: self,
            key,
            held: None,
        };
        let queue = Arc::clone(self.0.lock().entry(key).or_default());
        turn.held = Some(queue.lock_owned().await);
        turn
    }
}

/// A place at the head of a queue, or on the way there; left when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a, K: Copy + Eq + Hash> {
    queues: &'a Queues<K>,
    key: K,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Copy + Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.held = None;
        let mut queues = self.queues.0.lock();
        // Newcomers clone under this lock: a queue that the map alone holds is empty.
        if queues
            .get(&self.key)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.key);
        }
    }
}
