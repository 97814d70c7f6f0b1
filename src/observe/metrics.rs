//! The statistics as metrics, for the `metrics` facade (feature `metrics`): [`Metrics`].
//!
//! The docs of [`Stats`](crate::Stats) list the metrics' names. Without the feature nothing is
//! recorded.

use std::time::Duration;

use crate::{
    observe::event::{EndReason, Rejection},
    store::StoreCall,
};

/// Something to record.
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "nothing is recorded without the feature")
)]
pub(crate) enum Measurement {
    Created,
    LoggedIn,
    /// `was_live` says whether the gauge counts the session.
    Ended {
        reason: EndReason,
        was_live: bool,
    },
    Lived(Duration),
    Rejected(Rejection),
    Conflict,
    Touch,
    Answered {
        call: StoreCall,
        took: Duration,
        has_failed: bool,
    },
    Abandoned(StoreCall),
    Listened(Duration),
    MemoryBytes(usize),
}

/// Records the numbers of one layer.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    #[cfg(feature = "metrics")]
    described: std::sync::OnceLock<()>,
}

#[cfg(not(feature = "metrics"))]
impl Metrics {
    #[allow(clippy::unused_self)] // As with the feature.
    pub(crate) fn record(&self, _: Measurement) {}
}

#[cfg(feature = "metrics")]
impl Metrics {
    pub(crate) fn record(&self, measurement: Measurement) {
        // Not when the layer is built: the program may install its recorder later.
        self.described.get_or_init(facade::describe);
        facade::record(measurement);
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use metrics::{
        Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    };

    use super::Measurement;

    const SESSIONS: &str = "cloakroom_sessions";
    const CREATED: &str = "cloakroom_sessions_created_total";
    const ENDED: &str = "cloakroom_sessions_ended_total";
    const LIFE: &str = "cloakroom_session_life_seconds";
    const LOG_INS: &str = "cloakroom_log_ins_total";
    const REJECTED: &str = "cloakroom_cookies_rejected_total";
    const CONFLICTS: &str = "cloakroom_conflicts_total";
    const TOUCHES: &str = "cloakroom_touches_total";
    const STORE_CALL: &str = "cloakroom_store_call_seconds";
    const STORE_FAILURES: &str = "cloakroom_store_failures_total";
    const STORE_ABANDONED: &str = "cloakroom_store_abandoned_total";
    const LISTENING: &str = "cloakroom_listening_seconds";
    const MEMORY: &str = "cloakroom_memory_bytes";

    pub(super) fn describe() {
        let (count, seconds) = (Unit::Count, Unit::Seconds);
        describe_gauge!(
            SESSIONS,
            count,
            "Sessions that this process has seen begin and not end"
        );
        describe_counter!(CREATED, count, "Sessions stored for the first time");
        describe_counter!(ENDED, count, "Sessions that ended, by reason");
        describe_histogram!(LIFE, seconds, "How long each session lived that ended");
        describe_counter!(LOG_INS, count, "Log-ins");
        describe_counter!(REJECTED, count, "Cookies that opened no session, by reason");
        describe_counter!(
            CONFLICTS,
            count,
            "Writes that met a concurrent write and were merged with it"
        );
        describe_counter!(TOUCHES, count, "Writes of activity without data");
        describe_histogram!(
            STORE_CALL,
            seconds,
            "How long the store took to answer, by call"
        );
        describe_counter!(
            STORE_FAILURES,
            count,
            "Calls that the store answered with an error, by call"
        );
        describe_counter!(
            STORE_ABANDONED,
            count,
            "Calls that were given up before the store answered, by call"
        );
        describe_histogram!(
            LISTENING,
            seconds,
            "How long all listeners together took for each event"
        );
        describe_gauge!(
            MEMORY,
            Unit::Bytes,
            "What a memory store held at its last sweep"
        );
    }

    pub(super) fn record(measurement: Measurement) {
        match measurement {
            Measurement::Created => {
                counter!(CREATED).increment(1);
                gauge!(SESSIONS).increment(1);
            }
            Measurement::LoggedIn => counter!(LOG_INS).increment(1),
            Measurement::Ended { reason, was_live } => {
                counter!(ENDED, "reason" => reason.name()).increment(1);
                if was_live {
                    gauge!(SESSIONS).decrement(1);
                }
            }
            Measurement::Lived(life) => histogram!(LIFE).record(life),
            Measurement::Rejected(reason) => {
                counter!(REJECTED, "reason" => reason.name()).increment(1);
            }
            Measurement::Conflict => counter!(CONFLICTS).increment(1),
            Measurement::Touch => counter!(TOUCHES).increment(1),
            Measurement::Answered {
                call,
                took,
                has_failed,
            } => {
                histogram!(STORE_CALL, "call" => call.name()).record(took);
                if has_failed {
                    counter!(STORE_FAILURES, "call" => call.name()).increment(1);
                }
            }
            Measurement::Abandoned(call) => {
                counter!(STORE_ABANDONED, "call" => call.name()).increment(1);
            }
            Measurement::Listened(took) => histogram!(LISTENING).record(took),
            Measurement::MemoryBytes(bytes) => gauge!(MEMORY).set(bytes as f64),
        }
    }
}
