//! Sessions that another request or node has left: [`end`] one, [`help`] one, and whether one [`has_arrived`].

use std::sync::Arc;

use tracing::debug;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        drive::{Answer, NoAnswers, drive, drive_now},
        events,
        protocol::{Ask, Cause, End, Help, Machine, Outcome, Reply, Step},
        undo::hand_on,
    },
    config::Config,
    error::{Error, ErrorKind, store::StoreError},
    observe::{event::EndReason, timed::TimedStore},
    random::unique,
    record::{Kept, Record, lineage::MoveKind, token::SessionId},
};

/// Ends the session `id`, wherever a cycle has taken it meanwhile, if `is_meant`
/// says so of what it is by then. The id it had, unless there was nothing to end.
///
/// A log-in under way is another session, and goes on (rule M7).
pub(crate) async fn end(
    config: &Arc<Config>,
    id: SessionId,
    reason: EndReason,
    is_meant: impl Fn(SessionId, &Kept) -> bool,
) -> Result<Option<SessionId>, Error> {
    let mut machine = Machine::End(Box::new(End::revoke(id, unique())));
    drive(config, &mut machine, &mut Judge(is_meant), Step::Ask).await;
    match hand_on(config, machine.finish()) {
        Some(outcome @ Outcome::Closed { .. }) => {
            events::tell(config, &outcome, reason, config.clock.now());
            let Outcome::Closed { id, .. } = outcome else {
                return Ok(None);
            };
            debug!(session.id = %id, ?reason, "session ended");
            Ok(Some(id))
        }
        Some(Outcome::Failed(Cause(error))) => Err(error),
        _ => Ok(None),
    }
}

struct Judge<F>(F);

impl<F: Fn(SessionId, &Kept) -> bool> Answer for Judge<F> {
    fn answer(&mut self, config: &Config, ask: Ask<'_, Kept>, now: Timestamp) -> Reply<Kept> {
        match ask {
            Ask::Judge(id, kept) => Reply::Meant(self.0(id, kept)),
            ask => NoAnswers.answer(config, ask, now),
        }
    }
}

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
    drive(config, &mut machine, &mut NoAnswers, Step::Ask).await;
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
