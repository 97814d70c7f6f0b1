//! How many blocking threads the store uses, and the queues for its folders: [`Threads`].

use std::{array, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::walk::FOLDERS;
use crate::record::token::SessionId;

/// How many threads the store uses at once. A runtime has 512 by default.
const MAX_THREADS: usize = 64;

/// A call that waits here holds no thread.
#[derive(Debug)]
pub(super) struct Threads {
    permits: Arc<Semaphore>,
    /// The queue of this process for each folder.
    folders: [Arc<Mutex<()>>; FOLDERS],
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_THREADS)),
            folders: array::from_fn(|_| Arc::default()),
        }
    }
}

impl Threads {
    /// Waits until no other call of this process writes in the folder of `id`.
    pub(super) async fn enter_folder(&self, id: SessionId) -> OwnedMutexGuard<()> {
        let number = usize::from(id.as_bytes()[0]);
        Arc::clone(&self.folders[number]).lock_owned().await
    }

    /// Waits for a thread; `None` never comes, because the semaphore is never closed.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}
