//! Everybody who observes the sessions of one layer: [`Observers`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tracing::error;

use crate::{
    clock::Timestamp,
    observe::{
        counters::Counters,
        event::{Event, Listener},
        moves::Moves,
        waiters::Waiters,
    },
    record::token::SessionId,
};

/// The listeners of one layer, its counters, and the tasks that wait for a session's end.
pub(crate) struct Observers {
    pub(crate) listeners: Vec<Arc<dyn Listener>>,
    pub(crate) counters: Counters,
    pub(crate) waiters: Arc<Waiters>,
    moves: Moves,
    /// Whether anybody observes. Otherwise no event is built, and nothing is counted or timed.
    is_active: AtomicBool,
    /// The layer's store is asked once to report the sessions that it ends by itself.
    pub(crate) reporting: Once,
}

impl Observers {
    pub(crate) fn new(listeners: Vec<Arc<dyn Listener>>) -> Self {
        let is_active = cfg!(feature = "metrics") || !listeners.is_empty();
        Self {
            listeners,
            counters: Counters::default(),
            waiters: Arc::default(),
            moves: Moves::default(),
            is_active: AtomicBool::new(is_active),
            reporting: Once::new(),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// From now on somebody observes.
    pub(crate) fn activate(&self) {
        self.is_active.store(true, Ordering::Relaxed);
    }

    /// Passes `event` on to every observer.
    pub(crate) fn notify(&self, event: &Event) {
        self.counters.on_event(event);
        self.waiters.on_event(event);
        if self.listeners.is_empty() {
            return;
        }
        let started = Instant::now();
        for listener in &self.listeners {
            if catch_unwind(AssertUnwindSafe(|| listener.on_event(event))).is_err() {
                error!(?event, "a listener has panicked");
            }
        }
        self.counters.listened(started.elapsed());
    }

    /// Builds an event and passes it on, where anybody observes.
    pub(crate) fn notify_with(&self, event: impl FnOnce() -> Event) {
        if self.is_active() {
            self.notify(&event());
        }
    }

    /// Passes on the end of a session that was destroyed, unless it continues under another id.
    pub(crate) fn notify_destroyed(&self, id: SessionId, ended: impl FnOnce() -> Event) {
        if self.is_active()
            && let Some(ended) = self.moves.destroyed(id, ended())
        {
            self.notify(&ended);
        }
    }

    /// A move of session `id` begins. `None` where nobody observes.
    pub(crate) fn moving(&self, id: SessionId, now: Timestamp) -> Option<Moving<'_>> {
        self.is_active().then(|| {
            self.moves.enter(id, now);
            Moving {
                observers: self,
                id,
            }
        })
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

/// A move that is under way. It has failed where this is dropped before [`Moving::succeed`].
pub(crate) struct Moving<'a> {
    observers: &'a Observers,
    id: SessionId,
}

impl Moving<'_> {
    pub(crate) fn succeed(self, now: Timestamp) {
        self.observers.moves.succeed(self.id, now);
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        if let Some(ended) = self.observers.moves.leave(self.id) {
            self.observers.notify(&ended);
        }
    }
}
