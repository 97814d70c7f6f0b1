//! The statistics as metrics, for the `metrics` facade (feature `metrics`).
//!
//! | metric | kind | labels |
//! | --- | --- | --- |
//! | `cloakroom_sessions_created_total` | counter | |
//! | `cloakroom_sessions_ended_total` | counter | `reason` |
//! | `cloakroom_log_ins_total` | counter | |
//! | `cloakroom_cookies_rejected_total` | counter | `why` |
//! | `cloakroom_conflicts_total` | counter | |
//! | `cloakroom_touches_total` | counter | |
//! | `cloakroom_store_call_seconds` | histogram | `call` |
//! | `cloakroom_store_failures_total` | counter | `call` |
//!
//! No label names a session or a user.

#[cfg(feature = "metrics")]
mod facade {
    use std::time::Duration;

    use metrics::{counter, histogram};

    use crate::{EndReason, Event, EventKind, Rejection, StoreCall, StoreError};

    pub(crate) fn count(event: &Event) {
        match &event.kind {
            EventKind::Created => counter!("cloakroom_sessions_created_total").increment(1),
            EventKind::LoggedIn { .. } => counter!("cloakroom_log_ins_total").increment(1),
            EventKind::Ended { reason } => {
                let reason = match reason {
                    EndReason::Destroyed => "destroyed",
                    EndReason::Idle => "idle",
                    EndReason::Absolute => "absolute",
                    EndReason::Evicted => "evicted",
                    EndReason::Revoked => "revoked",
                    EndReason::Limit => "limit",
                    EndReason::Copied => "copied",
                };
                counter!("cloakroom_sessions_ended_total", "reason" => reason).increment(1);
            }
            EventKind::Rejected { why } => {
                let why = match why {
                    Rejection::Malformed => "malformed",
                    Rejection::Unknown => "unknown",
                    Rejection::Unproven => "unproven",
                    Rejection::Expired => "expired",
                    Rejection::Moved => "moved",
                    Rejection::Planted => "planted",
                };
                counter!("cloakroom_cookies_rejected_total", "why" => why).increment(1);
            }
            EventKind::Cycled { .. } | EventKind::Saved { .. } => {}
        }
    }

    pub(crate) fn conflict() {
        counter!("cloakroom_conflicts_total").increment(1);
    }

    pub(crate) fn touch() {
        counter!("cloakroom_touches_total").increment(1);
    }

    pub(crate) fn called(call: StoreCall, took: Duration, failure: Option<&StoreError>) {
        histogram!("cloakroom_store_call_seconds", "call" => call.name()).record(took);
        if failure.is_some() {
            counter!("cloakroom_store_failures_total", "call" => call.name()).increment(1);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    use std::time::Duration;

    use crate::{Event, StoreCall, StoreError};

    pub(crate) fn count(_: &Event) {}
    pub(crate) fn conflict() {}
    pub(crate) fn touch() {}
    pub(crate) fn called(_: StoreCall, _: Duration, _: Option<&StoreError>) {}
}

pub(crate) use self::facade::{called, conflict, count, touch};
