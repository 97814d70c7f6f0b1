//! The statistics as metrics, for the `metrics` facade (feature `metrics`). Their names are in the
//! docs of [`Stats`](crate::Stats).

#[cfg(feature = "metrics")]
mod facade {
    use std::time::Duration;

    use metrics::{counter, gauge, histogram};

    use crate::{
        error::store::StoreError,
        observe::event::{EndReason, Event, EventKind, Rejection},
        store::StoreCall,
    };

    pub(crate) fn count(event: &Event) {
        match &event.kind {
            EventKind::Created => {
                counter!("cloakroom_sessions_created_total").increment(1);
                gauge!("cloakroom_sessions").increment(1);
            }
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
                gauge!("cloakroom_sessions").decrement(1);
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

    pub(crate) fn lived(life: Duration) {
        histogram!("cloakroom_session_life_seconds").record(life);
    }

    pub(crate) fn listened(took: Duration) {
        histogram!("cloakroom_listening_seconds").record(took);
    }

    pub(crate) fn held(bytes: usize) {
        gauge!("cloakroom_memory_bytes").set(bytes as f64);
    }

    pub(crate) fn abandoned(call: StoreCall) {
        counter!("cloakroom_store_abandoned_total", "call" => call.name()).increment(1);
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

    use crate::{error::store::StoreError, observe::event::Event, store::StoreCall};

    pub(crate) fn count(_: &Event) {}
    pub(crate) fn conflict() {}
    pub(crate) fn touch() {}
    pub(crate) fn lived(_: Duration) {}
    pub(crate) fn listened(_: Duration) {}
    pub(crate) fn held(_: usize) {}
    pub(crate) fn abandoned(_: StoreCall) {}
    pub(crate) fn called(_: StoreCall, _: Duration, _: Option<&StoreError>) {}
}

pub(crate) use self::facade::{abandoned, called, conflict, count, held, listened, lived, touch};
