//! Commits what a request did to the store, at the response head or at `save`.
//!
//! A commit's data goes one way: [`work`] copies the request's state, [`plan`] says what is to be done, [`begin`] makes the
//! machine of [`protocol`] that does it, [`drive`] runs it, and [`response`] says what the response head tells. A
//! [`slot`] holds the machine meanwhile: what an abandoned one has begun is [undone](undo) in the background. This
//! folder uses settings, state and store. It knows no HTTP, and neither sessions nor operators.
//!
//! There are two ways in. [`commit_in_span`] waits for the store. [`try_now`] is for a store in memory and takes no future;
//! where it would have to wait, `commit_in_span` goes on with the same machine.

pub(crate) mod arrival;
mod begin;
mod drive;
mod events;
pub(crate) mod import;
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

use std::{error::Error as _, future::poll_fn, pin::pin};

use tracing::{Span, debug, debug_span, field, warn};

use crate::{
    clock::Clock as _,
    commit::{
        begin::Begun,
        import::{forget, old_tokens},
        plan::Plan,
        protocol::{End, Machine, Step},
        response::response_head,
        slot::Slot,
        unconfirmed::confirm_save,
    },
    deadline::within,
    error::Error,
    random::unique,
    state::{Identity, Stored, shared::Shared},
};

pub(crate) use self::{
    response::{Cookie, Failed, ResponseHead},
    slot::Started,
    unconfirmed::abandon,
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
    started: Option<Box<Started>>,
) -> Result<ResponseHead, Failed> {
    let (span, is_named) = span(shared);
    // By hand: `Instrumented` would move it, and it is large.
    let mut commit = pin!(commit(shared, occasion, started));
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
async fn commit(
    shared: &Shared,
    occasion: Occasion,
    started: Option<Box<Started>>,
) -> Result<ResponseHead, Failed> {
    let is_forgotten = shared.state().destroyed.is_some();
    let mut slot = Slot::new(shared, occasion);
    let ran = {
        // Pinned where it is: it is large, and would be moved otherwise.
        let running = pin!(async { Ok(run(&mut slot, started).await) });
        within(shared.config.store_timeout, running).await
    };
    let ran = match ran {
        Ok(ran) => ran,
        Err(late) => match slot.late(&late) {
            Some(concluded) => concluded,
            None => do_without(shared, occasion, &late).ok_or(late),
        },
    };
    ran.map_err(|error| slot.fail(error, is_forgotten))
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

async fn run(slot: &mut Slot<'_>, started: Option<Box<Started>>) -> Result<ResponseHead, Error> {
    let shared = slot.shared;
    if let Some(started) = started {
        let started = *started;
        let _gate = started.gate;
        slot.work = Some(started.work);
        let committed = slot.run(started.machine, started.step).await;
        return slot.settle(committed);
    }
    let _gate = shared.enter().await;
    confirm_save(shared).await?;
    let (plan, destroyed, forgets, is_too_late) = {
        let mut state = shared.state();
        let is_too_late = state.is_head_gone && slot.occasion == Occasion::Save;
        let plan = slot.plan(&mut state, unique());
        let work = slot.work.as_ref();
        let logs_in = work.is_some_and(|work| matches!(work.identity, Identity::LogIn(_)));
        let forgets = state.was_destroyed || logs_in;
        (plan, state.destroyed.clone(), forgets, is_too_late)
    };
    if forgets && shared.config.import.is_some() {
        // Otherwise the old token could open the session again, here or in the other library.
        let tokens = old_tokens(&shared.config, &shared.carriers.cookies);
        Box::pin(forget(&shared.config, &tokens)).await?;
    }
    if let Some(ended) = destroyed {
        destroy(slot, *ended).await?;
    }
    let is_new = slot.work.as_ref().is_some_and(|work| work.stored.is_none());
    if is_too_late && is_new && matches!(plan, Plan::Create | Plan::Move) {
        return Err(Error::too_late("a new session"));
    }
    let committed = match slot.begin(plan, shared.config.clock.now()) {
        Ok(Begun::Done(committed)) => Ok(committed),
        Ok(Begun::Machine(machine)) => slot.run(machine, Step::Ask).await,
        Err(error) => Err(error),
    };
    slot.settle(committed)
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
