//! What a handler asks of the store before or after the response leaves:
//! touch, reload, claim.

use std::{sync::Arc, time::Duration};

use crate::{
    commit::{
        attempt::settle_unconfirmed_save,
        swap::{Swap, Swapped},
        write::tell_of_saved,
    },
    deadline::{pause, within},
    error::Error,
    record::{Kept, lifetime::is_past, token::SessionId},
    state::{Stored, shared::Shared},
    store::{Former, Touched},
};

/// Moves the activity forward now, whatever `touch_after` says.
pub(crate) async fn touch(shared: &Shared) -> Result<(), Error> {
    in_turn(shared, async {
        let config = &shared.config;
        let mut swap = Swap::new(config);
        loop {
            let Some(stored) = stored(shared)? else {
                return Ok(());
            };
            let now = config.clock.now();
            if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
                return Err(end(shared, stored.id()));
            }
            let activity = config.lifetimes.activity(&stored.record, now);
            let version = stored.record.version();
            match swap.touch(stored.id(), version, activity).await? {
                Touched::Yes => {
                    let mut state = shared.state();
                    if let Some(latest) = &mut state.stored
                        && latest.id() == stored.id()
                    {
                        latest.activity = activity;
                    }
                    drop(state);
                    refresh_cookie(shared);
                    return Ok(());
                }
                Touched::Stale => {
                    pause(Duration::ZERO).await;
                    refresh(shared, &stored).await?;
                }
                Touched::Missing => return Err(end(shared, stored.id())),
            }
        }
    })
    .await
}

/// Puts what the store has now under the pending changes.
pub(crate) async fn reload(shared: &Shared) -> Result<(), Error> {
    in_turn(shared, async {
        match stored(shared)? {
            Some(stored) => refresh(shared, &stored).await,
            None => Ok(()),
        }
    })
    .await
}

/// Whether `key` has changes that are not saved.
pub(crate) fn is_pending(shared: &Shared, key: &str) -> bool {
    let state = shared.state();
    let changes = state.changes.as_ref();
    changes.is_some_and(|changes| changes.affects(key))
}

/// Removes `key` from the record, if `check` accepts its value; `None` where it is not there.
pub(crate) async fn claim<T>(
    shared: &Shared,
    key: &str,
    check: impl Fn(&[u8]) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    in_turn(shared, async {
        let config = &shared.config;
        let Some(mut stored) = stored(shared)? else {
            return Ok(None);
        };
        let mut swap = Swap::new(config);
        loop {
            let Some(value) = stored.record.data().get(key) else {
                shared.rebase(stored.id(), &stored.kept())?;
                return Ok(None);
            };
            let claimed = check(value)?;
            let now = config.clock.now();
            if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
                end(shared, stored.id());
                return Ok(None);
            }
            let data = stored.record.data().with([(key, None)].into_iter());
            let rested = now.since(stored.activity.last_seen_at);
            let next = Arc::new(stored.record.successor(data, swap.writer, rested));
            let activity = config.lifetimes.activity(&next, now);
            let former = Former::new(&stored.record, stored.activity);
            match swap
                .attempt(stored.id(), former, &next, activity, true)
                .await?
            {
                Swapped::Saved => {
                    let former = std::mem::replace(&mut stored.record, Arc::clone(&next));
                    stored.activity = activity;
                    tell_of_saved(config, stored.id(), &former, &stored.record, now);
                    // Whoever else fails now, the value is this request's.
                    if shared
                        .rebase(stored.id(), &(Arc::clone(&next), activity))
                        .is_err()
                    {
                        shared.state().replace_record(stored.id(), next, activity);
                    }
                    refresh_cookie(shared);
                    return Ok(Some(claimed));
                }
                Swapped::Fresher((record, activity)) => {
                    stored.record = record;
                    stored.activity = activity;
                }
                Swapped::Moved | Swapped::Missing => {
                    end(shared, stored.id());
                    return Ok(None);
                }
            }
        }
    })
    .await
}

/// Runs `talk` when no other talk with the store is under way for this request, within the deadline.
async fn in_turn<T>(
    shared: &Shared,
    talk: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    within(shared.config.store_timeout, async {
        let _gate = shared.enter().await;
        settle_unconfirmed_save(shared).await?;
        talk.await
    })
    .await
}

/// `None` for a session that is new.
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

/// The deadline has moved: what a persistent cookie says of it is for the head to say.
fn refresh_cookie(shared: &Shared) {
    let mut state = shared.state();
    let lifetimes = &shared.config.lifetimes;
    let stored = state.stored.as_ref();
    let is_persistent = stored.is_some_and(|stored| lifetimes.is_persistent(&stored.record));
    state.is_cookie_due |= is_persistent;
}

/// The session `id` has ended; what the handler has begun since has not.
fn end(shared: &Shared, id: SessionId) -> Error {
    shared.alter(|state| {
        if state.is_on(id) {
            state.end();
        }
    });
    Error::ended()
}
