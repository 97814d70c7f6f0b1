//! Tells a task that waits for the end of a session which session that is, after the response head: [`Decision`].

use std::{mem, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    observe::{
        event::{EndReason, SessionEnd},
        waiters::{Waiter, Waiters},
    },
    state::State,
};

/// What a task that waits for the end of a request's session does next.
pub(crate) enum Decision {
    /// Wait for the end of this session.
    Session(Waiter),
    /// Return: the session is over.
    Over(SessionEnd),
    /// Wait for ever: there is no session.
    Nobody,
}

/// The tasks that wait for the end of a session that is not stored yet, or is about to move.
#[derive(Default)]
pub(crate) struct Undecided(Vec<oneshot::Sender<Decision>>);

impl State {
    /// The decision, when the response head makes one. It never comes if the request is dropped before.
    pub(crate) fn decision(&mut self, waiters: &Arc<Waiters>) -> oneshot::Receiver<Decision> {
        let (sender, receiver) = oneshot::channel();
        self.undecided.get_or_insert_default().0.push(sender);
        self.decide(waiters);
        receiver
    }

    /// Tells the waiting tasks which session it is, and registers them with `waiters`.
    #[inline]
    pub(crate) fn decide(&mut self, waiters: &Arc<Waiters>) {
        if let Some(undecided) = self.undecided.take() {
            self.tell(undecided, waiters);
        }
    }

    #[cold]
    fn tell(&mut self, mut undecided: Box<Undecided>, waiters: &Arc<Waiters>) {
        for sender in mem::take(&mut undecided.0) {
            match self.decided(waiters) {
                // A dropped receiver no longer waits.
                Some(decision) => drop(sender.send(decision)),
                None => undecided.0.push(sender),
            }
        }
        self.undecided = (!undecided.0.is_empty()).then_some(undecided);
    }

    fn decided(&self, waiters: &Arc<Waiters>) -> Option<Decision> {
        if self.is_destroyed() {
            return Some(Decision::Over(SessionEnd::Ended(EndReason::Destroyed)));
        }
        if self.check_open().is_err() {
            return Some(Decision::Over(SessionEnd::Gone));
        }
        match &self.stored {
            Some(stored) if self.is_committed || self.keeps_id() => {
                Some(Decision::Session(Waiter::new(waiters, stored.id())))
            }
            None if self.is_committed => Some(Decision::Nobody),
            _ => None,
        }
    }
}
