//! From a plan to the machine that carries it out: [`begin`].

use std::time::Duration;

use crate::{
    clock::Timestamp,
    commit::{
        plan::Plan,
        protocol::{Cause, Machine, Move, Reply, Touch, Write},
        response::Committed,
        work::Work,
    },
    config::Config,
    error::Error,
    record::{
        Kept,
        lifetime::{MARKER_LIFETIME, is_past},
    },
    state::Identity,
};

/// Puts the machine for `plan` into `machine`. Returns the result if the plan needs no machine.
///
/// # Errors
///
/// The error of an update's closure.
pub(crate) fn begin(
    config: &Config,
    work: &mut Work,
    plan: Plan,
    now: Timestamp,
    machine: &mut Option<Machine<Kept>>,
) -> Result<Option<Committed>, Error> {
    let is_over = |work: &Work| {
        let stored = work.stored.as_ref();
        stored
            .is_some_and(|stored| is_past(config.lifetimes.absolute_deadline(&stored.record), now))
    };
    *machine = Some(match plan {
        Plan::Nothing => return Ok(Some(Committed::Nothing)),
        Plan::Touch => match &work.stored {
            Some(stored) if !is_over(work) => {
                Machine::Touch(Box::new(Touch::new(stored.id(), stored.kept(), false)))
            }
            _ => return Ok(Some(Committed::Ended)),
        },
        Plan::Create | Plan::Update(_) | Plan::Renew => {
            match first_write(config, work, plan, now)? {
                Some(write) => Machine::Write(write),
                None => return Ok(Some(Committed::Ended)),
            }
        }
        Plan::Move if matches!(work.identity, Identity::Cycle(_)) && is_over(work) => {
            return Ok(Some(Committed::Ended));
        }
        Plan::Move => Machine::Move(Box::new(moving(config, work, now))),
    });
    Ok(None)
}

fn moving(config: &Config, work: &Work, now: Timestamp) -> Move<Kept> {
    let old = work.stored.as_ref().or(work.marker.as_deref());
    let old = old.map(|old| (old.id(), old.kept()));
    let moving = match (&work.identity, old) {
        (Identity::Cycle(_), Some((id, kept))) => Move::cycle(id, kept, work.writer),
        (_, old) => Move::log_in(old, work.writer, config.max_sessions_per_user),
    };
    let loaded_at = work.loaded_at;
    let is_old = loaded_at.is_some_and(|at| now.since(at) >= RELOAD_AFTER);
    // Without a session, `marker` may be the session as it was before it was found to have ended: it is not known yet
    // whether it moved.
    let former = work.marker.as_ref().filter(|_| work.stored.is_none());
    let is_gone = former.is_some_and(|former| !former.record.is_moved());
    if is_old || is_gone {
        moving.reloading()
    } else {
        moving
    }
}

/// If a session was loaded longer ago than this, it is loaded again before it moves, because its marker may have expired.
const RELOAD_AFTER: Duration = MARKER_LIFETIME;

/// The first attempt of a write, on the record that the request has loaded. `None` if the session has expired.
fn first_write(
    config: &Config,
    work: &mut Work,
    plan: Plan,
    now: Timestamp,
) -> Result<Option<Write<Kept>>, Error> {
    let (stored, data) = match (plan, work.stored.as_ref()) {
        (Plan::Update(data), Some(stored)) => (stored, Some(data)),
        (Plan::Renew, Some(stored)) => (stored, None),
        _ => {
            return match work.begin(config, None, false, now)? {
                Reply::Begun(id, kept) => Ok(Some(Write::create(id, kept))),
                _ => Ok(None),
            };
        }
    };
    let (id, former) = (stored.id(), stored.kept());
    match work.next(config, &former, data, now) {
        Reply::Merged(next) => Ok(Some(Write::update(id, former, next))),
        Reply::Refused(Cause(error)) => Err(error),
        _ => Ok(None),
    }
}
