//! How long a session and a marker live, when it is touched, and the Max-Age of its cookie: pure functions of timestamps.

use std::time::Duration;

use crate::{
    clock::{Timestamp, whole_millis},
    record::{Activity, Record, timeout::Timeout},
};

/// How long a marker lives (rule M6): long enough for requests that are under way with the old token.
pub(crate) const MARKER_LIFETIME: Duration = Duration::from_secs(60);

/// A record is deleted this long after its deadline, or later. The clocks of the nodes may differ by as much.
pub(crate) const DELETE_AFTER: Duration = Duration::from_secs(5 * 60);

/// The longest Max-Age that browsers honour (RFC 6265bis: 400 days).
const MAX_AGE_LIMIT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How often a session without an idle timeout is touched, in milliseconds: a tenth of the default idle timeout.
const TOUCH_WITHOUT_IDLE: u64 = 6 * 60 * 1000;

/// Stores may round deadlines to whole seconds. In milliseconds.
const ROUNDING: u64 = 1000;

/// The layer's current settings. A record's own overrides come first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) idle: Option<Duration>,
    /// For visitors who have not logged in. `Layer`: the same as `idle`.
    pub(crate) anonymous_idle: Timeout,
    pub(crate) absolute: Option<Duration>,
    pub(crate) persistent: bool,
    /// `None`: a tenth of the session's idle timeout.
    pub(crate) touch_after: Option<Duration>,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(60 * 60)),
            anonymous_idle: Timeout::Layer,
            absolute: Some(Duration::from_secs(24 * 60 * 60)),
            persistent: false,
            touch_after: None,
        }
    }
}

impl Lifetimes {
    fn idle(&self, record: &Record) -> Option<Duration> {
        let layer = if record.user().is_some() {
            self.idle
        } else {
            self.anonymous_idle.or(self.idle)
        };
        record.idle_timeout().or(layer)
    }

    /// The deadline that activity does not postpone. For a marker, the end of the marker.
    pub(crate) fn absolute_deadline(&self, record: &Record) -> Option<Timestamp> {
        let extras = record.extras();
        if let Some(moved_at) = extras.moved_at {
            return Some(moved_at.saturating_add(MARKER_LIFETIME));
        }
        let timeout = extras.absolute.or(self.absolute);
        let deadline = timeout.map(|timeout| record.lifetime_start().saturating_add(timeout));
        earlier(deadline, extras.ends_at)
    }

    /// The idle or the absolute deadline, whichever is earlier (rule L1).
    pub(crate) fn deadline(&self, record: &Record, last_seen_at: Timestamp) -> Option<Timestamp> {
        let absolute = self.absolute_deadline(record);
        if record.is_moved() {
            return absolute;
        }
        let idle = self.idle(record);
        earlier(
            idle.map(|timeout| last_seen_at.saturating_add(timeout)),
            absolute,
        )
    }

    /// Whether a visitor could use the session now (rule L3).
    pub(crate) fn is_live(&self, record: &Record, activity: Activity, now: Timestamp) -> bool {
        !record.is_moved() && !is_past(self.deadline(record, activity.last_seen_at), now)
    }

    /// Whether the absolute deadline comes before the idle one, or with it.
    pub(crate) fn ends_absolutely(&self, record: &Record, last_seen_at: Timestamp) -> bool {
        let absolute = self.absolute_deadline(record);
        absolute.is_some() && absolute == self.deadline(record, last_seen_at)
    }

    /// The activity of `record` if it is used at `now`.
    pub(crate) fn activity(&self, record: &Record, now: Timestamp) -> Activity {
        Activity {
            last_seen_at: now,
            expires_at: self.deadline(record, now),
        }
    }

    /// Whether the session's activity should be written again.
    ///
    /// That is at least every half idle timeout, or a session in constant use could expire. It is at once if
    /// the stored deadline is earlier than the one by the current settings, because the store deletes by the
    /// stored one.
    pub(crate) fn is_touch_due(&self, record: &Record, stored: Activity, now: Timestamp) -> bool {
        let last_seen_at = stored.last_seen_at;
        if now <= last_seen_at {
            return false;
        }
        let idle = self.idle(record);
        let touch_after = self.touch_after.map(whole_millis);
        let touch_after = match idle.map(whole_millis) {
            Some(idle) => touch_after.unwrap_or(idle / 10).min(idle / 2),
            None => touch_after.unwrap_or(TOUCH_WITHOUT_IDLE),
        };
        now.millis_since(last_seen_at) >= touch_after
            || self.is_deadline_longer(record, stored, idle)
    }

    fn is_deadline_longer(
        &self,
        record: &Record,
        stored: Activity,
        idle: Option<Duration>,
    ) -> bool {
        stored.expires_at.is_some_and(|stored_deadline| {
            let is_longer =
                |deadline: Timestamp| deadline.millis_since(stored_deadline) >= ROUNDING;
            // The earlier deadline is longer if both are. The idle deadline answers for most sessions.
            let idle = idle.map(|timeout| stored.last_seen_at.saturating_add(timeout));
            idle.is_none_or(is_longer) && self.absolute_deadline(record).is_none_or(is_longer)
        })
    }

    pub(crate) fn is_persistent(&self, record: &Record) -> bool {
        record.persistent().unwrap_or(self.persistent)
    }

    /// The cookie's Max-Age in seconds (rule L6). `None` for a cookie that ends with the browser.
    pub(crate) fn max_age(
        &self,
        record: &Record,
        last_seen_at: Timestamp,
        now: Timestamp,
    ) -> Option<u64> {
        self.is_persistent(record).then(|| {
            let remaining = match self.deadline(record, last_seen_at) {
                Some(deadline) => deadline.since(now).min(MAX_AGE_LIMIT),
                None => MAX_AGE_LIMIT,
            };
            remaining.as_millis().div_ceil(1000).max(1) as u64
        })
    }
}

/// `None` is never.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether `now` is at the deadline or after it (rule L3).
pub(crate) fn is_past(deadline: Option<Timestamp>, now: Timestamp) -> bool {
    deadline.is_some_and(|deadline| now >= deadline)
}
