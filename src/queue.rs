//! Commits of one session that ran into each other wait for one another here: [`Queues`].

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::record::token::SessionId;

type Queue = Arc<tokio::sync::Mutex<()>>;

/// A queue for each session on which commits of this process conflict, for as long as they do.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<SessionId, Queue>>);

impl Queues {
    /// Waits for the commits that came before. First come, first served.
    pub(crate) async fn enter(&self, id: SessionId) -> Turn<'_> {
        let mut turn = Turn {
            queues: self,
            id,
            held: None,
        };
        let queue = Arc::clone(self.0.lock().entry(id).or_default());
        turn.held = Some(queue.lock_owned().await);
        turn
    }
}

/// A place at the head of a queue, or on the way there; left when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    queues: &'a Queues,
    id: SessionId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut queues = self.queues.0.lock();
        // Newcomers clone under this lock: a queue that the map alone holds is empty.
        if queues
            .get(&self.id)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.id);
        }
    }
}
