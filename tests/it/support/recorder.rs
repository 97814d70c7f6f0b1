use std::sync::Arc;

use cloakroom::{EndReason, Event, EventKind, Listener, Rejection, SessionId};
use parking_lot::Mutex;

/// A listener that records its events. Every clone shares them.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Listener for Recorder {
    fn on_event(&self, event: &Event) {
        self.0.lock().push(event.clone());
    }
}

impl Recorder {
    /// The events since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock())
    }

    /// The kinds of these events.
    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        let events = self.events().into_iter();
        events.map(|event| event.kind().clone()).collect()
    }

    /// The ends of sessions among these events.
    pub(crate) fn endings(&self) -> Vec<(SessionId, EndReason)> {
        let endings = self.events().into_iter();
        endings
            .filter_map(|event| match event.kind() {
                EventKind::Ended { reason } => Some((event.id().unwrap(), *reason)),
                _ => None,
            })
            .collect()
    }

    /// The rejected cookies among these events.
    pub(crate) fn rejections(&self) -> Vec<(Option<SessionId>, Rejection)> {
        let rejections = self.events().into_iter();
        rejections
            .filter_map(|event| match event.kind() {
                EventKind::Rejected { why } => Some((event.id(), *why)),
                _ => None,
            })
            .collect()
    }
}
