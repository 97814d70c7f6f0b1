//! Ending a session from outside of its requests: [`end`].

use std::sync::Arc;

use tracing::debug;

use crate::{
    commit::swap::{Swap, Swapped},
    config::Config,
    error::{Error, ErrorKind},
    observe::event::{EndReason, Event},
    record::{Kept, token::SessionId},
    store::Former,
};

/// A session that moves on faster than it can be followed is not one of a visitor.
const MAX_MOVES: usize = 1000;

/// Ends the session `id`, wherever a cycle has taken it meanwhile, if `is_meant`
/// says so of what it is by then. The id it had, unless there was nothing to end.
///
/// It becomes a marker without successor first, by compare-and-swap, so that a
/// cycle under way is either followed or finds that it has come too late. What
/// such a cycle has created already is not another session: the one that it
/// comes from is meant. A log-in under way is one, and goes on (rule M7).
pub(crate) async fn end(
    config: &Config,
    mut id: SessionId,
    reason: EndReason,
    is_meant: impl Fn(SessionId, &Kept) -> bool,
) -> Result<Option<SessionId>, Error> {
    let store = &config.store;
    let mut swap = Swap::new(config);
    let mut latest = store.load_latest(id).await?;
    let mut unborn = None;
    for _ in 0..MAX_MOVES {
        let Some(kept) = latest else {
            return Ok(None);
        };
        let (record, _) = &kept;
        if record.is_moved() {
            let Some(next) = record.moved_to() else {
                return Ok(None);
            };
            id = next;
            latest = store.load_latest(id).await?;
            continue;
        }
        if let Some(origin) = record.moved_from() {
            match store.load_latest(origin).await? {
                Some(still) if !still.0.is_moved() => {
                    unborn = Some(id);
                    id = origin;
                    latest = Some(still);
                    continue;
                }
                Some((marker, _)) if marker.moved_to() != Some(id) => {
                    // The cycle has come too late: nobody will have its token.
                    swap.delete(id).await?;
                    return Ok(None);
                }
                Some(_) | None => {}
            }
        }
        if !is_meant(id, &kept) {
            return Ok(None);
        }
        let now = config.clock.now();
        let marker = Arc::new(record.marker(now, None, swap.writer));
        let activity = config.lifetimes.activity(&marker, now);
        let former = Former::new(record, kept.1);
        match swap.attempt(id, former, &marker, activity, false).await? {
            Swapped::Saved => {
                if let Some(unborn) = unborn.filter(|unborn| *unborn != id) {
                    // The cycle does so too, unless its node is gone.
                    let _ = swap.delete(unborn).await;
                }
                remove(config, &mut swap, id, kept, reason).await;
                return Ok(Some(id));
            }
            Swapped::Fresher(fresher) => latest = Some(fresher),
            Swapped::Moved => latest = store.load_latest(id).await?,
            Swapped::Missing => return Ok(None),
        }
    }
    Err(Error::new(
        ErrorKind::Other,
        "the session moves on faster than it can be ended",
    ))
}

/// Takes the marker away, and tells of the end: unless a `destroy` took it
/// away first, which tells of it too.
async fn remove(
    config: &Config,
    swap: &mut Swap<'_>,
    id: SessionId,
    kept: Kept,
    reason: EndReason,
) {
    debug!(session.id = %id, ?reason, "session ended");
    // Where this fails the marker keeps the door closed, and expires.
    if !matches!(swap.delete(id).await, Ok(false)) {
        let now = config.clock.now();
        let observers = config.observers();
        observers.notify_with(|| Event::ended(id, Some(kept), now, reason));
    }
}
