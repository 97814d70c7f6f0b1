//! Whether a session has arrived at its new id: finishes a move that another request began ([`help`]), or only tells
//! whether it is finished ([`has_arrived`]).

use std::sync::Arc;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        drive::{NoAnswers, drive, drive_now},
        events,
        protocol::{Cause, Help, Machine, Outcome},
        undo::hand_on,
    },
    config::Config,
    error::{Error, ErrorKind, store::StoreError},
    observe::timed::TimedStore,
    random::unique,
    record::{Kept, Record, lineage::MoveKind, token::SessionId},
};

/// What a load has found, once its move is finished; `None` where the session has ended.
pub(crate) async fn help(
    config: &Arc<Config>,
    id: SessionId,
    found: Kept,
) -> Result<Option<Kept>, Error> {
    if found.0.origin().is_none() {
        return Ok(Some(found));
    }
    let mut machine = Machine::Help(Box::new(Help::new(id, found, unique())));
    drive(config, &mut machine, &mut NoAnswers).await;
    helped(config, id, machine, config.clock.now())
}

/// As [`help`]; an error also where the store has to be waited for.
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
    if !drive_now(config, &mut machine, &mut NoAnswers, now) {
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

/// Whether `id` is a session of its own: until the one that it comes from has become the marker
/// that leads here, that one is the visitor's.
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
            // What came too late begins by itself.
            (_, MoveKind::LogIn) => origin.is_moved(),
            (_, MoveKind::Cycle) => false,
        }),
        // A list leaves out what does not decode, and does not fail for it.
        Err(error) if error.is_of_record() => Ok(true),
        Err(error) => Err(error),
    }
}
