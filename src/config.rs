//! The layer's settings, shared by every request: [`Config`].

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Semaphore;
use tracing::warn;

use crate::{
    clock::{Clock, SystemClock, Timestamp},
    cookie::SessionCookie,
    observe::{observers::Observers, removals::ensure_reporting, timed::TimedStore},
    queue::Queues,
    random::{unique, unique_at},
    record::{lifetime::Lifetimes, timeout::Timeout, token::SessionId},
    store::DynStore,
};

/// How many abandoned commits are undone at the same time. In an outage each of them waits for the
/// store, and for a connection to it.
const MAX_UNDOING: usize = 64;

/// The layer's settings, shared by every request.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) store: TimedStore,
    pub(crate) cookie: SessionCookie,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) max_data_bytes: usize,
    pub(crate) renew_every: Option<Duration>,
    pub(crate) check_ended_every: Duration,
    pub(crate) max_sessions_per_user: Option<usize>,
    pub(crate) store_timeout: Duration,
    pub(crate) cache_headers: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether `clock` is the operating system's.
    has_system_clock: bool,
    /// Where commits of one session wait for one another, once they have conflicted.
    pub(crate) queues: Arc<Queues<SessionId>>,
    /// Permits for the tasks that undo what an abandoned commit has begun.
    pub(crate) undoing: Arc<Semaphore>,
    pub(crate) reap_every: Option<Duration>,
    pub(crate) warned: Arc<Warned>,
}

/// Which warnings the layer has logged. Each is logged once.
#[derive(Default)]
pub(crate) struct Warned {
    /// A `Secure` cookie was set over plain http.
    pub(crate) of_lost_cookie: AtomicBool,
    /// The absolute timeout is shorter than the idle timeout, if it is: set once that is checked.
    has_checked_timeouts: AtomicBool,
}

impl Config {
    /// Keeps sessions in `store`. Everything else has its default.
    pub(crate) fn new(store: DynStore) -> Self {
        Self {
            store: TimedStore {
                store,
                observers: Arc::new(Observers::new(Vec::new())),
            },
            cookie: SessionCookie::default(),
            lifetimes: Lifetimes::default(),
            max_data_bytes: 64 * 1024,
            renew_every: None,
            check_ended_every: Duration::from_secs(30),
            max_sessions_per_user: None,
            store_timeout: Duration::from_secs(5),
            cache_headers: true,
            clock: Arc::new(SystemClock),
            has_system_clock: true,
            queues: Arc::default(),
            undoing: Arc::new(Semaphore::new(MAX_UNDOING)),
            reap_every: Some(Duration::from_secs(60)),
            warned: Arc::default(),
        }
    }

    /// Shares nothing with its clones any more but the store, the clock and the listeners.
    #[cfg(feature = "testing")]
    pub(crate) fn separate(&mut self) {
        self.store.observers = Arc::new(self.store.observers.separate());
        self.queues = Arc::default();
        self.undoing = Arc::new(Semaphore::new(MAX_UNDOING));
    }

    pub(crate) fn set_clock(&mut self, clock: impl Clock) {
        self.has_system_clock = (&clock as &dyn Any).is::<SystemClock>();
        self.clock = Arc::new(clock);
    }

    /// The time of a commit, and the writer of its versions. Both come of one look at the system's clock, if that is
    /// the layer's.
    pub(crate) fn draw(&self) -> (Timestamp, u64) {
        if self.has_system_clock {
            let now = SystemTime::now();
            (now.into(), unique_at(now))
        } else {
            (self.clock.now(), unique())
        }
    }

    pub(crate) fn observers(&self) -> &Arc<Observers> {
        &self.store.observers
    }

    /// Warns, once, where the absolute timeout ends sessions before the idle timeout can.
    pub(crate) fn check_timeouts(&self) {
        // Read first: every request reads this, and none writes it.
        let is_checked = &self.warned.has_checked_timeouts;
        if is_checked.load(Ordering::Relaxed) || is_checked.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(absolute) = self.lifetimes.absolute else {
            return;
        };
        let anonymous = match self.lifetimes.anonymous_idle {
            Timeout::After(timeout) => Some(timeout),
            Timeout::Layer | Timeout::Never => None,
        };
        let longest = self.lifetimes.idle.max(anonymous);
        if let Some(idle) = longest.filter(|idle| *idle > absolute) {
            warn!(
                idle_timeout = ?idle,
                absolute_timeout = ?absolute,
                "the absolute timeout ends sessions before the idle timeout: set `absolute_timeout` as well"
            );
        }
    }

    /// Asks the store, once, to report the sessions that it ends by itself, where anybody observes.
    pub(crate) fn ensure_reporting(&self) {
        let store = &self.store.store;
        ensure_reporting(self.observers(), store, self.lifetimes, &self.clock);
    }
}
