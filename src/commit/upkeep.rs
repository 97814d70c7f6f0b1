//! Store calls that a handler makes before the commit: touch, reload and claim.

use std::sync::Arc;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        drive::{Answer, NoAnswers, drive},
        events,
        protocol::{Ask, Cause, Claim, Machine, Outcome, Reply, Step, Touch},
        unconfirmed::confirm_save,
        undo::hand_on,
    },
    config::Config,
    deadline::within,
    error::Error,
    random::unique,
    record::{Kept, lifetime::is_past, token::SessionId},
    state::{Stored, shared::Shared},
};

/// Writes the activity now, whatever `touch_after` says.
pub(crate) async fn touch(shared: &Shared) -> Result<(), Error> {
    in_turn(shared, async {
        let config = &shared.config;
        let Some(stored) = stored(shared)? else {
            return Ok(());
        };
        let now = config.clock.now();
        if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
            return Err(end(shared, stored.id()));
        }
        let id = stored.id();
        let mut machine = Machine::Touch(Box::new(Touch::new(id, stored.kept(), true)));
        drive(config, &mut machine, &mut NoAnswers, Step::Ask).await;
        match hand_on(config, machine.finish()) {
            Some(Outcome::Touched((record, _))) => {
                let activity = config.lifetimes.activity(&record, now);
                if record.version() == stored.record.version() {
                    let mut state = shared.state();
                    if let Some(latest) = state.stored.as_mut().filter(|latest| latest.id() == id) {
                        latest.activity = activity;
                    }
                } else if is_past(config.lifetimes.absolute_deadline(&record), now) {
                    return Err(end(shared, id));
                } else {
                    shared.rebase(id, &(record, activity))?;
                }
                refresh_cookie(shared);
                Ok(())
            }
            Some(Outcome::Failed(Cause(error))) => Err(error),
            _ => Err(end(shared, id)),
        }
    })
    .await
}

/// Loads the record again, and applies the pending changes to it.
pub(crate) async fn reload(shared: &Shared) -> Result<(), Error> {
    in_turn(shared, async {
        match stored(shared)? {
            Some(stored) => refresh(shared, &stored).await,
            None => Ok(()),
        }
    })
    .await
}

/// Whether `key` has unsaved changes.
pub(crate) fn is_pending(shared: &Shared, key: &str) -> bool {
    let state = shared.state();
    let changes = state.changes.as_ref();
    changes.is_some_and(|changes| changes.affects(key))
}

/// Removes `key` from the stored record if `check` accepts its value. `None` if there is no value.
pub(crate) async fn claim<T>(
    shared: &Shared,
    key: &str,
    check: impl Fn(&[u8]) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    in_turn(shared, async {
        let config = &shared.config;
        let Some(stored) = stored(shared)? else {
            return Ok(None);
        };
        let id = stored.id();
        let mut taking = Taking {
            key,
            check: &check,
            writer: unique(),
            claimed: None,
        };
        let next = match taking.without(config, &stored.kept(), config.clock.now())? {
            Reply::Merged(next) => next,
            Reply::Ended => {
                end(shared, id);
                return Ok(None);
            }
            _ => {
                shared.rebase(id, &stored.kept())?;
                return Ok(None);
            }
        };
        let mut machine = Machine::Claim(Claim::new(id, stored.kept(), next));
        drive(config, &mut machine, &mut taking, Step::Ask).await;
        match hand_on(config, machine.finish()) {
            Some(Outcome::Saved { former, record }) => {
                let now = config.clock.now();
                events::saved(config, id, &former.0, &record.0, now);
                // This request has the value, even if a pending update fails now.
                if shared.rebase(id, &record).is_err() {
                    let (record, activity) = record;
                    shared.state().replace_record(id, record, activity);
                }
                refresh_cookie(shared);
                Ok(taking.claimed)
            }
            Some(Outcome::Unchanged(latest)) => {
                shared.rebase(id, &latest)?;
                Ok(None)
            }
            Some(Outcome::Failed(Cause(error))) => Err(error),
            _ => {
                end(shared, id);
                Ok(None)
            }
        }
    })
    .await
}

/// A value that is being removed from the record.
struct Taking<'a, T, F> {
    key: &'a str,
    check: &'a F,
    writer: u64,
    claimed: Option<T>,
}

impl<T, F: Fn(&[u8]) -> Result<T, Error>> Taking<'_, T, F> {
    /// The record `latest` without the value.
    fn without(
        &mut self,
        config: &Config,
        latest: &Kept,
        now: Timestamp,
    ) -> Result<Reply<Kept>, Error> {
        let (record, activity) = latest;
        let Some(value) = record.data().get(self.key) else {
            return Ok(Reply::Unchanged);
        };
        self.claimed = Some((self.check)(value)?);
        if is_past(config.lifetimes.absolute_deadline(record), now) {
            return Ok(Reply::Ended);
        }
        let data = record
            .data()
            .with([(self.key.as_bytes(), None)].into_iter());
        let rested = now.since(activity.last_seen_at);
        let next = Arc::new(record.successor(data, self.writer, rested));
        let activity = config.lifetimes.activity(&next, now);
        Ok(Reply::Merged((next, activity)))
    }
}

impl<T, F: Fn(&[u8]) -> Result<T, Error>> Answer for Taking<'_, T, F> {
    fn answer(&mut self, config: &Config, ask: Ask<'_, Kept>, now: Timestamp) -> Reply<Kept> {
        match ask {
            Ask::Merge(latest) => self
                .without(config, latest, now)
                .unwrap_or_else(|error| Reply::Refused(Cause(error))),
            ask => NoAnswers.answer(config, ask, now),
        }
    }
}

/// Runs `talk` within the store timeout, when no other store call of this request is running.
async fn in_turn<T>(
    shared: &Shared,
    talk: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    within(shared.config.store_timeout, async {
        let _pass = shared.enter().await;
        confirm_save(shared).await?;
        talk.await
    })
    .await
}

/// The stored session. `None` if it is new.
fn stored(shared: &Shared) -> Result<Option<Stored>, Error> {
    let state = shared.state();
    state.check_open()?;
    if state.is_destroyed() {
        return Err(Error::ended());
    }
    Ok(state.stored.clone())
}

async fn refresh(shared: &Shared, stored: &Stored) -> Result<(), Error> {
    let config = &shared.config;
    let latest: Option<Kept> = config.store.load_latest(stored.id()).await?;
    let now = config.clock.now();
    match latest {
        Some(latest)
            if !latest.0.is_moved()
                && !is_past(config.lifetimes.absolute_deadline(&latest.0), now) =>
        {
            shared.rebase(stored.id(), &latest)
        }
        _ => Err(end(shared, stored.id())),
    }
}

/// Lets the response head send a persistent cookie again, because the deadline has changed.
fn refresh_cookie(shared: &Shared) {
    let mut state = shared.state();
    let lifetimes = &shared.config.lifetimes;
    let stored = state.stored.as_ref();
    let is_persistent = stored.is_some_and(|stored| lifetimes.is_persistent(&stored.record));
    state.is_cookie_due |= is_persistent;
}

/// Records that the session `id` has ended, unless the handler has begun another one since. Returns the error for the
/// handler.
fn end(shared: &Shared, id: SessionId) -> Error {
    shared.config.store.observers.waiters.look_again(id);
    shared.alter(|state| {
        if state.is_on(id) {
            state.end();
        }
    });
    Error::ended()
}
