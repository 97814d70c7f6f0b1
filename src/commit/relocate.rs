//! Log-in and cycle of a stored session: it goes on under another id.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    commit::{
        Work,
        swap::{Swap, Swapped},
        unborn::Unborn,
        write::{
            Committed, InDoubt, begin, create, ended_or_expired, tell_of_begun, tell_of_saved,
        },
    },
    config::Config,
    error::Error,
    observe::event::{Event, EventKind},
    record::{
        Record,
        lifetime::is_past,
        token::{Token, Verifier},
        version::Version,
    },
    state::{Identity, Stored, changes::Changes},
    store::Former,
};

/// Log-in and cycle of a stored session (rules M6, M7, M8).
pub(crate) async fn relocate(
    config: &Arc<Config>,
    mut work: Work,
    now: Timestamp,
) -> Result<Committed, Error> {
    let Some(old) = work.stored.clone() else {
        return Ok(Committed::Nothing);
    };
    let log_in = match &work.identity {
        Identity::LogIn(log_in) => Some(log_in.clone()),
        Identity::Same | Identity::Cycle(_) => None,
    };
    let mut swap = Swap::new(config);
    let mut changes = work.changes.as_deref().cloned().unwrap_or_default();
    let mut base = old.kept();
    if is_past(config.lifetimes.absolute_deadline(&base.0), now) {
        if log_in.is_none() {
            return Ok(Committed::Ended);
        }
        work.is_displaced = true;
        return create(config, &work, now, taken_back(config)).await;
    }
    // What of `base` goes on under `token`.
    let continued = |base: &Record, token: &Token, writer| {
        let (verifier, version) = (Verifier::of(&token.secret), Version::first(writer));
        match &log_in {
            None => {
                let cycled = base.clone().with_token(verifier, version);
                let cycled = cycled.issued(config.renew_every, now);
                cycled.with_moved_from(Some(old.id()))
            }
            Some(log_in) => {
                let start = if log_in.starts_empty {
                    Record::new(verifier, version, now)
                } else {
                    base.clone()
                        .with_token(verifier, version)
                        .with_renewal(None)
                        .without_overrides()
                };
                start.with_login(Some(log_in.login())).with_moved_from(None)
            }
        }
    };
    let blank = |token: &Token, writer| continued(&base.0, token, writer);
    let moving = config.observers().moving(old.id(), now);
    let token = work.identity.token();
    let begun = begin(
        config,
        &mut swap,
        &changes,
        token,
        now,
        blank,
        taken_back(config),
    )
    .await?;
    let mut unborn = Unborn::new(config, &begun);
    let mut new = begun.clone();
    let starts_empty = log_in.as_ref().is_some_and(|log_in| log_in.starts_empty);
    let left = loop {
        let moved_to = log_in.is_none().then_some(new.id());
        let marker = Arc::new(base.0.marker(now, moved_to, swap.writer));
        let activity = config.lifetimes.activity(&marker, now);
        let expected = base.0.version();
        let former = Former::new(&base.0, base.1);
        unborn.leave(old.id(), swap.writer);
        let swapped = swap
            .attempt(old.id(), former, &marker, activity, false)
            .await?;
        // What the new session must take in before the old one can be left.
        let latest = match swapped {
            Swapped::Saved => break Left::Behind,
            Swapped::Moved | Swapped::Missing if log_in.is_none() => {
                let is_missing = matches!(swapped, Swapped::Missing);
                break Left::Nothing { is_missing };
            }
            Swapped::Moved => break Left::Ended,
            Swapped::Missing => None,
            Swapped::Fresher(latest) => Some(latest),
        };
        if !starts_empty {
            // What has been destroyed does not live on in the new session.
            let gone = Record::new(*base.0.verifier(), expected, now);
            let basis = latest.as_ref().map_or(&gone, |(record, _)| record);
            let rest = continued(basis, &new.token, swap.writer);
            renew(config, &mut swap, &mut new, &mut changes, rest, now).await?;
        }
        match latest {
            Some(latest) => base = latest,
            None => break Left::Ended,
        }
    };
    match left {
        Left::Behind => {
            unborn.settle();
            if let Some(moving) = moving {
                moving.succeed(now);
            }
            let (from, to) = (old.id(), new.id());
            let kind = match log_in {
                Some(_) => EventKind::LoggedIn {
                    from: Some(from),
                    to,
                },
                None => EventKind::Cycled { from, to },
            };
            config
                .observers()
                .notify_with(|| Event::of(to, &new.record, now, kind));
            if base.0.data() != new.record.data() {
                tell_of_saved(config, to, &base.0, &new.record, now);
            }
            Ok(Committed::Begun(new))
        }
        Left::Ended => {
            unborn.settle();
            drop(moving);
            tell_of_begun(config, &new, now);
            Ok(Committed::Begun(new))
        }
        Left::Nothing { is_missing } => {
            swap.delete(new.id()).await?;
            unborn.settle();
            Ok(if is_missing {
                ended_or_expired(config, &old)
            } else {
                Committed::Ended
            })
        }
    }
}

fn taken_back(config: &Arc<Config>) -> InDoubt<'_, fn(&Stored)> {
    InDoubt::TakenBack(config)
}

/// What became of the old session.
enum Left {
    /// A marker: it goes on as the new one.
    Behind,
    /// It ended elsewhere: the new one begins by itself (rule M7).
    Ended,
    /// It ended elsewhere, and without it there is nothing to go on with.
    Nothing { is_missing: bool },
}

/// Replaces the new session's record, which nobody else knows yet, by `rest` with `changes` on top.
async fn renew(
    config: &Config,
    swap: &mut Swap<'_>,
    new: &mut Stored,
    changes: &mut Changes,
    rest: Record,
    now: Timestamp,
) -> Result<(), Error> {
    changes.rebase(rest.data(), config.max_data_bytes)?;
    let expected = new.record.version();
    let data = changes.apply(rest.data());
    let verifier = *new.record.verifier();
    let rest = rest
        .with_data(data)
        .with_token(verifier, expected.next(swap.writer));
    let record = Arc::new(changes.overriding(rest));
    let activity = config.lifetimes.activity(&record, now);
    let former = Former::new(&new.record, new.activity);
    match swap
        .attempt(new.id(), former, &record, activity, false)
        .await?
    {
        Swapped::Saved => {
            new.record = record;
            new.activity = activity;
            Ok(())
        }
        Swapped::Fresher(_) | Swapped::Moved | Swapped::Missing => Err(Error::ended()),
    }
}
