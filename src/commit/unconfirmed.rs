//! A save whose reply from the store is missing: [`keep`] keeps it in the state, [`confirm_save`] finds out whether it was
//! applied.
//!
//! The state keeps only data, [`UnconfirmedSave`], because it must not know the machines. [`confirm_save`] builds the machine
//! again. It loses nothing by that: a machine that [resumes](Write::resume) first asks the store whether its record was
//! stored, whatever replies it had before.

use crate::{
    clock::Clock as _,
    commit::{
        drive::{NoAnswers, drive},
        events,
        protocol::{Abandon, Cause, Machine, Outcome, Step, Write},
        response::Committed,
        undo::hand_on,
        work::Work,
    },
    error::{Error, ErrorKind},
    observe::event::EndReason,
    record::Kept,
    state::{Stored, shared::Shared, unconfirmed::UnconfirmedSave},
};

/// Keeps `write` in the request's state. Returns `false` if no visitor would ever have its token.
pub(crate) fn keep(shared: &Shared, work: &Work, write: &Write<Kept>) -> bool {
    let Some(stored) = work.stored(write.id(), write.next().clone()) else {
        return false;
    };
    let former = write.former().cloned();
    let mut state = shared.state();
    if former.is_none()
        && (state.is_head_gone || state.generations.destroyed != work.generations.destroyed)
    {
        return false;
    }
    state.unconfirmed_save = Some(Box::new(UnconfirmedSave {
        stored,
        former,
        until: work.until,
        generations: work.generations,
    }));
    true
}

/// The machine as it was when the save was interrupted.
fn resumed(save: &UnconfirmedSave, cut: Error) -> Write<Kept> {
    let (id, next) = (save.stored.id(), save.stored.kept());
    let mut write = match &save.former {
        Some(former) => Write::update(id, former.clone(), next),
        None => Write::create(id, next),
    };
    write.resume(Cause(cut));
    write
}

/// Finds out whether an earlier save was applied, so that its changes are not made twice (rule M5).
pub(crate) async fn confirm_save(shared: &Shared) -> Result<(), Error> {
    let save = shared.state().unconfirmed_save.clone();
    if let Some(save) = save {
        // Boxed because the future is large and rarely needed.
        Box::pin(confirm(shared, &save)).await?;
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

async fn confirm(shared: &Shared, save: &UnconfirmedSave) -> Result<(), Error> {
    let config = &shared.config;
    let cut = Error::new(
        ErrorKind::Timeout,
        "an earlier save got no reply, and too many writes came after it to tell whether it was applied",
    );
    let mut machine = Machine::Write(resumed(save, cut.clone()));
    drive(config, &mut machine, &mut NoAnswers, Step::Ask).await;
    let outcome = machine.finish().outcome;
    let now = config.clock.now();
    let until = save.until;
    let committed = match outcome {
        Some(outcome @ Outcome::Created { .. }) => {
            events::notify(config, &outcome, EndReason::Destroyed, now);
            Committed::Begun(save.stored.clone())
        }
        Some(Outcome::Saved { former, record }) => {
            let id = save.stored.id();
            events::saved(config, id, &former.0, &record.0, now);
            Committed::Saved(Stored::of(save.stored.token, record))
        }
        Some(Outcome::Failed(Cause(error))) => {
            // Reported once. The changes of that save are dropped rather than applied twice.
            if error.is(&cut) {
                shared.alter(|state| {
                    state.unconfirmed_save = None;
                    if let Some(stored) = state.stored.clone() {
                        state.confirm(stored, until);
                    }
                });
            }
            return Err(error);
        }
        _ => Committed::Nothing,
    };
    shared.alter(|state| {
        state.unconfirmed_save = None;
        state.is_cookie_due |= match committed {
            Committed::Nothing => false,
            committed => state.apply(committed, save.generations, until, config, now),
        };
    });
    Ok(())
}

/// Closes a session that the unconfirmed save may have begun, because the request has ended.
pub(crate) fn abandon(shared: &Shared) {
    give_up(shared);
    shared.abandon();
}

/// Closes the id of a session that the request may have begun.
fn give_up(shared: &Shared) {
    let begun = {
        let mut state = shared.state();
        let save = state.unconfirmed_save.take();
        save.filter(|save| save.former.is_none())
    };
    if let Some(save) = begun {
        close(shared, &save.stored);
    }
}

/// Closes the id of a session whose token no visitor will ever have.
pub(crate) fn close(shared: &Shared, stored: &Stored) {
    let mut write = Write::create(stored.id(), stored.kept());
    write.resume(Cause(Error::ended()));
    let _ = hand_on(
        &shared.config,
        Machine::Write(write).abandon(Abandon::Cancelled),
    );
}
