//! Long work in the background: [`Jobs`].

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::{SystemTime, UNIX_EPOCH},
};

use cloakroom::Error;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How many jobs are kept.
const MAX_JOBS: usize = 64;

/// The revocations that this process runs, and the last ones that it finished.
pub(crate) struct Jobs(Mutex<(u64, BTreeMap<u64, Arc<Job>>)>);

pub(crate) struct Job {
    pub(crate) ended: AtomicU64,
    pub(crate) state: watch::Sender<Phase>,
}

#[derive(Clone)]
pub(crate) enum Phase {
    Working,
    Done,
    Failed(Error),
}

impl Jobs {
    /// None yet. The first number is the time, so that a page of the process before this one does not
    /// show other work.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let first = now.unwrap_or_default().as_millis() as u64;
        Self(Mutex::new((first, BTreeMap::new())))
    }

    pub(crate) fn begin(&self) -> (u64, Arc<Job>) {
        let job = Arc::new(Job {
            ended: AtomicU64::new(0),
            state: watch::Sender::new(Phase::Working),
        });
        let mut jobs = self.0.lock();
        jobs.0 += 1;
        let number = jobs.0;
        if jobs.1.len() == MAX_JOBS {
            jobs.1.pop_first();
        }
        jobs.1.insert(number, Arc::clone(&job));
        (number, job)
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Job>> {
        self.0.lock().1.get(&number).cloned()
    }
}
