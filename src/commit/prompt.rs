//! The commit that has nothing to wait for: an ordinary request's, of a session in memory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use crate::{
    commit::{
        Failed, Occasion, Outcome, Plan, Work, commit, outcome, span,
        write::{Committed, create_at_once, update_at_once},
    },
    deadline::now_or_never,
    error::Error,
    state::shared::Shared,
};

/// The response head is ready: what it says, where nothing has to be waited for.
pub(crate) fn settle_at_once(shared: &Shared) -> Option<Result<Outcome, Failed>> {
    {
        let mut state = shared.state();
        let config = &*shared.config;
        let has_moved = !state.keeps_id();
        let is_unchanged = !has_moved && state.destroyed.is_none() && state.changes.is_none();
        // A cookie's Max-Age takes a look at the clock, which is not for this lock.
        if is_unchanged
            && !state.is_cookie_due
            && !state.is_touch_due(config)
            && !state.is_renewal_due(config)
        {
            state.is_head_gone = true;
            state.is_committed = true;
            return Some(Ok(outcome(&mut state, shared, None)));
        }
        // Where it has to wait after all it begins again: a move would have made a record by then.
        if has_moved || !config.store.answers_at_once() {
            return None;
        }
    }
    let (span, is_named) = span(shared);
    let settled = span.in_scope(|| {
        match catch_unwind(AssertUnwindSafe(|| write_at_once(shared))) {
            Ok(Some(outcome)) => Some(Ok(outcome)),
            Ok(None) => now_or_never(pin!(commit(shared, Occasion::Head))),
            // It may have been written by then: no second time.
            Err(_) => {
                shared.abandon();
                Some(Err(Failed {
                    error: Error::panicked(),
                    removes_cookie: false,
                }))
            }
        }
    });
    if !is_named {
        shared.name(&span);
    }
    settled
}

/// The ordinary write: new values, and nobody was faster. `None` leaves everything to the
/// [`commit`] that can wait, and has written nothing.
fn write_at_once(shared: &Shared) -> Option<Outcome> {
    let config = &*shared.config;
    let _gate = shared.try_enter()?;
    let (work, plan) = {
        let mut state = shared.state();
        let is_in_doubt = state.unconfirmed_save.is_some() || state.is_stale;
        if is_in_doubt || state.destroyed.is_some() || !state.keeps_id() {
            return None;
        }
        state.is_head_gone = true;
        let work = Work::new(&state, config, Occasion::Head);
        let plan = work.plan(&state, config);
        (work, plan)
    };
    let now = config.clock.now();
    let changes = work.changes.as_deref()?;
    let committed = match (plan, &work.stored) {
        (Plan::Create, _) => Committed::Begun(create_at_once(config, changes, now)?),
        (Plan::Update(data), Some(stored)) if !work.renews => {
            Committed::Saved(update_at_once(config, stored, changes, data, now)?)
        }
        _ => return None,
    };
    Some(shared.alter(|state| {
        state.is_committed = true;
        state.conclude(committed, work.generations, work.until, shared, now)
    }))
}
