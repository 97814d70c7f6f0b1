//! Deletes expired records in the background: [`Reaper`].

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle, time::MissedTickBehavior};
use tracing::{debug, error, warn};

use crate::{
    clock::{Clock, Timestamp},
    config::Config,
    deadline::{catching_panics, within},
    error::Error,
    observe::timed::TimedStore,
    record::lifetime::DELETE_AFTER,
};

/// The background task of one layer. It ends when this is dropped. (Rule F5.)
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    is_running: Arc<AtomicBool>,
    task: Mutex<Option<AbortHandle>>,
}

/// How many records one call deletes.
const BATCH: usize = 1000;

/// After each failure the interval doubles, up to this many times.
const MAX_DOUBLINGS: u32 = 5;

impl Reaper {
    /// Starts the task, unless it runs already or there is no tokio runtime.
    pub(crate) fn ensure_running(&self, config: &Config) {
        let Some(interval) = config.reap_every else {
            return;
        };
        if self.is_running.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.is_running.swap(true, Ordering::Relaxed) {
            return;
        }
        let running = Running(Arc::clone(&self.is_running));
        let sweep = Sweep::of(config);
        // The first sweep goes by the time of the request that starts it, whenever the task runs:
        // a test that moves its clock next knows what is deleted.
        let started = config.clock.now();
        let task = runtime.spawn(async move {
            let _running = running;
            if catching_panics(sweep.repeat(interval, started)).await.is_none() {
                error!("expired sessions are not deleted: the tokio runtime has no timer, see `enable_time`");
                // Not to be tried again with every request.
                std::future::pending::<()>().await;
            }
        });
        *self.task.lock() = Some(task.abort_handle());
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

/// Where a runtime ends with the task, the next request starts another.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What the task needs. The task must not keep the layer alive.
pub(crate) struct Sweep {
    store: TimedStore,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl Sweep {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            store: config.store.clone(),
            clock: Arc::clone(&config.clock),
            timeout: config.store_timeout,
        }
    }

    async fn repeat(&self, interval: Duration, started: Timestamp) {
        let interval = interval.max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        let mut first = Some(started);
        loop {
            ticks.tick().await;
            let now = first.take().unwrap_or_else(|| self.clock.now());
            match self.until(now).await {
                Ok(0) => failures = 0,
                Ok(removed) => {
                    debug!(removed, "expired sessions deleted");
                    failures = 0;
                }
                Err(error) => {
                    warn!(%error, cause = ?error.source(), "deleting expired sessions failed");
                    failures += 1;
                    let intervals = 1 << failures.min(MAX_DOUBLINGS);
                    ticks.reset_after(interval.saturating_mul(intervals));
                }
            }
        }
    }

    /// Deletes all expired records, a batch at a time. Returns how many.
    pub(crate) async fn once(&self) -> Result<usize, Error> {
        self.until(self.clock.now()).await
    }

    /// Deletes all that is expired at `now`.
    async fn until(&self, now: Timestamp) -> Result<usize, Error> {
        let before = now.saturating_sub(DELETE_AFTER);
        let mut removed = 0;
        loop {
            let batch = async { Ok(self.store.delete_expired(before, BATCH).await?) };
            let reaped = within(self.timeout, batch).await?;
            removed += reaped.removed;
            if !reaped.more || reaped.removed == 0 {
                return Ok(removed);
            }
            tokio::task::yield_now().await;
        }
    }
}
