//! Events for the sessions that a store removes by itself, expired or evicted: [`ensure_reporting`].

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

/// Asks `store`, once, to report the sessions that it removes.
pub(crate) fn ensure_reporting(
    observers: &Arc<Observers>,
    store: &DynStore,
    lifetimes: Lifetimes,
    clock: &Arc<dyn Clock>,
) {
    observers.reporting.call_once(|| {
        let removals = Removals {
            observers: Arc::downgrade(observers),
            lifetimes,
            clock: Arc::clone(clock),
        };
        store.report_removals(RemovalSink::new(move |removal| removals.notify(removal)));
    });
}

/// The store may outlive the layer, and must not keep its observers alive.
struct Removals {
    observers: Weak<Observers>,
    lifetimes: Lifetimes,
    clock: Arc<dyn Clock>,
}

impl Removals {
    fn notify(&self, removal: Removal) {
        let Some(observers) = self.observers.upgrade() else {
            return;
        };
        let kept = removal.record;
        if kept.as_ref().is_some_and(|(record, _)| record.is_moved()) {
            // Only the marker is gone. The session continues under another id.
            return;
        }
        let reason = match (removal.reason, &kept) {
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
        let event = Event::ended(removal.id, kept, self.clock.now(), reason);
        observers.notify(&event);
    }
}
