//! Everybody who wants to know what happens to the sessions of a layer: [`Population`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Once, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tracing::error;

use crate::{
    clock::Clock,
    config::Config,
    observe::{
        event::{EndReason, Event, Listener},
        moves::Moves,
        stats::Tally,
        waiting::Waiters,
    },
    record::lifetime::Lifetimes,
    store::{Removal, RemovalReason, RemovalSink, SessionStore as _},
};

/// The listeners of one layer, its statistics, and who waits for a session's end.
pub(crate) struct Population {
    pub(crate) listeners: Vec<Arc<dyn Listener>>,
    pub(crate) tally: Tally,
    pub(crate) moves: Moves,
    pub(crate) waiters: Waiters,
    /// Whether anybody wants to know. Nothing is counted, timed or built otherwise.
    is_watched: AtomicBool,
    /// The store is asked once to report what it ends by itself.
    reporting: Once,
}

impl Population {
    pub(crate) fn new(listeners: Vec<Arc<dyn Listener>>) -> Self {
        let is_watched = cfg!(feature = "metrics") || !listeners.is_empty();
        Self {
            listeners,
            tally: Tally::default(),
            moves: Moves::default(),
            waiters: Waiters::default(),
            is_watched: AtomicBool::new(is_watched),
            reporting: Once::new(),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// From now on somebody wants to know.
    pub(crate) fn watch(&self) {
        self.is_watched.store(true, Ordering::Relaxed);
    }

    pub(crate) fn tell(&self, event: &Event) {
        self.tally.count(event);
        self.waiters.hear(event);
        if self.listeners.is_empty() {
            return;
        }
        let started = Instant::now();
        for listener in &self.listeners {
            if catch_unwind(AssertUnwindSafe(|| listener.on_event(event))).is_err() {
                error!(?event, "a listener has panicked");
            }
        }
        self.tally.listened(started.elapsed());
    }
}

impl Population {
    /// Builds and tells an event, where somebody wants to know.
    pub(crate) fn tell_of(&self, event: impl FnOnce() -> Event) {
        if self.is_watched() {
            self.tell(&event());
        }
    }

    /// Asks the store to report what it ends by itself, where somebody wants to know.
    pub(crate) fn ensure_reporting(self: &Arc<Self>, config: &Config) {
        if self.is_watched() {
            self.reporting.call_once(|| {
                let endings = Endings {
                    population: Arc::downgrade(self),
                    lifetimes: config.lifetimes,
                    clock: Arc::clone(&config.clock),
                };
                let sink = RemovalSink::new(move |ending| endings.tell(ending));
                config.store.store.report_removals(sink);
            });
        }
    }
}

impl fmt::Debug for Population {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Population").finish_non_exhaustive()
    }
}

/// Makes events of what a store ends by itself. The store outlives the layer: nothing is kept alive.
struct Endings {
    population: Weak<Population>,
    lifetimes: Lifetimes,
    clock: Arc<dyn Clock>,
}

impl Endings {
    fn tell(&self, ending: Removal) {
        let Some(population) = self.population.upgrade() else {
            return;
        };
        let kept = ending.record;
        if kept.as_ref().is_some_and(|(record, _)| record.is_moved()) {
            // The session goes on under another id: only the marker is gone.
            return;
        }
        let reason = match (ending.reason, &kept) {
            (RemovalReason::Evicted, _) => EndReason::Evicted,
            (RemovalReason::Expired, Some((record, activity)))
                if self
                    .lifetimes
                    .ends_absolutely(record, activity.last_seen_at) =>
            {
                EndReason::Absolute
            }
            (RemovalReason::Expired, _) => EndReason::Idle,
        };
        let event = Event::ended(ending.id, kept, self.clock.now(), reason);
        population.tell(&event);
    }
}
