//! The tasks that wait for the end of a session: [`Waiters`].

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    observe::event::{Event, EventKind, SessionEnd},
    record::token::SessionId,
};

/// A channel for each session whose end is waited for. A session that nobody waits for has none.
#[derive(Default)]
pub(crate) struct Waiters {
    sessions: Mutex<HashMap<SessionId, watch::Sender<Option<SessionEnd>>>>,
    /// The number of `sessions`. Most events find none, without the lock.
    count: AtomicUsize,
}

impl Waiters {
    fn enter(&self, id: SessionId) -> watch::Receiver<Option<SessionEnd>> {
        let mut sessions = self.sessions.lock();
        let receiver = sessions
            .entry(id)
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe();
        self.count.store(sessions.len(), Ordering::SeqCst);
        receiver
    }

    fn leave(&self, id: SessionId, receiver: watch::Receiver<Option<SessionEnd>>) {
        let mut sessions = self.sessions.lock();
        drop(receiver);
        if sessions.get(&id).is_some_and(watch::Sender::is_closed) {
            sessions.remove(&id);
        }
        if sessions.is_empty() {
            sessions.shrink_to_fit();
        }
        self.count.store(sessions.len(), Ordering::SeqCst);
    }

    /// A store call has found that the session is over, and not how. Whoever waits for its end asks the store.
    pub(crate) fn look_again(&self, id: SessionId) {
        if self.count.load(Ordering::SeqCst) > 0
            && let Some(sender) = self.sessions.lock().get(&id)
        {
            sender.send_modify(|_| {});
        }
    }

    pub(crate) fn on_event(&self, event: &Event) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (id, end) = match &event.kind {
            EventKind::Ended { reason } => (event.id, SessionEnd::Ended(*reason)),
            EventKind::LoggedIn { from, .. } => (*from, SessionEnd::Moved),
            EventKind::Cycled { from, .. } => (Some(*from), SessionEnd::Moved),
            EventKind::Created
            | EventKind::Imported
            | EventKind::Saved { .. }
            | EventKind::Rejected { .. }
            | EventKind::CircuitOpened
            | EventKind::CircuitClosed => return,
        };
        if let Some(id) = id
            && let Some(sender) = self.sessions.lock().get(&id)
        {
            sender.send_replace(Some(end));
        }
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Waits for the end of one session, until it is dropped.
pub(crate) struct Waiter {
    waiters: Arc<Waiters>,
    id: SessionId,
    /// `None` while it is being dropped.
    receiver: Option<watch::Receiver<Option<SessionEnd>>>,
}

impl Waiter {
    pub(crate) fn new(waiters: &Arc<Waiters>, id: SessionId) -> Self {
        Self {
            waiters: Arc::clone(waiters),
            id,
            receiver: Some(waiters.enter(id)),
        }
    }

    /// The session whose end it waits for.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Changes when it is time to ask the store.
    pub(crate) fn calls_to_look(&self) -> Option<watch::Receiver<Option<SessionEnd>>> {
        self.receiver.clone()
    }

    /// Waits for an event since [`Waiter::new`] that ends the session, and returns how it ended.
    pub(crate) async fn end(&mut self) -> SessionEnd {
        if let Some(receiver) = &mut self.receiver
            && let Ok(end) = receiver.wait_for(Option::is_some).await
            && let Some(end) = *end
        {
            return end;
        }
        std::future::pending().await
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.waiters.leave(self.id, receiver);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{clock::Timestamp, observe::event::EndReason, record::token::Token};

    #[test]
    fn a_waiter_that_is_dropped_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::default());
        let ids = [(); 3].map(|()| Token::generate().unwrap().id);
        let waiting: Vec<_> = (0..30).map(|n| Waiter::new(&waiters, ids[n % 3])).collect();
        let count = || waiters.count.load(Ordering::SeqCst);
        assert_eq!(count(), 3);
        let now = Timestamp::from_millis(0);
        let destroyed = Event::ended(ids[1], None, now, EndReason::Destroyed);
        waiters.on_event(&destroyed);
        for (n, mut waiter) in waiting.into_iter().enumerate() {
            let end = waiter.end().now_or_never();
            let expected = SessionEnd::Ended(EndReason::Destroyed);
            assert_eq!(end, (n % 3 == 1).then_some(expected));
        }
        assert_eq!(count(), 0);
        assert_eq!(waiters.sessions.lock().capacity(), 0);
    }
}
