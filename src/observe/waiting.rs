//! Who waits for the end of which session: [`Waiters`].

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
    observe::{
        event::{Event, EventKind, SessionEnd},
        population::Population,
    },
    record::token::SessionId,
};

/// By session, where what becomes of it is told. A session that nobody waits for any more is not here.
#[derive(Default)]
pub(crate) struct Waiters {
    sessions: Mutex<HashMap<SessionId, watch::Sender<Option<SessionEnd>>>>,
    /// How many sessions there are: nobody takes the lock for none.
    count: AtomicUsize,
}

impl Waiters {
    fn enter(&self, id: SessionId) -> watch::Receiver<Option<SessionEnd>> {
        let mut sessions = self.sessions.lock();
        let told = sessions
            .entry(id)
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe();
        self.count.store(sessions.len(), Ordering::SeqCst);
        told
    }

    fn leave(&self, id: SessionId, told: watch::Receiver<Option<SessionEnd>>) {
        let mut sessions = self.sessions.lock();
        drop(told);
        if sessions.get(&id).is_some_and(|told| told.is_closed()) {
            sessions.remove(&id);
        }
        if sessions.is_empty() {
            sessions.shrink_to_fit();
        }
        self.count.store(sessions.len(), Ordering::SeqCst);
    }

    pub(crate) fn hear(&self, event: &Event) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (id, end) = match &event.kind {
            EventKind::Ended { reason } => (event.id, SessionEnd::Ended(*reason)),
            EventKind::LoggedIn { from, .. } => (*from, SessionEnd::Moved),
            EventKind::Cycled { from, .. } => (Some(*from), SessionEnd::Moved),
            EventKind::Created | EventKind::Saved { .. } | EventKind::Rejected { .. } => return,
        };
        if let Some(id) = id
            && let Some(told) = self.sessions.lock().get(&id)
        {
            told.send_replace(Some(end));
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

/// A place among those who wait for a session; given up when this is dropped.
pub(crate) struct Waiter {
    population: Arc<Population>,
    id: SessionId,
    /// `None` once it is given up.
    told: Option<watch::Receiver<Option<SessionEnd>>>,
}

impl Waiter {
    pub(crate) fn new(population: &Arc<Population>, id: SessionId) -> Self {
        Self {
            population: Arc::clone(population),
            id,
            told: Some(population.waiters.enter(id)),
        }
    }

    /// What has been told of the session, since this began.
    pub(crate) async fn told(&mut self) -> SessionEnd {
        if let Some(told) = &mut self.told
            && let Ok(end) = told.wait_for(Option::is_some).await
            && let Some(end) = *end
        {
            return end;
        }
        std::future::pending().await
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            self.population.waiters.leave(self.id, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{observe::event::EndReason, record::token::Token, testing::FixedClock};

    #[test]
    fn who_no_longer_waits_leaves_nothing_behind() {
        let population = Arc::new(Population::new(Vec::new()));
        let ids = [(); 3].map(|()| Token::generate().unwrap().id);
        let waiters: Vec<_> = (0..30)
            .map(|n| Waiter::new(&population, ids[n % 3]))
            .collect();
        let count = || population.waiters.count.load(Ordering::SeqCst);
        assert_eq!(count(), 3);
        let destroyed = Event::ended(ids[1], None, FixedClock::START, EndReason::Destroyed);
        population.tell(&destroyed);
        for (n, mut waiter) in waiters.into_iter().enumerate() {
            let told = waiter.told().now_or_never();
            let expected = SessionEnd::Ended(EndReason::Destroyed);
            assert_eq!(told, (n % 3 == 1).then_some(expected));
        }
        assert_eq!(count(), 0);
        assert_eq!(population.waiters.sessions.lock().capacity(), 0);
    }
}
