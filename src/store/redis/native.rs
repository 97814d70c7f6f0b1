//! `SET … IFEQ`: a compare-and-swap in one native command. It costs the server a third of the script that it replaces.
//!
//! Valkey has it since 8.1, Redis since 8.4. The server compares the whole former string, not a digest of it. If the stored
//! string differs, that is not always a conflict: it may be a later touch, or this write itself, if the driver sent it twice.
//! The script then finds out.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use ::redis::{Cmd, Value};

use super::{
    RedisStore,
    failure::unexpected,
    keys::{UserHash, user_hash},
    stored::{set, whole, with_times},
};
use crate::{
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Record, token::SessionId},
    store::Former,
};

/// Data of more bytes costs more to send twice than the script costs the server.
const LONGEST: usize = 4 * 1024;

/// After a server has answered that it does not know the command, how many seconds pass until it is asked again. Another
/// may have taken over.
const ASK_AGAIN_AFTER: u32 = 60;

/// Which servers lack the command.
///
/// The store does not know which server has a key, and a failover may change that. Sessions with ids that begin with the
/// same byte are in one slot, so the answer for one of them holds for all of them.
pub(super) struct Support {
    started: Instant,
    /// When to try the command again, in seconds. Zero if the server has it, or has not been asked yet.
    ask_at: [AtomicU32; 256],
}

impl Support {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            ask_at: [const { AtomicU32::new(0) }; 256],
        }
    }

    fn now(&self) -> u32 {
        let seconds = self.started.elapsed().as_secs().saturating_add(1);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// Whether to send the command. If the server refused it, one call now and then checks whether that has changed.
    fn is_likely(&self, place: usize, now: u32) -> bool {
        let ask_at = &self.ask_at[place];
        let at = ask_at.load(Ordering::Relaxed);
        let next = now.saturating_add(ASK_AGAIN_AFTER);
        at == 0
            || (at <= now
                && ask_at
                    .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok())
    }

    fn learn(&self, place: usize, is_there: bool, now: u32) {
        let ask_at = &self.ask_at[place];
        if !is_there {
            ask_at.store(now.saturating_add(ASK_AGAIN_AFTER), Ordering::Relaxed);
        } else if ask_at.load(Ordering::Relaxed) != 0 {
            ask_at.store(0, Ordering::Relaxed);
        }
    }
}

impl RedisStore {
    /// Whether one native command has replaced `former` by `record`, which is of the same user. If not, `UPDATE` tells
    /// why.
    pub(super) async fn update_natively(
        &self,
        id: SessionId,
        record: &Record,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<bool, StoreError> {
        let Some((key, expected, user)) = self.begin_swap(id, former) else {
            return Ok(false);
        };
        let swap = swap(&key, &whole(record, activity, &user), &expected, activity);
        let reply = self.write(key, swap).await;
        self.has_swapped(id, reply)
    }

    /// Whether one native command has moved the activity of `former` forward. If not, `TOUCH` tells why.
    pub(super) async fn touch_natively(
        &self,
        id: SessionId,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<bool, StoreError> {
        let Some((key, expected, _)) = self.begin_swap(id, former) else {
            return Ok(false);
        };
        let next = later(former.activity(), activity);
        let swap = swap(&key, &with_times(&expected, next), &expected, next);
        let reply = self.link.ask(&key, swap).await;
        self.has_swapped(id, reply)
    }

    /// The session's key, what `former` was stored as, and its user. `None` where the script is better.
    fn begin_swap(
        &self,
        id: SessionId,
        former: Former<'_>,
    ) -> Option<(Vec<u8>, Vec<u8>, UserHash)> {
        let is_short = former.record().data().bytes() <= LONGEST;
        if !is_short || !self.support.is_likely(self.place(id), self.support.now()) {
            return None;
        }
        let user = user_hash(former.record().user());
        let expected = whole(former.record(), former.activity(), &user);
        Some((self.keys.session(id), expected, user))
    }

    /// Whether a swap was applied. If not, something else is stored, or the server does not have the command.
    fn has_swapped(
        &self,
        id: SessionId,
        reply: Result<Value, StoreError>,
    ) -> Result<bool, StoreError> {
        let reply = reply.and_then(|reply| match reply {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            other => Err(unexpected(&other)),
        });
        let is_there = match &reply {
            Ok(_) => true,
            // The server has read the command and refused it, so it has done nothing.
            Err(error) if error.kind() == StoreErrorKind::Unsupported => false,
            Err(_) => return reply,
        };
        self.support
            .learn(self.place(id), is_there, self.support.now());
        Ok(reply.unwrap_or(false))
    }

    fn place(&self, id: SessionId) -> usize {
        if self.link.is_cluster() {
            usize::from(id.as_bytes()[0])
        } else {
            0
        }
    }
}

/// `SET` with the condition that exactly `expected` is stored. The driver's own option replaces bytes that are not text.
fn swap(key: &[u8], next: &[u8], expected: &[u8], activity: Activity) -> Cmd {
    set(key, next, &[b"IFEQ", expected], activity)
}

/// Each time the later one of both. `None` is never.
fn later(one: Activity, other: Activity) -> Activity {
    let deadlines = one.expires_at.zip(other.expires_at);
    Activity {
        last_seen_at: one.last_seen_at.max(other.last_seen_at),
        expires_at: deadlines.map(|(one, other)| one.max(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_lacks_the_command_is_asked_again_in_a_while() {
        let support = Support::new();
        assert!(support.is_likely(7, 1) && support.is_likely(7, 1));
        support.learn(7, true, 1);
        assert!(support.is_likely(7, 1));
        support.learn(7, false, 1);
        assert!(!support.is_likely(7, 60));
        // Another node has other keys.
        assert!(support.is_likely(8, 60));
        // Only one of the calls at that time.
        assert!(support.is_likely(7, 61));
        assert!(!support.is_likely(7, 61));
        assert!(!support.is_likely(7, 120) && support.is_likely(7, 121));
        support.learn(7, true, 121);
        assert!(support.is_likely(7, 121) && support.is_likely(7, 121));
    }
}
