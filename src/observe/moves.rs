//! Which sessions are moving to another id, or have just done so: [`Moves`].

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    observe::{event::Event, population::Population},
    operator::reaper::GRACE,
    record::{lifetime::MARKER_LIFETIME, token::SessionId},
};

/// A destroy that meets a log-in or a cycle takes away either the session or
/// the marker in its place, and the store does not say which. Only the first is
/// an end: whoever moves the session knows, and tells of it.
#[derive(Default)]
pub(crate) struct Moves(Mutex<Known>);

#[derive(Default)]
struct Known {
    moves: HashMap<SessionId, Move>,
    /// Those that are done, in their order.
    done: VecDeque<(Timestamp, SessionId)>,
}

#[derive(Default)]
struct Move {
    under_way: u32,
    is_done: bool,
    /// By a destroy, if nothing moves in the end.
    ended: Option<Event>,
}

/// A move under way, until it is dropped.
pub(crate) struct Moving<'a> {
    population: &'a Population,
    id: SessionId,
}

impl Population {
    /// The session `id` is about to move; `None` where nobody wants to know.
    pub(crate) fn moving(&self, id: SessionId, now: Timestamp) -> Option<Moving<'_>> {
        if !self.is_watched() {
            return None;
        }
        let mut known = self.moves.0.lock();
        known.forget(now);
        known.moves.entry(id).or_default().under_way += 1;
        Some(Moving {
            population: self,
            id,
        })
    }

    /// Tells of the end of a session that was destroyed, unless it goes on under another id.
    pub(crate) fn tell_of_destroyed(&self, id: SessionId, ended: impl FnOnce() -> Event) {
        if !self.is_watched() {
            return;
        }
        let ended = ended();
        let told = {
            let mut known = self.moves.0.lock();
            match known.moves.get_mut(&id) {
                None => Some(ended),
                Some(moving) => {
                    moving.ended = (!moving.is_done).then_some(ended);
                    None
                }
            }
        };
        if let Some(ended) = told {
            self.tell(&ended);
        }
    }
}

impl Moving<'_> {
    /// It has moved.
    pub(crate) fn done(self, now: Timestamp) {
        let mut known = self.population.moves.0.lock();
        known.moves.entry(self.id).or_default().is_done = true;
        known.done.push_back((now, self.id));
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        let ended = self.population.moves.0.lock().leave(self.id);
        if let Some(ended) = ended {
            self.population.tell(&ended);
        }
    }
}

impl Known {
    /// What was destroyed meanwhile, where this was the last move and none came about.
    fn leave(&mut self, id: SessionId) -> Option<Event> {
        let moving = self.moves.get_mut(&id)?;
        moving.under_way -= 1;
        if moving.is_done {
            moving.ended = None;
        } else if moving.under_way == 0 {
            return self.moves.remove(&id)?.ended;
        }
        None
    }

    /// Forgets those whose markers have been deleted by now.
    fn forget(&mut self, now: Timestamp) {
        let kept = MARKER_LIFETIME + 2 * GRACE;
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
