//! A save that never heard from the store: [`Attempt`], made sure of before anything else.

use std::sync::Arc;

use crate::{
    commit::{
        limit,
        swap::{Swap, Swapped},
        write::{Committed, tell_of_begun, tell_of_saved},
    },
    error::{Error, ErrorKind},
    record::{Record, Wrote},
    state::{Shared, Stored, Turns, changes::Moment},
    store::Former,
};

/// A write on its way to the store, of what was done until then. An update that is made
/// again as it was cannot be made twice: the store compares its version.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) stored: Stored,
    /// What is to be replaced; `None` for a new session.
    pub(crate) former: Option<Arc<Record>>,
    pub(crate) until: Moment,
    pub(crate) turns: Turns,
}

/// Settles an earlier save that never heard from the store, so that the
/// changes in it are not made twice (rule M5).
pub(crate) async fn settle_open_save(shared: &Shared) -> Result<(), Error> {
    let open_save = shared.state().open_save.clone();
    if let Some(attempt) = open_save {
        // Boxed, because it is rarely needed.
        let settled = Box::pin(settle(shared, *attempt)).await;
        settled.inspect_err(|error| shared.state().refuse(error))?;
    }
    let stale = {
        let state = shared.state();
        state.stored.clone().filter(|_| state.is_stale)
    };
    match stale {
        Some(stored) => shared.adopt(stored.id(), &stored.kept()),
        None => Ok(()),
    }
}

/// Makes sure of an attempt. An update is made again as it was: whichever of the two
/// came first, the store has it once, and what was done since goes on top.
async fn settle(shared: &Shared, attempt: Attempt) -> Result<(), Error> {
    let config = &*shared.config;
    let (until, turns) = (attempt.until, attempt.turns);
    let mut committed = match attempt.former {
        Some(former) => settle_update(shared, attempt.stored, &former, until).await?,
        // Where it is not there it begins anew, with all that is pending, under another id: it
        // may have been there and have been ended, and what was ended does not come back.
        None => {
            let (id, record) = (attempt.stored.id(), &attempt.stored.record);
            if Swap::new(config).was_created(id, record).await? {
                Committed::Begun(attempt.stored)
            } else {
                Committed::Nothing
            }
        }
    };
    let now = config.clock.now();
    if let Committed::Begun(begun) = &mut committed {
        tell_of_begun(config, begun, now);
        shared.state().open_save = None;
        limit::enforce(config, begun).await?;
    }
    shared.alter(|state| {
        state.open_save = None;
        state.is_cookie_due |= match committed {
            Committed::Nothing => false,
            committed => state.take_in(committed, turns, until, config, now),
        };
    });
    Ok(())
}

/// `Nothing` where it was not made and cannot be any more: what the store has
/// instead, the commit to come finds too.
async fn settle_update(
    shared: &Shared,
    mut next: Stored,
    former: &Record,
    until: Moment,
) -> Result<Committed, Error> {
    let Some((record, activity)) = shared.config.store.load_latest(next.id()).await? else {
        return Ok(Committed::Nothing);
    };
    let computes = {
        let state = shared.state();
        state.changes.as_ref().is_some_and(|c| c.computes())
    };
    let expected = former.version();
    // Others may have written on top since: what was in this save is told alone.
    let tell = |saved: &Record| {
        let now = shared.config.clock.now();
        tell_of_saved(&shared.config, next.id(), former, saved, now);
    };
    match record.wrote(next.record.version()) {
        Wrote::Yes if record.is_moved() => {
            tell(&next.record);
            Ok(Committed::Ended)
        }
        Wrote::Yes => {
            tell(&next.record);
            (next.record, next.activity) = (record, activity);
            Ok(Committed::Saved(next))
        }
        Wrote::No if record.version() == expected => {
            let mut swap = Swap::new(&shared.config);
            let former = Former::new(&record, activity);
            let again = swap.attempt(next.id(), former, &next.record, next.activity, computes);
            match again.await? {
                Swapped::Saved => {
                    tell(&next.record);
                    Ok(Committed::Saved(next))
                }
                Swapped::Fresher(_) | Swapped::Moved | Swapped::Missing => Ok(Committed::Nothing),
            }
        }
        Wrote::Unknown if computes => {
            // Said once: what was in that save is given up, not counted twice.
            shared.alter(|state| {
                state.open_save = None;
                if let Some(stored) = state.stored.clone() {
                    state.settle(stored, until);
                }
            });
            Err(Error::new(
                ErrorKind::Timeout,
                "an earlier save got no reply, and too many writes came after it to tell whether it was kept",
            ))
        }
        Wrote::Unknown | Wrote::No => Ok(Committed::Nothing),
    }
}
