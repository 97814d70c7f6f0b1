//! A save that never heard from the store: [`UnconfirmedSave`], made sure of before anything else.

use crate::{
    commit::{
        limit,
        swap::{Swap, Swapped},
        write::{Committed, tell_of_begun, tell_of_saved},
    },
    error::{Error, ErrorKind},
    record::{Record, version::Wrote},
    state::{Stored, change_seq::ChangeSeq, shared::Shared, unconfirmed::UnconfirmedSave},
    store::Former,
};

/// Settles an earlier save that never heard from the store, so that the
/// changes in it are not made twice (rule M5).
pub(crate) async fn settle_unconfirmed_save(shared: &Shared) -> Result<(), Error> {
    let unconfirmed_save = shared.state().unconfirmed_save.clone();
    if let Some(attempt) = unconfirmed_save {
        // Boxed, because it is rarely needed.
        let settled = Box::pin(settle(shared, *attempt)).await;
        settled.inspect_err(|error| shared.state().refuse(error))?;
    }
    let stale = {
        let state = shared.state();
        state.stored.clone().filter(|_| state.is_stale)
    };
    match stale {
        Some(stored) => shared.rebase(stored.id(), &stored.kept()),
        None => Ok(()),
    }
}

/// Makes sure of an attempt. An update is made again as it was: whichever of the two
/// came first, the store has it once, and what was done since goes on top.
async fn settle(shared: &Shared, attempt: UnconfirmedSave) -> Result<(), Error> {
    let config = &*shared.config;
    let (until, generations) = (attempt.until, attempt.generations);
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
        shared.state().unconfirmed_save = None;
        limit::enforce(config, begun).await?;
    }
    shared.alter(|state| {
        state.unconfirmed_save = None;
        state.is_cookie_due |= match committed {
            Committed::Nothing => false,
            committed => state.take_in(committed, generations, until, config, now),
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
    until: ChangeSeq,
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
                state.unconfirmed_save = None;
                if let Some(stored) = state.stored.clone() {
                    state.confirm(stored, until);
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
