//! The fast path: commits without waiting if the session is unchanged, or its store is in memory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    commit::{
        Failed, Occasion, ResponseHead,
        begin::Begun,
        response::{Cookie, response_head},
        slot::{Slot, Started},
        span,
        unconfirmed::abandon,
        work::{is_renewal_due, is_touch_due},
    },
    error::Error,
    state::shared::Shared,
};

/// Commits at the response head if nothing has to wait. `None` leaves it to [`commit`].
pub(crate) enum Tried {
    /// To its end.
    Committed(Result<ResponseHead, Failed>),
    /// To where it has to wait; `None`: nothing was begun.
    Waits(Option<Box<Started>>),
}

/// The response head is ready: what it says, where nothing has to be waited for.
pub(crate) fn try_now(shared: &Arc<Shared>) -> Tried {
    {
        let mut state = shared.state();
        if state.is_untouched() {
            state.is_head_gone = true;
            state.is_committed = true;
            return Tried::Committed(Ok(ResponseHead::default()));
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
        // What is rare is left to the commit that waits.
        if has_moved || is_ended || !config.store.answers_at_once() {
            return Tried::Waits(None);
        }
    }
    let (span, is_named) = span(shared);
    let tried = span.in_scope(|| {
        catch_unwind(AssertUnwindSafe(|| start(shared))).unwrap_or_else(|_| {
            // It may have been written by then: no second time.
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

fn start(shared: &Arc<Shared>) -> Tried {
    // Before the lock: the clock may be the application's.
    let (now, writer) = shared.config.draw();
    let Some(gate) = shared.try_enter() else {
        return Tried::Waits(None);
    };
    let mut slot = Slot::new(shared, Occasion::Head);
    let plan = {
        let mut state = shared.state();
        let is_in_doubt = state.unconfirmed_save.is_some() || state.is_stale;
        if is_in_doubt || state.destroyed.is_some() || !state.keeps_id() {
            return Tried::Waits(None);
        }
        slot.plan(&mut state, writer)
    };
    let committed = match slot.begin(plan, now) {
        Ok(Begun::Done(committed)) => Ok(committed),
        Ok(Begun::Machine(machine)) => match slot.run_now(machine, now) {
            Ok(committed) => committed,
            Err(step) => {
                let started = slot.hand_over(shared.hold(gate), step);
                return Tried::Waits(started.map(Box::new));
            }
        },
        Err(error) => Err(error),
    };
    let outcome = slot.settle(committed);
    Tried::Committed(outcome.map_err(|error| slot.fail(error, false)))
}
