//! How many sessions a user may have: [`enforce`].

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use crate::{
    EndReason, Error, ErrorKind, Record, SessionId,
    deadline::within,
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
    // Half of what the commit has: the rest is for taking the log-in back.
    let limit = config.store_timeout / 2;
    // Boxed, because few log-ins have a limit.
    let result = Box::pin(within(limit, trim(config, user, most, new.id()))).await;
    if result.is_err() {
        // Nobody has its token yet; if this fails too, it expires.
        let _ = Box::pin(end(config, new.id(), EndReason::Limit, |_, _| true)).await;
    }
    result
}

async fn trim(config: &Config, user: &str, most: usize, new: SessionId) -> Result<(), Error> {
    let found = sessions_of(config, user).await?;
    let born = found
        .live
        .iter()
        .filter(|(id, record)| found.is_born(**id, record));
    let mut sessions: Vec<_> = born
        .map(|(id, record)| (record.authenticated_at(), *id))
        .collect();
    sessions.sort_unstable_by_key(|session| Reverse(*session));
    for (_, id) in sessions.into_iter().skip(most) {
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

/// What the store has of a user.
#[derive(Default)]
struct Found {
    live: BTreeMap<SessionId, Arc<Record>>,
    /// The markers, and where they lead.
    moved: BTreeMap<SessionId, Option<SessionId>>,
}

impl Found {
    /// What a cycle has begun is the session it comes from, until that leads here.
    fn is_born(&self, id: SessionId, record: &Record) -> bool {
        record.moved_from().is_none_or(|origin| {
            let leads_to = self.moved.get(&origin);
            !self.live.contains_key(&origin) && leads_to.is_none_or(|to| *to == Some(id))
        })
    }
}

/// The live sessions of a user.
async fn sessions_of(config: &Config, user: &str) -> Result<Found, Error> {
    let filter = Filter {
        user: Some(user.to_owned()),
        ..Filter::default()
    };
    let mut found = Found::default();
    let mut after = None;
    loop {
        let page = config.store.list(&filter, after, PAGE).await?;
        for Listed {
            id,
            record,
            activity,
        } in page.sessions
        {
            let now = config.clock.now();
            if record.is_moved() {
                found.moved.insert(id, record.moved_to());
            } else if config.lifetimes.is_live(&record, activity, now) {
                found.live.insert(id, record);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // A cycle may have taken a session to where the list had been already.
    let mut led_to: Vec<SessionId> = found.moved.values().flatten().copied().collect();
    while let Some(id) = led_to.pop() {
        if found.live.contains_key(&id) {
            continue;
        }
        if let Some((record, activity)) = config.store.load_latest(id).await? {
            led_to.extend(record.moved_to());
            let now = config.clock.now();
            if record.user() == Some(user) && config.lifetimes.is_live(&record, activity, now) {
                found.live.insert(id, record);
            }
        }
    }
    Ok(found)
}
