//! Deletes expired records in the background: [`Reaper`].

use std::{
    error::Error as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior},
};
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

/// A hundred years: timers do not support a longer interval.
const MAX_INTERVAL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

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
        let shutdown = config.shutdown.begun();
        let start = Start {
            instant: Instant::now(),
            // A clock that panics must not fail a request that does not use the session.
            time: catch_unwind(AssertUnwindSafe(|| config.clock.now())).ok(),
        };
        let task = runtime.spawn(async move {
            let _running = running;
            let sweeping = catching_panics(sweep.repeat(interval, start));
            let has_panicked = tokio::select! {
                panicked = sweeping => panicked.is_none(),
                () = shutdown => false,
            };
            if has_panicked {
                error!("expired sessions are not deleted: the tokio runtime has no timer, see `enable_time`");
                // Stays, so that requests do not start the task again.
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

/// If the runtime ends, and the task with it, the next request starts another.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The time of the request that started the task. The first sweep uses this time, even if the task runs later, so
/// that a test which then moves its clock knows which sessions are deleted.
struct Start {
    instant: Instant,
    /// `None` if the clock panicked.
    time: Option<Timestamp>,
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

    async fn repeat(&self, interval: Duration, start: Start) {
        // Otherwise a task that never succeeds would have no time to compare with.
        start.time.into_iter().for_each(|time| self.reaped(time));
        let interval = interval.clamp(Duration::from_millis(1), MAX_INTERVAL);
        let mut ticks = tokio::time::interval_at(start.instant + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        let mut time = start.time;
        loop {
            match self.sweep(time.take()).await {
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
            ticks.tick().await;
        }
    }

    /// Deletes all expired records, a batch at a time. Returns how many.
    pub(crate) async fn once(&self) -> Result<usize, Error> {
        self.sweep(None).await
    }

    /// Deletes all records that are expired at `time`, or else now.
    async fn sweep(&self, time: Option<Timestamp>) -> Result<usize, Error> {
        let mut removed = 0;
        loop {
            let batch = async {
                let now = time.unwrap_or_else(|| self.clock.now());
                let before = now.saturating_sub(DELETE_AFTER);
                Ok((now, self.store.delete_expired(before, BATCH).await?))
            };
            let (now, reaped) = within(self.timeout, batch).await?;
            removed += reaped.removed;
            if !reaped.more || reaped.removed == 0 {
                self.reaped(now);
                return Ok(removed);
            }
            tokio::task::yield_now().await;
        }
    }

    fn reaped(&self, at: Timestamp) {
        let observers = &self.store.observers;
        if observers.is_active() {
            observers.counters.on_reaped(at);
        }
    }
}
