//! Events for the sessions that a store ends by itself: [`ensure_reporting`].

use std::sync::{Arc, Weak};

use crate::{
    clock::Clock,
    observe::{
        event::{EndReason, Event},
        observers::Observers,
    },
    record::lifetime::Lifetimes,
    store::{DynStore, Removal, RemovalReason, RemovalSink, SessionStore as _},
};

/// Asks `store`, once, to report the sessions that it ends by itself, where anybody observes.
pub(crate) fn ensure_reporting(
    observers: &Arc<Observers>,
    store: &DynStore,
    lifetimes: Lifetimes,
    clock: &Arc<dyn Clock>,
) {
    if observers.is_active() {
        observers.reporting.call_once(|| {
            let endings = Endings {
                observers: Arc::downgrade(observers),
                lifetimes,
                clock: Arc::clone(clock),
            };
            store.report_removals(RemovalSink::new(move |ending| endings.notify(ending)));
        });
    }
}

/// The store may outlive the layer, and must not keep its observers alive.
struct Endings {
    observers: Weak<Observers>,
    lifetimes: Lifetimes,
    clock: Arc<dyn Clock>,
}

impl Endings {
    fn notify(&self, ending: Removal) {
        let Some(observers) = self.observers.upgrade() else {
            return;
        };
        let kept = ending.record;
        if kept.as_ref().is_some_and(|(record, _)| record.is_moved()) {
            // Only the marker is gone. The session continues under another id.
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
        observers.notify(&event);
    }
}
