//! Commits what a request did to the store, at the response head or at `save`.
//!
//! The data of a commit goes one way. [`work`] copies the request's state. [`plan`] decides what to do. [`drive`]
//! runs a machine of [`protocol`] that does it. [`response`] decides what the response head says. If a machine
//! is abandoned, [`undo`] rolls back in the background what it has begun. This folder uses settings, state and
//! store. It knows no HTTP, and neither sessions nor operators.

pub(crate) mod arrival;
mod drive;
mod events;
mod plan;
pub(crate) mod protocol;
mod response;
pub(crate) mod revoke;
mod slot;
pub(crate) mod try_now;
mod unconfirmed;
mod undo;
pub(crate) mod upkeep;
mod work;

use std::{error::Error as _, future::poll_fn, pin::pin, time::Duration};

use tracing::{Span, debug, debug_span, field, warn};

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        plan::Plan,
        protocol::{Cause, End, Machine, Move, Reply, Touch, Write},
        response::{Committed, response_head},
        slot::Slot,
        unconfirmed::confirm_save,
        work::Work,
    },
    deadline::within,
    error::{Error, ErrorKind},
    random::unique,
    record::{Kept, lifetime::is_past},
    state::{Identity, Stored, shared::Shared},
};

pub(crate) use self::{
    response::{Cookie, Failed, ResponseHead},
    work::Occasion,
};

/// The tracing span of a commit, and whether it has the session's id yet.
fn span(shared: &Shared) -> (Span, bool) {
    let span = debug_span!("session_commit", session.id = field::Empty);
    let is_named = shared.name(&span);
    (span, is_named)
}

/// Runs [`commit`] in its tracing span.
///
/// # Errors
///
/// The same as [`commit`].
pub(crate) async fn commit_in_span(
    shared: &Shared,
    occasion: Occasion,
) -> Result<ResponseHead, Failed> {
    let (span, is_named) = span(shared);
    // Not with `Instrumented`, which would move the large future.
    let mut commit = pin!(commit(shared, occasion));
    let committed = poll_fn(|context| span.in_scope(|| commit.as_mut().poll(context))).await;
    if !is_named {
        shared.name(&span);
    }
    committed
}

/// Commits within the store timeout.
///
/// # Errors
///
/// If the store failed and changes may be lost. At the response head the pending changes are dropped then,
/// because no later call could save them.
pub(crate) async fn commit(shared: &Shared, occasion: Occasion) -> Result<ResponseHead, Failed> {
    let is_forgotten = shared.state().destroyed.is_some();
    let mut slot = Slot::new(shared, occasion);
    let ran = {
        // Pinned here, so that the large future is not moved.
        let running = pin!(async { Ok(run(&mut slot).await) });
        within(shared.config.store_timeout, running).await
    };
    let ran = match ran {
        Ok(ran) => ran,
        Err(late) => match slot.late(&late) {
            Some(concluded) => concluded,
            None => do_without(shared, occasion, &late).ok_or(late),
        },
    };
    let error = match ran {
        Ok(head) => return Ok(head),
        Err(error) => error,
    };
    if occasion == Occasion::Head {
        abandon(shared);
    }
    let cookie = match slot.cookie_in_doubt() {
        Cookie::None if is_forgotten => Cookie::Remove,
        cookie => cookie,
    };
    Err(Failed {
        error,
        cookie,
        is_left: is_forgotten,
    })
}

/// Drops what is pending: there is no response, or one that says that nothing was saved (rules C2, F2).
pub(crate) fn abandon(shared: &Shared) {
    unconfirmed::give_up(shared);
    shared.abandon();
}

/// The response head without the touch, if a touch was all there was to do. A touch that fails is only logged (rule F2).
fn do_without(shared: &Shared, occasion: Occasion, late: &Error) -> Option<ResponseHead> {
    let now = shared.config.clock.now();
    let mut state = shared.state();
    if state.unconfirmed_save.is_some() || state.is_modified() {
        return None;
    }
    let id = state.stored.as_ref().map(Stored::id)?;
    if let Some(suppressed) = shared.config.failures.not_touched.admit() {
        warn!(session.id = %id, error = %late, cause = ?late.source(), suppressed, "touch failed");
    }
    state.is_head_gone |= occasion == Occasion::Head;
    state.is_committed |= occasion == Occasion::Head;
    Some(response_head(&mut state, shared, Some(now)))
}

async fn run(slot: &mut Slot<'_>) -> Result<ResponseHead, Error> {
    let (shared, occasion) = (slot.shared, slot.occasion);
    let config = &*shared.config;
    let _gate = shared.enter().await;
    confirm_save(shared).await?;
    let (work, plan, destroyed, is_too_late) = {
        let mut state = shared.state();
        let is_too_late = state.is_head_gone && occasion == Occasion::Save;
        state.is_head_gone |= occasion == Occasion::Head;
        let work = Work::new(&state, config, occasion, unique());
        let plan = Plan::of(&work, &state, config);
        (work, plan, state.destroyed.clone(), is_too_late)
    };
    if let Some(ended) = destroyed {
        destroy(slot, *ended).await?;
    }
    if is_too_late && work.stored.is_none() && matches!(plan, Plan::Create | Plan::Move) {
        return Err(Error::too_late("a new session"));
    }
    let now = config.clock.now();
    let is_optional = matches!(plan, Plan::Touch | Plan::Renew);
    let committed = match begin(slot, work, plan, now)? {
        Ok(committed) => Ok(committed),
        // Boxed because the future is large and rarely needed.
        Err(machine) => slot.run(machine).await,
    };
    let committed = match committed {
        Err(error) if is_optional => {
            let id = shared.state().stored.as_ref().map(Stored::id);
            if let Some(suppressed) = shared.config.failures.not_touched.admit() {
                warn!(session.id = ?id, %error, cause = ?error.source(), suppressed, "touch or renewal failed");
            }
            Committed::Nothing
        }
        committed => committed?,
    };
    slot.conclude(committed)
}

/// Ends the session that the request has destroyed (rule M4).
async fn destroy(slot: &mut Slot<'_>, ended: Stored) -> Result<(), Error> {
    let shared = slot.shared;
    let config = &shared.config;
    let id = ended.id();
    let end = End::destroy(id, ended.kept(), unique(), config.clock.now());
    slot.end(Machine::End(Box::new(end))).await?;
    debug!(session.id = %id, "session destroyed");
    shared
        .state()
        .destroyed
        .take_if(|pending| pending.id() == id);
    Ok(())
}

/// The machine for `plan`, or its result if none is needed.
#[allow(clippy::type_complexity)]
fn begin<'a>(
    slot: &mut Slot<'a>,
    mut work: Work<'a>,
    plan: Plan,
    now: Timestamp,
) -> Result<Result<Committed, Machine<Kept>>, Error> {
    let config = &slot.shared.config;
    let machine = match plan {
        Plan::Nothing => Ok(Committed::Nothing),
        Plan::Touch => match &work.stored {
            Some(stored) if !is_past(config.lifetimes.absolute_deadline(&stored.record), now) => {
                let touch = Touch::new(stored.id(), stored.kept(), false);
                Err(Machine::Touch(Box::new(touch)))
            }
            _ => Ok(Committed::Ended),
        },
        Plan::Create | Plan::Update(_) | Plan::Renew => match first_write(&mut work, plan, now)? {
            Some(write) => Err(Machine::Write(write)),
            None => Ok(Committed::Ended),
        },
        Plan::Move => {
            let cycled = work.stored.as_ref();
            let cycled = cycled.filter(|_| matches!(work.identity, Identity::Cycle(_)));
            if let Some(stored) = cycled
                && is_past(config.lifetimes.absolute_deadline(&stored.record), now)
            {
                slot.work = Some(work);
                return Ok(Ok(Committed::Ended));
            }
            let old = work.stored.as_ref().or(work.marker.as_deref());
            let old = old.map(|old| (old.id(), old.kept()));
            let moving = match (&work.identity, old) {
                (Identity::Cycle(_), Some((id, kept))) => Move::cycle(id, kept, work.writer),
                (_, old) => Move::log_in(old, work.writer, config.max_sessions_per_user),
            };
            let loaded_at = slot.shared.state().loaded_at;
            let is_old = loaded_at.is_some_and(|at| now.since(at) >= RELOAD_AFTER);
            let moving = if is_old { moving.reloading() } else { moving };
            Err(Machine::Move(Box::new(moving)))
        }
    };
    slot.work = Some(work);
    Ok(machine)
}

/// A session that was loaded longer ago is loaded again before it moves, because its marker may have expired.
const RELOAD_AFTER: Duration = Duration::from_secs(60);

/// The first try of a write, based on the loaded record. `None` if the session has expired.
fn first_write(
    work: &mut Work<'_>,
    plan: Plan,
    now: Timestamp,
) -> Result<Option<Write<Kept>>, Error> {
    let (stored, data) = match (plan, work.stored.as_ref()) {
        (Plan::Update(data), Some(stored)) => (stored, Some(data)),
        (Plan::Renew, Some(stored)) => (stored, None),
        _ => {
            return match work.begin(None, false, now)? {
                Reply::Begun(id, kept) => Ok(Some(Write::create(id, kept))),
                _ => Ok(None),
            };
        }
    };
    let (id, former) = (stored.id(), stored.kept());
    match work.next(&former, data, now) {
        Reply::Merged(next) => Ok(Some(Write::update(id, former, next))),
        Reply::Refused(Cause(error)) => Err(error),
        _ => Ok(None),
    }
}

/// The session is deleted, and the changes are lost.
fn expired() -> Error {
    Error::new(
        ErrorKind::Ended,
        "the session expired while the request was running, and its changes were not saved",
    )
}
