//! Rolls back in the background what an abandoned commit has begun: [`undo_later`].

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tracing::debug;

use crate::{
    clock::Clock as _,
    commit::{
        drive::{NoAnswers, drive},
        events,
        protocol::{Abandon, Cause, Finished, Machine, Outcome, Step, Undo},
    },
    config::Config,
    deadline::{catching_panics, within},
    error::Error,
    observe::event::EndReason,
    random::unique,
    record::{Kept, token::SessionId},
};

/// How often an undo is tried. The pause between two attempts begins at `store_timeout` and doubles each time.
const MAX_TRIES: u32 = 6;

/// Returns the outcome of a machine. Starts its undo in the background, and sends the events of the sessions that it ended
/// for the limit.
#[inline]
pub(crate) fn hand_on(config: &Arc<Config>, finished: Finished<Kept>) -> Option<Outcome<Kept>> {
    let Finished {
        outcome,
        undo,
        evicted,
    } = finished;
    if !evicted.is_empty() {
        notify_evicted(config, evicted);
    }
    if let Some(undo) = undo {
        undo_later(config, undo);
    }
    outcome
}

#[cold]
fn notify_evicted(config: &Config, evicted: Vec<(SessionId, Kept)>) {
    let now = config.clock.now();
    for (id, kept) in evicted {
        events::ended(config, id, Some(kept), EndReason::Limit, None, now);
    }
}

/// Undoes `undo` in a background task. Without a runtime nothing is undone, and what was begun expires.
#[cold]
pub(crate) fn undo_later(config: &Arc<Config>, undo: Undo<Kept>) {
    if let Ok(runtime) = Handle::try_current() {
        let (config, task) = (Arc::clone(config), config.shutdown.track());
        runtime.spawn(async move {
            let _task = task;
            catching_panics(undo_in_the_end(&config, undo)).await;
        });
    }
}

async fn undo_in_the_end(config: &Arc<Config>, mut undo: Undo<Kept>) {
    let mut pause = config.store_timeout;
    for _ in 0..MAX_TRIES {
        let finished = {
            // Limits how many undos run at once. Those that wait are small and have no data.
            let _permit = config.undoing.acquire().await;
            try_undo(config, &undo).await
        };
        let id = undo.id();
        match finished.outcome {
            Some(Outcome::Failed(Cause(error))) => {
                debug!(session.id = %id, %error, "rolling back failed, and is tried again");
                undo = finished.undo.unwrap_or(undo);
            }
            Some(outcome) => {
                debug!(session.id = %id, "an abandoned commit was rolled back or finished");
                let now = config.clock.now();
                if let Outcome::Helped {
                    record,
                    moved: Some((from, kind)),
                } = &outcome
                {
                    events::moved(config, *from, id, &record.0, *kind, now);
                }
                return events::notify(config, &outcome, EndReason::Destroyed, now);
            }
            None => undo = finished.undo.unwrap_or(undo),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(Duration::from_secs(60));
    }
}

/// Tries once, with a writer of its own, because the writes of an earlier try may still arrive.
async fn try_undo(config: &Arc<Config>, undo: &Undo<Kept>) -> Finished<Kept> {
    let undoing = undo.machine(unique(), config.clock.now());
    let mut machine = Machine::Undo(Box::new(undoing));
    let driven = {
        within(config.store_timeout, async {
            drive(config, &mut machine, &mut NoAnswers, Step::Ask).await;
            Ok::<_, Error>(())
        })
        .await
    };
    match driven {
        Ok(()) => machine.finish(),
        Err(error) => machine.abandon(Abandon::Late(Cause(error))),
    }
}
