//! The times that sessions of the clauses have.

use std::time::{Duration, SystemTime};

use crate::{clock::Timestamp, record::Activity};

/// The time at which a store with a clock of its own judges.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Seen now, for another hour.
pub(super) fn live() -> Activity {
    until(now().saturating_add(HOUR))
}

/// Seen now, until `expires_at`.
pub(super) fn until(expires_at: impl Into<Option<Timestamp>>) -> Activity {
    Activity {
        last_seen_at: now(),
        expires_at: expires_at.into(),
    }
}

/// Past its deadline since a second ago: no store may have deleted it by itself.
pub(super) fn just_expired() -> Activity {
    until(now().saturating_sub(Duration::from_secs(1)))
}

/// Half a minute later in both times.
pub(super) fn later(activity: Activity) -> Activity {
    let shift = Duration::from_secs(30);
    Activity {
        last_seen_at: activity.last_seen_at.saturating_add(shift),
        expires_at: activity.expires_at.map(|at| at.saturating_add(shift)),
    }
}
