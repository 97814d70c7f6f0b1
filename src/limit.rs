//! How many sessions a user may have: [`enforce`].

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    EndReason, Error, ErrorKind, Record, SessionId, Timestamp,
    layer::Config,
    revoke::end,
    state::Stored,
    store::{Filter, Listed},
};

/// How many sessions are asked for at once.
const PAGE: usize = 100;

/// Ends the oldest sessions of the user who has logged in as `new`, so that no
/// more than the limit are left.
///
/// Each log-in looks after it was stored, so of any number at once the last to
/// look sees them all; and all go by the same order, so that no two end each
/// other. Where this cannot be done the log-in is taken back.
pub(crate) async fn enforce(config: &Config, new: &Stored) -> Result<(), Error> {
    let (Some(most), Some(user)) = (config.max_sessions_per_user, new.record.user()) else {
        return Ok(());
    };
    // Boxed, because few log-ins have a limit.
    let result = Box::pin(trim(config, user, most, new.id())).await;
    if result.is_err() {
        // Nobody has its token yet; if this fails too, it expires.
        let _ = Box::pin(end(config, new.id(), EndReason::Limit, |_, _| true)).await;
    }
    result
}

async fn trim(config: &Config, user: &str, most: usize, new: SessionId) -> Result<(), Error> {
    let mut sessions: Vec<_> = sessions_of(config, user).await?.into_iter().collect();
    sessions.sort_by_key(|(id, since)| Reverse((*since, *id)));
    for (id, _) in sessions.drain(..).skip(most) {
        if id == new {
            return Err(Error::new(
                ErrorKind::Ended,
                "newer log-ins of the same user leave no room for this one",
            ));
        }
        end(config, id, EndReason::Limit, |_, (record, _)| {
            record.user() == Some(user)
        })
        .await?;
    }
    Ok(())
}

/// The live sessions of a user, and when each logged in.
async fn sessions_of(
    config: &Config,
    user: &str,
) -> Result<BTreeMap<SessionId, Option<Timestamp>>, Error> {
    let filter = Filter {
        user: Some(user.to_owned()),
        ..Filter::default()
    };
    let (mut live, mut moved) = (BTreeMap::new(), Vec::new());
    let mut after = None;
    loop {
        let page = config.store.list(&filter, after, PAGE).await?;
        for Listed {
            id,
            record,
            activity,
        } in page.sessions
        {
            if config
                .lifetimes
                .is_live(&record, activity, config.clock.now())
            {
                live.insert(id, record.authenticated_at());
            }
            moved.extend(record.moved_to());
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // A cycle may have taken a session to where the list had been already.
    while let Some(id) = moved.pop() {
        if live.contains_key(&id) {
            continue;
        }
        if let Some((record, activity)) = config.store.load_latest(id).await? {
            let is_his = |record: &Record| record.user() == Some(user);
            if is_his(&record)
                && config
                    .lifetimes
                    .is_live(&record, activity, config.clock.now())
            {
                live.insert(id, record.authenticated_at());
            }
            moved.extend(record.moved_to());
        }
    }
    Ok(live)
}
