//! The fast path: commits without waiting if the session is unchanged, or its store is in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    commit::{
        Failed, Occasion, ResponseHead,
        due::{is_renewal_due, is_touch_due},
        response::{Cookie, response_head},
        slot::{Slot, Started},
        span,
        unconfirmed::abandon,
    },
    error::Error,
    state::{Strong, shared::Shared},
};

/// How far [`try_now`] came.
pub(crate) enum Tried {
    /// The request has not used the session.
    Unused,
    /// The commit is complete.
    Committed(Result<ResponseHead, Failed>),
    /// The commit has to wait. The machine so far; `None` if none was begun.
    Waits(Option<Box<Started>>),
}

/// Tries to commit at the response head without waiting.
pub(crate) fn try_now(shared: &Strong<Shared>) -> Tried {
    if shared.is_unique() && !shared.is_loaded() {
        // Nobody else has the handle, so nobody will load the session.
        return Tried::Unused;
    }
    {
        let mut state = shared.state();
        if state.is_untouched() {
            state.is_head_gone = true;
            state.is_committed = true;
            return Tried::Unused;
        }
        let config = &*shared.config;
        let has_moved = !state.keeps_id();
        let forgets = state.was_destroyed && config.import.is_some();
        let is_ended = state.destroyed.is_some() || forgets;
        let is_unchanged = !has_moved && !is_ended && state.changes.is_none();
        // A cookie needs the clock, which is user code and must not run under this lock.
        if is_unchanged
            && !state.is_cookie_due
            && !is_touch_due(&state, config)
            && !is_renewal_due(&state, shared)
        {
            state.is_head_gone = true;
            state.is_committed = true;
            return Tried::Committed(Ok(response_head(&mut state, shared, None)));
        }
        // Rare cases are left to the commit that waits.
        if has_moved || is_ended || !config.store.answers_at_once() {
            return Tried::Waits(None);
        }
    }
    let (span, is_named) = span(shared);
    let tried = span.in_scope(|| {
        catch_unwind(AssertUnwindSafe(|| start(shared))).unwrap_or_else(|_| {
            // The changes may be stored already, so they must not be written again.
            abandon(shared);
            Tried::Committed(Err(Failed {
                error: Error::panicked(),
                cookie: Cookie::None,
                is_left: false,
            }))
        })
    });
    if !is_named {
        shared.name(&span);
    }
    tried
}

fn start(shared: &Strong<Shared>) -> Tried {
    // Before the lock: the clock may be the application's.
    let (now, writer) = shared.config.draw();
    let mut slot = Slot::new(shared, Occasion::Head);
    if !slot.try_enter() {
        return Tried::Waits(None);
    }
    let plan = {
        let mut state = shared.state();
        let is_in_doubt = state.unconfirmed_save.is_some() || state.is_stale;
        if is_in_doubt || state.destroyed.is_some() || !state.keeps_id() {
            return Tried::Waits(None);
        }
        slot.plan(&mut state, writer)
    };
    let committed = match slot.begin(plan, now) {
        Ok(Some(committed)) => Ok(committed),
        Ok(None) => match slot.run_now(now) {
            Ok(committed) => committed,
            Err(step) => {
                let started = slot.hand_over(shared, step);
                return Tried::Waits(started.map(Box::new));
            }
        },
        Err(error) => Err(error),
    };
    let outcome = slot.settle(committed, now);
    Tried::Committed(outcome.map_err(|error| slot.fail(error, false)))
}
