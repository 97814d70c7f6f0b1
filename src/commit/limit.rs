//! How many sessions a user may have: [`enforce`].

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    commit::{
        revoke::end,
        swap::{Swap, Swapped},
    },
    config::Config,
    deadline::within,
    error::{Error, ErrorKind},
    observe::event::EndReason,
    record::{Record, token::SessionId},
    state::Stored,
    store::{Former, Listed, Query},
};

/// How many sessions are asked for at once.
const PAGE: usize = 100;

/// What is later by this is later.
const TICK: Duration = Duration::from_millis(1);

/// Ends the oldest sessions of the user who has logged in as `new`, so that no
/// more than the limit are left.
///
/// Each log-in looks after it was stored, so of any number at once the last to
/// look sees them all; and all go by the same order, so that no two end each
/// other. Where this cannot be done the log-in is taken back.
pub(crate) async fn enforce(config: &Config, new: &mut Stored) -> Result<(), Error> {
    let (Some(most), Some(_)) = (config.max_sessions_per_user, new.record.user()) else {
        return Ok(());
    };
    // Half of what the commit has: the rest is for taking the log-in back.
    let limit = config.store_timeout / 2;
    // Boxed, because few log-ins have a limit.
    let result = Box::pin(within(limit, trim(config, most, new))).await;
    if result.is_err() {
        // Nobody has its token yet; if this fails too, it expires.
        let _ = Box::pin(end(config, new.id(), EndReason::Limit, |_, _| true)).await;
    }
    result
}

async fn trim(config: &Config, most: usize, new: &mut Stored) -> Result<(), Error> {
    let mut is_raised = false;
    loop {
        let sessions = newest_first(config, new.record.user()).await?;
        // Where it is not there, a newer one has ended it.
        let place = sessions.iter().position(|(_, id)| *id == new.id());
        let place = place.ok_or_else(outdone)?;
        if place < most {
            return end_older(config, new, sessions.get(most..).unwrap_or_default()).await;
        }
        let (newest, _) = sessions[0];
        if is_raised || newest < config.clock.now() {
            return Err(outdone());
        }
        raise(config, new, newest.saturating_add(TICK)).await?;
        is_raised = true;
    }
}

async fn end_older(
    config: &Config,
    new: &Stored,
    sessions: &[(Timestamp, SessionId)],
) -> Result<(), Error> {
    let rank = (new.record.ranked_at(), new.id());
    for (_, id) in sessions {
        end(config, *id, EndReason::Limit, |id, (record, _)| {
            record.user() == new.record.user() && (record.ranked_at(), id) < rank
        })
        .await?;
    }
    Ok(())
}

/// A clock has been set back since the newest log-in, stands still, or is behind
/// another node's: this one comes after it all the same. Once for each log-in,
/// so that of those at once no two overtake each other for ever.
async fn raise(config: &Config, new: &mut Stored, rank: Timestamp) -> Result<(), Error> {
    let mut swap = Swap::new(config);
    let data = new.record.data().clone();
    let mut record = new.record.successor(data, swap.writer, Duration::ZERO);
    record.set_extras(|extras| extras.ranked_at = Some(rank));
    let record = Arc::new(record);
    let former = Former::new(&new.record, new.activity);
    let raised = swap.attempt(new.id(), former, &record, new.activity, false);
    match raised.await? {
        Swapped::Saved => {
            new.record = record;
            Ok(())
        }
        // Nobody has its token: it was ended.
        Swapped::Fresher(_) | Swapped::Moved | Swapped::Missing => Err(outdone()),
    }
}

fn outdone() -> Error {
    Error::new(
        ErrorKind::Ended,
        "newer log-ins of the same user leave no room for this one",
    )
}

/// The user's sessions, by the times that their log-ins count by.
async fn newest_first(
    config: &Config,
    user: Option<&str>,
) -> Result<Vec<(Timestamp, SessionId)>, Error> {
    let found = sessions_of(config, user).await?;
    let born = found
        .live
        .iter()
        .filter(|(id, record)| found.is_born(**id, record));
    let mut sessions: Vec<_> = born
        .filter_map(|(id, record)| Some((record.ranked_at()?, *id)))
        .collect();
    sessions.sort_unstable_by_key(|session| Reverse(*session));
    Ok(sessions)
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
async fn sessions_of(config: &Config, user: Option<&str>) -> Result<Found, Error> {
    let query = match user {
        Some(user) => Query::default().with_user(user),
        None => Query::default(),
    };
    let mut found = Found::default();
    let mut after = None;
    loop {
        let page = config.store.list(&query, after.as_ref(), PAGE).await?;
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
        if found.live.contains_key(&id) || found.moved.contains_key(&id) {
            continue;
        }
        if let Some((record, activity)) = config.store.load_latest(id).await? {
            if record.is_moved() {
                led_to.extend(record.moved_to());
                found.moved.insert(id, record.moved_to());
                continue;
            }
            let now = config.clock.now();
            if record.user() == user && config.lifetimes.is_live(&record, activity, now) {
                found.live.insert(id, record);
            }
        }
    }
    Ok(found)
}
