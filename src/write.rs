//! What a commit asks of the store: touch, create, update.

use std::{error::Error as _, sync::Arc};

use tracing::warn;

use crate::{
    Error, ErrorKind, Event, EventKind, Record, SessionId, Timestamp, Version,
    changes::Changes,
    commit::Work,
    data::Data,
    deadline::within,
    layer::Config,
    lifetime::is_past,
    state::{Identity, Stored, amended},
    store::Touched,
    swap::{Swap, Swapped},
    token::{Token, Verifier},
};

/// What a plan came to.
pub(crate) enum Committed {
    Nothing,
    Touched(Stored),
    Saved(Stored),
    /// Under a new id.
    Begun(Stored),
    Ended,
}

pub(crate) async fn touch(config: &Config, work: &Work, now: Timestamp) -> Committed {
    let Some(stored) = &work.stored else {
        return Committed::Nothing;
    };
    if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
        return Committed::Ended;
    }
    let activity = config.lifetimes.activity(&stored.record, now);
    let mut swap = Swap::new(config);
    let touching = swap.touch(stored.id(), stored.record.version(), activity);
    match within(config.store_timeout, touching).await {
        Ok(Touched::Yes) => {
            let stored = stored.clone();
            Committed::Touched(Stored { activity, ..stored })
        }
        // Somebody wrote since, and so was seen since.
        Ok(Touched::Stale) => Committed::Nothing,
        Ok(Touched::Missing) => Committed::Ended,
        Err(error) => {
            warn!(session.id = %stored.id(), %error, cause = ?error.source(), "touch failed");
            Committed::Nothing
        }
    }
}

pub(crate) async fn create(
    config: &Config,
    work: &Work,
    now: Timestamp,
    attempting: impl Fn(&Stored),
) -> Result<Committed, Error> {
    let mut swap = Swap::new(config);
    let mut changes = work.changes.clone().unwrap_or_default();
    if work.is_displaced {
        // They were made on a record that has ended.
        Arc::make_mut(&mut changes).rebase(&Data::default(), config.max_data_bytes)?;
    }
    let login = match &work.identity {
        Identity::LogIn(log_in) => Some(log_in.login()),
        Identity::Same | Identity::Cycle => None,
    };
    let blank = |token: &Token, writer| {
        let verifier = Verifier::of(&token.secret);
        Record::new(verifier, Version::first(writer), now).with_login(login.clone())
    };
    let stored = begin(config, &mut swap, &changes, now, blank, attempting).await?;
    tell_of_begun(config, &stored, now);
    Ok(Committed::Begun(stored))
}

/// A session began, perhaps with a log-in.
pub(crate) fn tell_of_begun(config: &Config, begun: &Stored, now: Timestamp) {
    let tell = |kind| {
        let event = || Event::of(begun.id(), &begun.record, now, kind);
        config.population().tell_of(event);
    };
    tell(EventKind::Created);
    if begun.record.user().is_some() {
        let (from, to) = (None, begun.id());
        tell(EventKind::LoggedIn { from, to });
    }
}

/// What was `former` has become `saved`.
pub(crate) fn tell_of_saved(
    config: &Config,
    id: SessionId,
    former: &Record,
    saved: &Record,
    now: Timestamp,
) {
    config.population().tell_of(|| {
        let keys = former.data().keys_that_differ(saved.data());
        Event::of(id, saved, now, EventKind::Saved { keys })
    });
}

/// Two equal ids are not to be expected; a store that claims so again and again is broken.
const MAX_DRAWS: u32 = 3;

/// Stores a new record: what `blank` gives for a new token, with `changes` on top.
pub(crate) async fn begin(
    config: &Config,
    swap: &mut Swap<'_>,
    changes: &Changes,
    now: Timestamp,
    blank: impl Fn(&Token, u64) -> Record,
    attempting: impl Fn(&Stored),
) -> Result<Stored, Error> {
    for _ in 0..MAX_DRAWS {
        let token = Token::generate()?;
        let record = blank(&token, swap.writer);
        let data = changes.apply(record.data());
        let record = Arc::new(changes.overriding(record.with_data(data)));
        let activity = config.lifetimes.activity(&record, now);
        let stored = Stored {
            token,
            record,
            activity,
        };
        attempting(&stored);
        if swap.create(token.id, &stored.record, activity).await? {
            return Ok(stored);
        }
    }
    Err(Error::new(
        ErrorKind::Other,
        "the store says of every new id that it exists",
    ))
}

pub(crate) async fn update(
    config: &Config,
    work: &mut Work,
    mut data: Data,
    mut now: Timestamp,
    attempting: impl Fn(&Stored, &Arc<Record>),
) -> Result<Committed, Error> {
    let (Some(stored), Some(changes)) = (&mut work.stored, &mut work.changes) else {
        return Ok(Committed::Nothing);
    };
    let mut swap = Swap::new(config);
    loop {
        if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
            return Ok(Committed::Ended);
        }
        let rested = now.since(stored.activity.last_seen_at);
        let next = stored.record.successor(data, swap.writer, rested);
        let record = Arc::new(changes.overriding(next));
        let next = Stored {
            token: stored.token,
            activity: config.lifetimes.activity(&record, now),
            record,
        };
        let expected = stored.record.version();
        let counts = changes.computes();
        attempting(&next, &stored.record);
        match swap
            .attempt(next.id(), expected, &next.record, next.activity, counts)
            .await?
        {
            Swapped::Saved => {
                tell_of_saved(config, next.id(), &stored.record, &next.record, now);
                return Ok(Committed::Saved(next));
            }
            Swapped::Fresher((record, activity)) => {
                // Others were seen since.
                now = config.clock.now();
                Arc::make_mut(changes).rebase(record.data(), config.max_data_bytes)?;
                stored.record = record;
                stored.activity = activity;
                match amended(&stored.record, changes) {
                    Some(merged) => data = merged,
                    None => return Ok(Committed::Saved(stored.clone())),
                }
            }
            Swapped::Moved | Swapped::Missing => return Ok(Committed::Ended),
        }
    }
}
