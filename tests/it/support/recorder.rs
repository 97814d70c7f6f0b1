use std::sync::Arc;

use cloakroom::{EndReason, Event, EventKind, Listener, Rejection, SessionId};
use parking_lot::Mutex;

/// A listener that remembers. Every clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Listener for Recorder {
    fn on_event(&self, event: &Event) {
        self.0.lock().push(event.clone());
    }
}

impl Recorder {
    /// What it has heard since it was last asked.
    pub(crate) fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock())
    }

    /// The same, without who and when.
    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        let events = self.events().into_iter();
        events.map(|event| event.kind().clone()).collect()
    }

    /// Of all these, those that ended.
    pub(crate) fn endings(&self) -> Vec<(SessionId, EndReason)> {
        let endings = self.events().into_iter();
        endings
            .filter_map(|event| match event.kind() {
                EventKind::Ended { reason } => Some((event.id().unwrap(), *reason)),
                _ => None,
            })
            .collect()
    }

    /// Of all these, those that opened nothing.
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
