//! Queues by key, in which callers wait for one another: [`Queues`].

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Queue = Arc<tokio::sync::Mutex<()>>;

/// A queue for each key that somebody waits for. Other keys have no queue.
#[derive(Debug)]
pub(crate) struct Queues<K>(Mutex<HashMap<K, Queue>>);

impl<K> Default for Queues<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Queues<K> {
    /// Waits until all earlier callers have left the queue of `key`.
    pub(crate) async fn enter(self: &Arc<Self>, key: K) -> Turn<K> {
        let mut turn = Turn {
            queues: Arc::clone(self),
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
pub(crate) struct Turn<K: Copy + Eq + Hash> {
    queues: Arc<Queues<K>>,
    key: K,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Copy + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        self.held = None;
        let mut queues = self.queues.0.lock();
        // Callers clone a queue under this lock, so if only the map holds the queue, it is empty.
        if queues
            .get(&self.key)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.key);
        }
    }
}
