//! Whether the move of a session to its new id is finished. [`help`] finishes a move that another request began.
//! [`has_arrived`] only checks.

use std::sync::Arc;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        drive::{NoAnswers, drive, drive_now},
        events,
        protocol::{Cause, Help, Machine, Outcome, Step},
        undo::hand_on,
    },
    config::Config,
    error::{Error, ErrorKind, store::StoreError},
    observe::timed::TimedStore,
    random::unique,
    record::{Kept, Record, lineage::MoveKind, token::SessionId},
};

/// Finishes the move that created the loaded record `found`, if it is not finished. Returns the latest record, or `None`
/// if the session has ended.
pub(crate) async fn help(
    config: &Arc<Config>,
    id: SessionId,
    found: Kept,
) -> Result<Option<Kept>, Error> {
    if found.0.origin().is_none() {
        return Ok(Some(found));
    }
    let mut machine = Machine::Help(Box::new(Help::new(id, found, unique())));
    drive(config, &mut machine, &mut NoAnswers, Step::Ask).await;
    helped(config, id, machine, config.clock.now())
}

/// The same as [`help`] without waiting. It fails if the store does not answer at once.
pub(crate) fn help_now(
    config: &Arc<Config>,
    id: SessionId,
    found: Kept,
    now: Timestamp,
) -> Result<Option<Kept>, Error> {
    if found.0.origin().is_none() {
        return Ok(Some(found));
    }
    let mut machine = Machine::Help(Box::new(Help::new(id, found, unique())));
    if drive_now(config, &mut machine, &mut NoAnswers, now) != Step::Done {
        let what = "the store has to be waited for";
        return Err(Error::new(ErrorKind::Unavailable, what));
    }
    helped(config, id, machine, now)
}

fn helped(
    config: &Arc<Config>,
    id: SessionId,
    machine: Machine<Kept>,
    now: Timestamp,
) -> Result<Option<Kept>, Error> {
    match hand_on(config, machine.finish()) {
        Some(Outcome::Helped { record, moved }) => {
            if let Some((from, kind)) = moved {
                events::moved(config, from, id, &record.0, kind, now);
            }
            Ok(Some(record))
        }
        Some(Outcome::Failed(Cause(error))) => Err(error),
        _ => Ok(None),
    }
}

/// Whether the session is at `id` already. Until a marker that leads to `id` replaces the old record, the session is at its
/// old id.
pub(crate) async fn has_arrived(
    store: &TimedStore,
    id: SessionId,
    record: &Record,
) -> Result<bool, StoreError> {
    let Some(from) = record.origin() else {
        return Ok(true);
    };
    match store.load_latest(from.id).await {
        Ok(None) => Ok(true),
        Ok(Some((origin, _))) => Ok(match (origin.leads_to(), from.kind) {
            (Some(to), _) if to.id == id => true,
            // The old session moved elsewhere first: this log-in begins a session of its own.
            (_, MoveKind::LogIn) => origin.is_moved(),
            (_, MoveKind::Cycle) => false,
        }),
        // A record that does not decode must not make a whole list fail.
        Err(error) if error.is_of_record() => Ok(true),
        Err(error) => Err(error),
    }
}
