//! Long work in the background: [`Jobs`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use cloakroom::{Error, Shutdown, TrackedTask};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

/// How many jobs are kept.
const MAX_JOBS: usize = 64;

/// The revocations that this process runs, and the last ones that it finished.
pub(crate) struct Jobs(Mutex<(u64, BTreeMap<u64, Arc<Job>>)>);

pub(crate) struct Job {
    operator: Arc<str>,
    shutdown: Shutdown,
    ended: AtomicU64,
    /// Set at the boundary of a page, if the shutdown has begun.
    is_to_stop: Notify,
    pub(crate) state: watch::Sender<Phase>,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Working,
    Done,
    /// The store failed.
    Failed(Error),
    /// The process shuts down, and the job has stopped between two pages.
    Stopped,
    /// The job panicked, or the runtime ended.
    Broken,
}

impl Job {
    /// So many sessions have ended. Call it where the job may stop, just before an `await` that waits.
    pub(crate) fn has_ended(&self, sessions: u64) {
        self.ended.store(sessions, Ordering::Relaxed);
        if self.shutdown.has_begun() {
            self.is_to_stop.notify_one();
        }
    }

    /// How many sessions have ended so far.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Jobs {
    /// None yet. The first number is the time, so that a page of the process before this one does not
    /// show other work.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let first = now.unwrap_or_default().as_millis() as u64;
        Self(Mutex::new((first, BTreeMap::new())))
    }

    /// Starts `work`, which returns how many sessions it has ended, in a task of its own. It goes on if the browser
    /// disconnects. The shutdown waits for it, and it stops then where it calls [`Job::has_ended`].
    pub(crate) fn start<W>(
        &self,
        operator: &Arc<str>,
        shutdown: &Shutdown,
        work: impl FnOnce(Arc<Job>) -> W,
    ) -> (u64, Arc<Job>)
    where
        W: Future<Output = Result<u64, Error>> + Send + 'static,
    {
        let job = Arc::new(Job {
            operator: Arc::clone(operator),
            shutdown: shutdown.clone(),
            ended: AtomicU64::new(0),
            is_to_stop: Notify::new(),
            state: watch::Sender::new(Phase::Working),
        });
        let number = self.keep(&job);
        let work = work(Arc::clone(&job));
        let running = Running {
            job: Arc::clone(&job),
            _task: shutdown.track(),
        };
        tokio::spawn(async move {
            let phase = tokio::select! {
                biased;
                ended = work => match ended {
                    Ok(ended) => {
                        running.job.ended.store(ended, Ordering::Relaxed);
                        Phase::Done
                    }
                    Err(error) => Phase::Failed(error),
                },
                () = running.job.is_to_stop.notified() => Phase::Stopped,
            };
            running.job.state.send_replace(phase);
        });
        (number, job)
    }

    fn keep(&self, job: &Arc<Job>) -> u64 {
        let mut jobs = self.0.lock();
        let (last, kept) = &mut *jobs;
        *last += 1;
        if kept.len() == MAX_JOBS {
            let is_over = |job: &Job| !matches!(*job.state.borrow(), Phase::Working);
            let oldest = kept.iter().find(|(_, job)| is_over(job));
            let oldest = oldest.or(kept.iter().next()).map(|(number, _)| *number);
            oldest.map(|number| kept.remove(&number));
        }
        kept.insert(*last, Arc::clone(job));
        *last
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Job>> {
        self.0.lock().1.get(&number).cloned()
    }
}

/// A job that is running. It is over when this is dropped, also by a panic.
struct Running {
    job: Arc<Job>,
    _task: TrackedTask,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Job {
            operator, state, ..
        } = &*self.job;
        let ended = self.job.ended();
        state.send_if_modified(|phase| {
            let is_broken = matches!(phase, Phase::Working);
            if is_broken {
                *phase = Phase::Broken;
            }
            is_broken
        });
        match &*state.borrow() {
            Phase::Done => info!(%operator, ended, "an operator has ended sessions"),
            Phase::Failed(error) => {
                warn!(%operator, ended, %error, "ending sessions has failed before the last one");
            }
            Phase::Stopped => {
                warn!(%operator, ended, "the shutdown has stopped the ending of sessions");
            }
            Phase::Broken | Phase::Working => {
                warn!(%operator, ended, "ending sessions has panicked before the last one");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A job that ends three pages of a hundred sessions, each in a second, and then does what is last.
    fn start(shutdown: &Shutdown, last: fn() -> Result<u64, Error>) -> Arc<Job> {
        let work = |job: Arc<Job>| async move {
            for page in 1..=3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                job.has_ended(page * 100);
                tokio::task::yield_now().await;
            }
            last()
        };
        Jobs::new().start(&"olga".into(), shutdown, work).1
    }

    async fn phase(job: &Job) -> Phase {
        let mut state = job.state.subscribe();
        let over = state.wait_for(|phase| !matches!(phase, Phase::Working));
        over.await.unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_is_over_and_says_how_far_it_got() {
        let job = start(&Shutdown::new(), || panic!("a fault"));
        let phase = tokio::time::timeout(Duration::from_secs(60), phase(&job)).await;
        assert!(matches!(phase, Ok(Phase::Broken)), "{phase:?}");
        assert_eq!(job.ended(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_stops_a_job_between_two_pages_and_waits_for_it() {
        let shutdown = Shutdown::new();
        let job = start(&shutdown, || Ok(300));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(shutdown.finish(Duration::from_secs(60)).await, 0);
        let phase = phase(&job).await;
        assert!(matches!(phase, Phase::Stopped), "{phase:?}");
        assert_eq!(job.ended(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_working_is_known_however_many_come_after_it() {
        let (jobs, shutdown) = (Jobs::new(), Shutdown::new());
        let endless = |_| std::future::pending();
        let (number, _) = jobs.start(&"olga".into(), &shutdown, endless);
        for _ in 0..2 * MAX_JOBS {
            let (_, job) = jobs.start(&"olga".into(), &shutdown, async |_| Ok(1));
            assert!(matches!(phase(&job).await, Phase::Done));
        }
        assert!(jobs.get(number).is_some());
    }
}
