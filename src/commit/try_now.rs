//! The fast path: commits without waiting if the session is unchanged, or its store is in memory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use crate::{
    clock::Timestamp,
    commit::{
        Failed, Occasion, ResponseHead, abandon, commit,
        drive::{ask_memory, drive_now},
        first_write,
        plan::Plan,
        protocol::{Machine, Step, Write},
        response::{Cookie, response_head},
        span,
        work::{Work, is_renewal_due, is_touch_due},
    },
    config::Config,
    deadline::now_or_never,
    error::Error,
    record::Kept,
    state::shared::Shared,
};

/// Commits at the response head if nothing has to wait. `None` leaves it to [`commit`].
pub(crate) fn try_now(shared: &Shared) -> Option<Result<ResponseHead, Failed>> {
    {
        let mut state = shared.state();
        if state.is_untouched() {
            state.is_head_gone = true;
            state.is_committed = true;
            return Some(Ok(ResponseHead::default()));
        }
        let config = &*shared.config;
        let has_moved = !state.keeps_id();
        let is_unchanged = !has_moved && state.destroyed.is_none() && state.changes.is_none();
        // A cookie needs the clock, which is user code and must not run under this lock.
        if is_unchanged
            && !state.is_cookie_due
            && !is_touch_due(&state, config)
            && !is_renewal_due(&state, config)
        {
            state.is_head_gone = true;
            state.is_committed = true;
            return Some(Ok(response_head(&mut state, shared, None)));
        }
        // A commit that has to wait after all starts again. A move would have created a record before.
        if has_moved || state.destroyed.is_some() || !config.store.answers_at_once() {
            return None;
        }
    }
    let (span, is_named) = span(shared);
    let settled = span.in_scope(|| {
        match catch_unwind(AssertUnwindSafe(|| write_now(shared))) {
            Ok(Some(head)) => Some(Ok(head)),
            Ok(None) => now_or_never(pin!(commit(shared, Occasion::Head))),
            // It may have been written already, so it is not tried again.
            Err(_) => {
                abandon(shared);
                Some(Err(Failed {
                    error: Error::panicked(),
                    cookie: Cookie::None,
                    is_left: false,
                }))
            }
        }
    });
    if !is_named {
        shared.name(&span);
    }
    settled
}

/// Writes new values if no other request was faster. `None` if nothing was written: [`commit`] has to wait.
fn write_now(shared: &Shared) -> Option<ResponseHead> {
    let config = &*shared.config;
    // Before the lock: the clock may be the application's.
    let (now, writer) = config.draw();
    let _gate = shared.try_enter()?;
    let (mut work, plan) = {
        let mut state = shared.state();
        let is_in_doubt = state.unconfirmed_save.is_some() || state.is_stale;
        if is_in_doubt || state.destroyed.is_some() || !state.keeps_id() {
            return None;
        }
        state.is_head_gone = true;
        let work = Work::new(&state, config, Occasion::Head, writer);
        let plan = Plan::of(&work, &state, config);
        (work, plan)
    };
    if work.renews || !matches!(plan, Plan::Create | Plan::Update(_)) {
        return None;
    }
    let mut write = first_write(&mut work, plan, now).ok()??;
    // The first call is nearly always the last one.
    let reply = ask_memory(config, write.ask(), now)?;
    match write.step(reply, now) {
        Step::Done => {}
        Step::Ask => write = finish_now(config, write, &mut work, now)?,
        Step::Wait(_) => return None,
    }
    let outcome = write.stored()?;
    let committed = work.conclude(outcome, now).ok()?;
    Some(shared.alter(|state| {
        state.is_committed = true;
        state.conclude(committed, work.generations, work.until, shared, now)
    }))
}

/// Runs the rest of a write whose first call was not its last.
#[cold]
fn finish_now(
    config: &Config,
    write: Write<Kept>,
    work: &mut Work<'_>,
    now: Timestamp,
) -> Option<Write<Kept>> {
    let mut machine = Machine::Write(write);
    let is_done = drive_now(config, &mut machine, work, now);
    match machine {
        Machine::Write(write) if is_done => Some(write),
        _ => None,
    }
}
