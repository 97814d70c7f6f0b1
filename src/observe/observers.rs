//! The listeners, counters and waiting tasks of one layer: [`Observers`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use parking_lot::RwLock;
use tracing::error;

use crate::{
    observe::{
        context::EventContext,
        counters::Counters,
        event::{Event, Listener},
        waiters::Waiters,
    },
    store::DynStore,
    throttle::Throttle,
};

/// The listeners of one layer, its counters, and the tasks that wait for a session's end.
pub(crate) struct Observers {
    listeners: RwLock<Arc<[Arc<dyn Listener>]>>,
    pub(crate) counters: Counters,
    pub(crate) waiters: Arc<Waiters>,
    /// Whether anybody observes. Otherwise no event is built, and nothing is counted or timed.
    is_active: AtomicBool,
    /// The layer's store is asked once to report the sessions that it ends by itself.
    pub(crate) reporting: Once,
    /// How often a panic of a listener is logged.
    panics: Throttle,
}

impl Observers {
    /// The observers of a layer with this store.
    pub(crate) fn new(listeners: Vec<Arc<dyn Listener>>, store: DynStore) -> Self {
        let is_active = cfg!(feature = "metrics") || !listeners.is_empty();
        Self {
            listeners: RwLock::new(listeners.into()),
            counters: Counters::new(store),
            waiters: Arc::default(),
            is_active: AtomicBool::new(is_active),
            reporting: Once::new(),
            panics: Throttle::default(),
        }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        !self.listeners.read().is_empty()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// Turns counting and events on.
    pub(crate) fn activate(&self) {
        self.is_active.store(true, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, listener: Arc<dyn Listener>) {
        let mut listeners = self.listeners.write();
        *listeners = listeners.iter().cloned().chain([listener]).collect();
        drop(listeners);
        self.activate();
    }

    /// The observers of a second node, with the same listeners and store.
    #[cfg(feature = "testing")]
    pub(crate) fn separate(&self, store: DynStore) -> Self {
        Self::new(self.listeners.read().to_vec(), store)
    }

    /// Passes `event` on to every observer.
    pub(crate) fn notify(&self, event: &Event) {
        self.counters.on_event(event);
        self.waiters.on_event(event);
        // A listener may add another.
        let listeners = Arc::clone(&self.listeners.read());
        if listeners.is_empty() {
            return;
        }
        let started = Instant::now();
        for listener in listeners.iter() {
            if catch_unwind(AssertUnwindSafe(|| listener.on_event(event))).is_err()
                && let Some(suppressed) = self.panics.admit()
            {
                error!(?event, suppressed, "a listener has panicked");
            }
        }
        self.counters.on_listeners_called(started.elapsed());
    }

    /// Builds an event and passes it on, if anybody observes.
    pub(crate) fn notify_with(&self, event: impl FnOnce() -> Event) {
        if self.is_active() {
            let context = EventContext::current();
            self.notify(&Event { context, ..event() });
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}
