//! Ends a session from outside of its own request: for an operator, or because a copied cookie was used.
//!
//! A session that a request destroys ends in that request's commit, by the same machine.

use std::sync::Arc;

use tracing::debug;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        drive::{Answer, NoAnswers, drive},
        events,
        protocol::{Ask, Cause, End, Machine, Outcome, Reply, Step},
        undo::hand_on,
    },
    config::Config,
    error::Error,
    observe::event::EndReason,
    random::unique,
    record::{Kept, token::SessionId},
};

/// Ends the session `id` if `is_meant` returns `true` for its latest record. Follows a cycle to the session's new id.
/// Returns the id under which the session ended, or `None` if there was nothing to end. The event names the operator.
///
/// A concurrent log-in makes another session, which stays (rule M7).
pub(crate) async fn revoke(
    config: &Arc<Config>,
    id: SessionId,
    reason: EndReason,
    operator: Option<&Arc<str>>,
    is_meant: impl Fn(SessionId, &Kept) -> bool,
) -> Result<Option<SessionId>, Error> {
    let mut machine = Machine::End(Box::new(End::revoke(id, unique())));
    drive(config, &mut machine, &mut Judge(is_meant), Step::Ask).await;
    match hand_on(config, machine.finish()) {
        Some(Outcome::Closed { id, record }) => {
            let (operator, now) = (operator.cloned(), config.clock.now());
            events::ended(config, id, record, reason, operator, now);
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
