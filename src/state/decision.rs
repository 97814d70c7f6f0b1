//! Whose end there is to wait for, once the response head has decided: [`Decision`].

use std::{mem, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    observe::{
        event::{EndReason, SessionEnd},
        waiters::{Waiter, Waiters},
    },
    state::State,
};

/// What whoever waits for the end of a request's session is to do.
pub(crate) enum Decision {
    /// Wait for the end of this session.
    Session(Waiter),
    /// It is over.
    Over(SessionEnd),
    /// There is no session, and none to come.
    Nobody,
}

/// Those who wait for a session that is not stored yet, or about to move.
#[derive(Default)]
pub(crate) struct Undecided(Vec<oneshot::Sender<Decision>>);

impl State {
    /// The decision, as soon as there is one. It never comes if the request keeps no session.
    pub(crate) fn decision(&mut self, waiters: &Arc<Waiters>) -> oneshot::Receiver<Decision> {
        let (sender, receiver) = oneshot::channel();
        self.undecided.get_or_insert_default().0.push(sender);
        self.decide(waiters);
        receiver
    }

    /// Tells those who wait which session it is. They are among the `waiters` from then on.
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
                // Who has given up waiting does not mind.
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
