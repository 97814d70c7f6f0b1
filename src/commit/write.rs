//! What a commit asks of the store: touch, create, update.

use std::{error::Error as _, sync::Arc};

use tracing::warn;

use crate::{
    clock::Timestamp,
    commit::{
        Work,
        swap::{Swap, Swapped},
        unborn::Unborn,
    },
    config::Config,
    deadline::within,
    error::{Error, ErrorKind},
    observe::event::{Event, EventKind},
    random::unique,
    record::{
        Record,
        data::Data,
        lifetime::is_past,
        renewal,
        token::{Secret, SessionId, Token, Verifier},
        version::Version,
    },
    state::{Identity, Stored, changes::Changes},
    store::{Created, Former, MemoryInner, StoreCall, Touched, Updated},
};

/// What a plan came to.
pub(crate) enum Committed {
    Nothing,
    Touched(Stored),
    Saved(Stored),
    /// Perhaps with changes as well, and under a secret that nobody has yet.
    Renewed(Stored),
    /// Under a new id.
    Begun(Stored),
    Ended,
    /// It was deleted after its deadline had passed, while the request was running.
    Expired,
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

/// A new secret, where there is nothing else to save: that it failed is only logged.
pub(crate) async fn renew(config: &Config, work: &mut Work, now: Timestamp) -> Committed {
    let id = work.stored.as_ref().map(Stored::id);
    let renewing = update(config, work, None, now, |_, _| {});
    match within(config.store_timeout, renewing).await {
        Ok(committed) => committed,
        Err(error) => {
            warn!(session.id = ?id, %error, cause = ?error.source(), "renewal failed");
            Committed::Nothing
        }
    }
}

pub(crate) async fn create(
    config: &Config,
    work: &Work,
    now: Timestamp,
    in_doubt: InDoubt<'_, impl Fn(&Stored)>,
) -> Result<Committed, Error> {
    let mut swap = Swap::new(config);
    let mut changes = work.changes.clone().unwrap_or_default();
    if work.is_displaced {
        // They were made on a record that has ended.
        Arc::make_mut(&mut changes).rebase(&Data::default(), config.max_data_bytes)?;
    }
    let login = match &work.identity {
        Identity::LogIn(log_in) => Some(log_in.login()),
        Identity::Same | Identity::Cycle(_) => None,
    };
    let blank = |token: &Token, writer| blank(token, writer, now).with_login(login.clone());
    let token = work.identity.token();
    let stored = begin(config, &mut swap, &changes, token, now, blank, in_doubt).await?;
    tell_of_begun(config, &stored, now);
    Ok(Committed::Begun(stored))
}

fn blank(token: &Token, writer: u64, now: Timestamp) -> Record {
    Record::new(Verifier::of(&token.secret), Version::first(writer), now)
}

/// A session began, perhaps with a log-in.
pub(crate) fn tell_of_begun(config: &Config, begun: &Stored, now: Timestamp) {
    let tell = |kind| {
        let event = || Event::of(begun.id(), &begun.record, now, kind);
        config.observers().notify_with(event);
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
    config.observers().notify_with(|| {
        let keys = former.data().keys_that_differ(saved.data());
        Event::of(id, saved, now, EventKind::Saved { keys })
    });
}

/// Two equal ids are not to be expected; one whose creation was left open is not tried again.
/// A store that lets none begin, again and again, is broken.
const MAX_DRAWS: u32 = 4;

/// What becomes of a session whose creation comes to no end.
pub(crate) enum InDoubt<'a, N> {
    /// It is noted before, to be made sure of later.
    Noted(N),
    /// Nobody will have its token: it is taken back.
    TakenBack(&'a Arc<Config>),
}

/// Stores a new record: what `blank` gives for a new token, with `changes` on top.
///
/// The first try is under `token`, where one was drawn already.
pub(crate) async fn begin(
    config: &Config,
    swap: &mut Swap<'_>,
    changes: &Changes,
    mut token: Option<Token>,
    now: Timestamp,
    blank: impl Fn(&Token, u64) -> Record,
    in_doubt: InDoubt<'_, impl Fn(&Stored)>,
) -> Result<Stored, Error> {
    for _ in 0..MAX_DRAWS {
        let token = token.take().map_or_else(Token::generate, Ok)?;
        let stored = draw(config, token, swap.writer, changes, now, &blank);
        let is_created = {
            let mut unborn = match &in_doubt {
                InDoubt::Noted(note) => {
                    note(&stored);
                    None
                }
                InDoubt::TakenBack(config) => Some(Unborn::new(config, &stored)),
            };
            let (id, activity) = (stored.id(), stored.activity);
            let created = swap.create(id, &stored.record, activity).await;
            // A store that has said yes or no, for certain, leaves nothing to do.
            let is_open = matches!(&created, Err(error) if error.is_ambiguous());
            if let Some(unborn) = &mut unborn
                && !is_open
            {
                unborn.settle();
            }
            created?
        };
        if is_created {
            return Ok(stored);
        }
    }
    Err(Error::new(
        ErrorKind::Other,
        "the store lets no session begin, whatever its id",
    ))
}

/// A new session, not stored yet: what `blank` gives for a new token, with `changes` on top.
fn draw(
    config: &Config,
    token: Token,
    writer: u64,
    changes: &Changes,
    now: Timestamp,
    blank: impl Fn(&Token, u64) -> Record,
) -> Stored {
    let record = blank(&token, writer);
    let data = changes.apply(record.data());
    let record = Arc::new(changes.overriding(record.with_data(data)));
    let activity = config.lifetimes.activity(&record, now);
    Stored::of(token, (record, activity))
}

/// As [`create`], for a visitor who does not log in: `None` where it did not work out at once.
pub(crate) fn create_at_once(config: &Config, changes: &Changes, now: Timestamp) -> Option<Stored> {
    let blank = |token: &Token, writer| blank(token, writer, now);
    let token = Token::generate().ok()?;
    let stored = draw(config, token, unique(), changes, now, blank);
    let (id, activity) = (stored.id(), stored.activity);
    let create = |inner: &MemoryInner| inner.create(id, &stored.record, activity);
    let created = config.store.at_once(StoreCall::Create, create)?;
    (created == Created::Yes).then(|| {
        tell_of_begun(config, &stored, now);
        stored
    })
}

/// As [`update`], of values alone: `None` where it did not work out at once.
pub(crate) fn update_at_once(
    config: &Config,
    stored: &Stored,
    changes: &Changes,
    data: Data,
    now: Timestamp,
) -> Option<Stored> {
    if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
        return None;
    }
    let record = Arc::new(successor(stored, changes, data, unique(), now));
    let activity = config.lifetimes.activity(&record, now);
    let (id, expected) = (stored.id(), stored.record.version());
    let update = |inner: &MemoryInner| inner.update(id, &record, activity, expected);
    let updated = config.store.at_once(StoreCall::Update, update)?;
    (updated == Updated::Saved).then(|| {
        tell_of_saved(config, id, &stored.record, &record, now);
        Stored::of(stored.token, (record, activity))
    })
}

fn successor(
    stored: &Stored,
    changes: &Changes,
    data: Data,
    writer: u64,
    now: Timestamp,
) -> Record {
    let rested = now.since(stored.activity.last_seen_at);
    changes.overriding(stored.record.successor(data, writer, rested))
}

pub(crate) async fn update(
    config: &Config,
    work: &mut Work,
    data: Option<Data>,
    mut now: Timestamp,
    attempting: impl Fn(&Stored, &Arc<Record>),
) -> Result<Committed, Error> {
    let Some(stored) = &mut work.stored else {
        return Ok(Committed::Nothing);
    };
    let changes = work.changes.get_or_insert_default();
    let secret = stored.token.secret;
    let fresh = work.renews.then(Secret::generate).transpose()?;
    let mut swap = Swap::new(config);
    let mut merged = data;
    loop {
        let renewing = fresh.as_ref().and_then(|fresh| {
            let step = renewal::step(&stored.record, &secret, config.renew_every, now)?;
            Some((step, fresh))
        });
        if merged.is_none() && renewing.is_none() {
            return Ok(Committed::Saved(stored.clone()));
        }
        if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
            return Ok(Committed::Ended);
        }
        let is_saved = merged.is_some();
        let data = merged
            .take()
            .unwrap_or_else(|| stored.record.data().clone());
        let mut record = successor(stored, changes, data, swap.writer, now);
        let mut token = stored.token;
        if let Some((step, fresh)) = renewing {
            record = record.renewed(step, fresh, now);
            if step.issues {
                token.secret = *fresh;
            }
        }
        let record = Arc::new(record);
        let next = Stored {
            token,
            activity: config.lifetimes.activity(&record, now),
            record,
        };
        let former = Former::new(&stored.record, stored.activity);
        let counts = changes.computes();
        attempting(&next, &stored.record);
        match swap
            .attempt(next.id(), former, &next.record, next.activity, counts)
            .await?
        {
            Swapped::Saved => {
                if is_saved {
                    tell_of_saved(config, next.id(), &stored.record, &next.record, now);
                }
                return Ok(if renewing.is_some_and(|(step, _)| step.issues) {
                    Committed::Renewed(next)
                } else {
                    Committed::Saved(next)
                });
            }
            Swapped::Fresher((record, activity)) => {
                // Others were seen since.
                now = config.clock.now();
                Arc::make_mut(changes).rebase(record.data(), config.max_data_bytes)?;
                stored.record = record;
                stored.activity = activity;
                merged = changes.merged(&stored.record);
            }
            Swapped::Moved => return Ok(Committed::Ended),
            Swapped::Missing if is_saved => return Ok(ended_or_expired(config, stored)),
            Swapped::Missing => return Ok(Committed::Ended),
        }
    }
}

/// The record that this request had is gone. Where its deadline has passed meanwhile, the reaper
/// may have deleted it.
pub(crate) fn ended_or_expired(config: &Config, stored: &Stored) -> Committed {
    let now = config.clock.now();
    let (record, activity) = (&stored.record, stored.activity);
    let deadline = config.lifetimes.deadline(record, activity.last_seen_at);
    if is_past(deadline, now) || is_past(activity.expires_at, now) {
        Committed::Expired
    } else {
        Committed::Ended
    }
}
