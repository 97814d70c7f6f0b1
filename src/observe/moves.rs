//! Which sessions are moving to another id, or have just moved: [`Moves`].

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    observe::event::Event,
    record::{
        lifetime::{DELETE_AFTER, MARKER_LIFETIME},
        token::SessionId,
    },
};

/// Decides whether a delete ended a session.
///
/// A destroy that meets a log-in or a cycle deletes either the session or the
/// marker in its place, and the store does not say which. Only the former ends
/// the session. The move knows which it was once it is over, so the event of
/// the end waits here until then.
#[derive(Default)]
pub(crate) struct Moves(Mutex<Known>);

#[derive(Default)]
struct Known {
    moves: HashMap<SessionId, Move>,
    /// The sessions that have moved, the earliest first.
    done: VecDeque<(Timestamp, SessionId)>,
}

#[derive(Default)]
struct Move {
    under_way: u32,
    is_done: bool,
    /// The end of the session, in case no move succeeds.
    ended: Option<Event>,
}

impl Moves {
    /// A move of session `id` begins. [`Moves::leave`] must follow.
    pub(crate) fn enter(&self, id: SessionId, now: Timestamp) {
        let mut known = self.0.lock();
        known.forget(now);
        known.moves.entry(id).or_default().under_way += 1;
    }

    /// A move of session `id` has succeeded.
    pub(crate) fn succeed(&self, id: SessionId, now: Timestamp) {
        let mut known = self.0.lock();
        known.moves.entry(id).or_default().is_done = true;
        known.done.push_back((now, id));
    }

    /// A move of session `id` is over. Returns the end of the session, where it was
    /// destroyed meanwhile and no move has succeeded or is still under way.
    pub(crate) fn leave(&self, id: SessionId) -> Option<Event> {
        let mut known = self.0.lock();
        let moving = known.moves.get_mut(&id)?;
        moving.under_way -= 1;
        if moving.is_done {
            moving.ended = None;
        } else if moving.under_way == 0 {
            return known.moves.remove(&id)?.ended;
        }
        None
    }

    /// The session `id` was destroyed. Returns the event where it is certain that
    /// the session has not moved, and keeps it while a move is under way.
    pub(crate) fn destroyed(&self, id: SessionId, ended: Event) -> Option<Event> {
        let mut known = self.0.lock();
        match known.moves.get_mut(&id) {
            None => Some(ended),
            Some(moving) => {
                moving.ended = (!moving.is_done).then_some(ended);
                None
            }
        }
    }
}

impl Known {
    /// Forgets the moves whose markers the store has deleted by now.
    fn forget(&mut self, now: Timestamp) {
        let kept = MARKER_LIFETIME + 2 * DELETE_AFTER;
        while let Some((at, id)) = self.done.front().copied()
            && now.since(at) > kept
        {
            self.done.pop_front();
            if self
                .moves
                .get(&id)
                .is_some_and(|moving| moving.under_way == 0)
            {
                self.moves.remove(&id);
            }
        }
    }
}
