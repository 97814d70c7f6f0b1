//! Sends the events of a machine's outcome to the listeners, after the store has confirmed it: [`notify`].
//!
//! If two requests end one session, only one of their machines has the outcome [`Outcome::Closed`], so the event is sent
//! once.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    commit::protocol::Outcome,
    config::Config,
    observe::event::{EndReason, Event, EventKind},
    record::{Kept, Record, lineage::MoveKind, token::SessionId},
};

/// Sends the events of `outcome`. If it ended a session, `reason` says why.
#[inline]
pub(crate) fn notify(config: &Config, outcome: &Outcome<Kept>, reason: EndReason, now: Timestamp) {
    if config.observers().is_active() {
        notify_all(config, outcome, reason, now);
    }
}

fn notify_all(config: &Config, outcome: &Outcome<Kept>, reason: EndReason, now: Timestamp) {
    match outcome {
        Outcome::Created { id, record } | Outcome::Begun { id, record } => {
            begun(config, *id, &record.0, now);
        }
        Outcome::Imported { id, record } => config
            .observers()
            .notify_with(|| Event::of(*id, &record.0, now, EventKind::Imported)),
        Outcome::Joined { id, former, record } => saved(config, *id, &former.0, &record.0, now),
        Outcome::Moved {
            from,
            former,
            id,
            record,
            kind,
        } => {
            moved(config, *from, *id, &record.0, *kind, now);
            if former.0.data() != record.0.data() {
                saved(config, *id, &former.0, &record.0, now);
            }
        }
        Outcome::Closed { id, record } => ended(config, *id, record.clone(), reason, None, now),
        _ => {}
    }
}

/// Sends the event of a move, also if another request began it.
pub(crate) fn moved(
    config: &Config,
    from: SessionId,
    to: SessionId,
    record: &Record,
    kind: MoveKind,
    now: Timestamp,
) {
    config.observers().notify_with(|| {
        let kind = match kind {
            MoveKind::LogIn => EventKind::LoggedIn {
                from: Some(from),
                to,
            },
            MoveKind::Cycle => EventKind::Cycled { from, to },
        };
        Event::of(to, record, now, kind)
    });
}

/// Sends the event of a write that replaced `former` with `record`.
pub(crate) fn saved(
    config: &Config,
    id: SessionId,
    former: &Record,
    record: &Record,
    now: Timestamp,
) {
    config.observers().notify_with(|| {
        let keys = former.data().keys_that_differ(record.data());
        Event::of(id, record, now, EventKind::Saved { keys })
    });
}

pub(crate) fn ended(
    config: &Config,
    id: SessionId,
    record: Option<Kept>,
    reason: EndReason,
    operator: Option<Arc<str>>,
    now: Timestamp,
) {
    let observers = config.observers();
    observers.notify_with(|| Event::ended(id, record, now, reason).by(operator));
}

/// Sends the events of a new session, perhaps with a log-in.
fn begun(config: &Config, id: SessionId, record: &Record, now: Timestamp) {
    let send = |kind| {
        let event = || Event::of(id, record, now, kind);
        config.observers().notify_with(event);
    };
    send(EventKind::Created);
    if record.user().is_some() {
        send(EventKind::LoggedIn { from: None, to: id });
    }
}
