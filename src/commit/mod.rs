//! Commits what a request did to the store, at the response head or at `save`.
//!
//! A commit's data goes one way: [`work`] copies the request's state, [`plan`] decides what to do, [`begin`] makes the
//! machine of [`protocol`] that does it, [`drive`] runs the machine, and [`response`] decides about the cookie. Meanwhile a
//! [`slot`] holds the machine. If it is abandoned, its effects are [undone](undo) in the background. This
//! folder uses settings, state and store. It knows no HTTP, and neither sessions nor operators.
//!
//! A response head has two entry points. [`try_now`] needs no future: it is for an unchanged session, and for a store in
//! memory. If it would have to wait, [`commit_in_span`] continues with the same machine, and waits for the store. The
//! other entry points are for what handlers and operators do besides: [`upkeep`], [`revoke`], [`import`], [`arrival`].

pub(crate) mod arrival;
mod begin;
mod drive;
mod due;
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

use std::{future::poll_fn, pin::pin};

use tracing::{Span, debug, debug_span, field};

use crate::{
    clock::Clock as _,
    commit::{
        import::forget,
        plan::Plan,
        protocol::{End, Machine, Step},
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
/// If the store failed and changes may be lost. At the response head, this also drops the pending changes, because no
/// later call could save them.
async fn commit(
    shared: &Shared,
    occasion: Occasion,
    started: Option<Box<Started>>,
) -> Result<ResponseHead, Failed> {
    let is_left = {
        let state = shared.state();
        state.destroyed.is_some() || (state.was_destroyed && state.was_presented)
    };
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
            None => slot.do_without(&late).ok_or(late),
        },
    };
    ran.map_err(|error| slot.fail(error, is_left))
}

async fn run(slot: &mut Slot<'_>, started: Option<Box<Started>>) -> Result<ResponseHead, Error> {
    let shared = slot.shared;
    if let Some(started) = started {
        let committed = slot.go_on(*started).await;
        return slot.settle(committed, shared.config.clock.now());
    }
    slot.enter().await;
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
        let tokens = shared.config.old_tokens(&shared.token_headers);
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
        Ok(Some(committed)) => Ok(committed),
        Ok(None) => slot.run(Step::Ask).await,
        Err(error) => Err(error),
    };
    slot.settle(committed, shared.config.clock.now())
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
