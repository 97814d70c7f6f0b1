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
    record::{Kept, lifetime::is_past},
    state::Identity,
};

/// How a plan begins.
pub(crate) enum Begun {
    /// No machine is needed: what it came to.
    Done(Committed),
    Machine(Machine<Kept>),
}

/// The machine for `plan`, or what it comes to.
///
/// # Errors
///
/// What a closure reports.
pub(crate) fn begin(
    config: &Config,
    work: &mut Work,
    plan: Plan,
    now: Timestamp,
) -> Result<Begun, Error> {
    let is_over = |work: &Work| {
        let stored = work.stored.as_ref();
        stored
            .is_some_and(|stored| is_past(config.lifetimes.absolute_deadline(&stored.record), now))
    };
    let machine = match plan {
        Plan::Nothing => return Ok(Begun::Done(Committed::Nothing)),
        Plan::Touch => match &work.stored {
            Some(stored) if !is_over(work) => {
                Machine::Touch(Box::new(Touch::new(stored.id(), stored.kept(), false)))
            }
            _ => return Ok(Begun::Done(Committed::Ended)),
        },
        Plan::Create | Plan::Update(_) | Plan::Renew => {
            match first_write(config, work, plan, now)? {
                Some(write) => Machine::Write(write),
                None => return Ok(Begun::Done(Committed::Ended)),
            }
        }
        Plan::Move if matches!(work.identity, Identity::Cycle(_)) && is_over(work) => {
            return Ok(Begun::Done(Committed::Ended));
        }
        Plan::Move => Machine::Move(Box::new(moving(config, work, now))),
    };
    Ok(Begun::Machine(machine))
}

fn moving(config: &Config, work: &Work, now: Timestamp) -> Move<Kept> {
    let old = work.stored.as_ref().or(work.marker.as_ref());
    let old = old.map(|old| (old.id(), old.kept()));
    let moving = match (&work.identity, old) {
        (Identity::Cycle(_), Some((id, kept))) => Move::cycle(id, kept, work.writer),
        (_, old) => Move::log_in(old, work.writer, config.max_sessions_per_user),
    };
    let loaded_at = work.loaded_at;
    let is_old = loaded_at.is_some_and(|at| now.since(at) >= RELOAD_AFTER);
    // It is known only that the session ended or moved.
    let marker = work.marker.as_ref().filter(|_| work.stored.is_none());
    let is_gone = marker.is_some_and(|marker| !marker.record.is_moved());
    if is_old || is_gone {
        moving.reloading()
    } else {
        moving
    }
}

/// A session that was loaded longer ago than this is loaded again before it moves: its marker may have expired.
const RELOAD_AFTER: Duration = Duration::from_secs(60);

/// The first try of a write, on what the request has loaded; `None` where the session's time is over.
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
