//! The statistics as metrics, for the `metrics` facade (feature `metrics`): [`Metrics`].
//!
//! The docs of [`Stats`](crate::Stats) list the metrics' names. Without the feature nothing is
//! recorded.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    observe::event::{EndReason, Rejection},
    store::{Held, StoreCall},
};

/// Something to record.
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "nothing is recorded without the feature")
)]
pub(crate) enum Measurement {
    Created,
    Imported,
    LoggedIn,
    Ended(EndReason),
    /// So many sessions are live.
    Live(u64),
    /// So many more sessions are live.
    LiveBy(i64),
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
    Refused(StoreCall),
    Circuit {
        is_open: bool,
    },
    Listened(Duration),
    Memory(Held),
    /// Each session that was to be deleted at this time is deleted.
    Reaped(Timestamp),
}

/// Records the numbers of one layer.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    #[cfg(feature = "metrics")]
    registered: std::sync::OnceLock<()>,
    /// Those of every metric.
    #[cfg(feature = "metrics")]
    labels: std::sync::OnceLock<facade::Labels>,
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self)] // As with the feature.
impl Metrics {
    pub(crate) fn label(&self, _: &str, _: &'static str, _: Option<Measurement>) {}

    pub(crate) fn record(&self, _: Measurement) {}
}

#[cfg(feature = "metrics")]
impl Metrics {
    /// The names of the layer and of its store, and what is known already. The first ones stay: clones of a layer count
    /// together.
    pub(crate) fn label(&self, layer: &str, store: &'static str, known: Option<Measurement>) {
        self.labels.get_or_init(|| {
            let labels = facade::Labels::new(layer, store);
            labels.register();
            known.into_iter().for_each(|known| labels.record(known));
            labels
        });
    }

    pub(crate) fn record(&self, measurement: Measurement) {
        let unlabelled = || facade::Labels::new("", "");
        let labels = self.labels.get_or_init(unlabelled);
        // Again, because the program may have installed its recorder after it built the layer.
        self.registered.get_or_init(|| labels.register());
        labels.record(measurement);
    }
}

/// The histograms among the [metrics](crate::Stats#as-metrics), each with buckets that suit it.
///
/// An exporter for Prometheus needs buckets: without them it exports summaries, which cannot be
/// added up over several nodes. With the crate `metrics-exporter-prometheus`:
///
/// ```text
/// let mut builder = PrometheusBuilder::new();
/// for (metric, buckets) in cloakroom::metric_buckets() {
///     builder = builder.set_buckets_for_metric(Matcher::Full(metric.to_owned()), buckets)?;
/// }
/// builder.install()?;
/// ```
///
/// The buckets are in seconds, in ascending order, and none is empty:
///
/// ```
/// let (metric, buckets) = cloakroom::metric_buckets().next().unwrap();
/// assert_eq!(metric, "cloakroom_session_life_seconds");
/// assert_eq!(buckets[0], 60.0);
/// ```
#[cfg(feature = "metrics")]
#[must_use = "iterators do nothing unless consumed"]
pub fn metric_buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    facade::BUCKETS.into_iter()
}

#[cfg(feature = "metrics")]
mod facade {
    use std::sync::Arc;

    use metrics::{
        Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram,
        gauge, histogram,
    };

    use super::{EndReason, Measurement, Rejection, StoreCall};

    const SESSIONS: &str = "cloakroom_sessions";
    const CREATED: &str = "cloakroom_sessions_created_total";
    const ENDED: &str = "cloakroom_sessions_ended_total";
    const LIFE: &str = "cloakroom_session_life_seconds";
    const IMPORTED: &str = "cloakroom_sessions_imported_total";
    const LOG_INS: &str = "cloakroom_log_ins_total";
    const REJECTED: &str = "cloakroom_cookies_rejected_total";
    const CONFLICTS: &str = "cloakroom_conflicts_total";
    const TOUCHES: &str = "cloakroom_touches_total";
    const STORE_CALL: &str = "cloakroom_store_call_seconds";
    const STORE_FAILURES: &str = "cloakroom_store_failures_total";
    const STORE_ABANDONED: &str = "cloakroom_store_abandoned_total";
    const STORE_REFUSED: &str = "cloakroom_store_refused_total";
    const CIRCUIT: &str = "cloakroom_store_circuit_open";
    const LISTENING: &str = "cloakroom_listening_seconds";
    const LAST_REAP: &str = "cloakroom_last_reap_timestamp_seconds";
    const MEMORY: &str = "cloakroom_memory_bytes";
    const MEMORY_MAX: &str = "cloakroom_memory_max_bytes";
    const MEMORY_MAX_SESSIONS: &str = "cloakroom_memory_max_sessions";

    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;

    pub(super) const BUCKETS: [(&str, &[f64]); 3] = [
        (
            LIFE,
            &[
                MINUTE,
                5.0 * MINUTE,
                15.0 * MINUTE,
                HOUR,
                4.0 * HOUR,
                12.0 * HOUR,
                DAY,
                7.0 * DAY,
                30.0 * DAY,
                90.0 * DAY,
            ],
        ),
        // From a store in memory to the default `store_timeout`.
        (
            STORE_CALL,
            &[
                0.000_001, 0.000_01, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05,
                0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            ],
        ),
        (
            LISTENING,
            &[0.000_001, 0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0],
        ),
    ];

    /// The labels that every metric has.
    #[derive(Debug)]
    pub(super) struct Labels([Label; 2]);

    fn describe() {
        let (count, seconds) = (Unit::Count, Unit::Seconds);
        describe_gauge!(
            SESSIONS,
            count,
            "Sessions in a memory store, or else those that this process has seen begin and not end"
        );
        describe_counter!(CREATED, count, "Sessions stored for the first time");
        describe_counter!(ENDED, count, "Sessions that ended, by reason");
        describe_histogram!(LIFE, seconds, "How long each session lived that ended");
        describe_counter!(
            IMPORTED,
            count,
            "Sessions of another library that were stored for the first time"
        );
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
        describe_counter!(
            STORE_REFUSED,
            count,
            "Calls that were not made because the circuit breaker was open, by call"
        );
        describe_gauge!(
            CIRCUIT,
            count,
            "1 while the circuit breaker is open, else 0"
        );
        describe_histogram!(
            LISTENING,
            seconds,
            "How long all listeners together took for each event"
        );
        describe_gauge!(
            LAST_REAP,
            seconds,
            "When all expired sessions were last deleted, or else when the background task began"
        );
        describe_gauge!(
            MEMORY,
            Unit::Bytes,
            "What a memory store held at its last sweep"
        );
        describe_gauge!(MEMORY_MAX, Unit::Bytes, "What a memory store may hold");
        describe_gauge!(
            MEMORY_MAX_SESSIONS,
            count,
            "How many sessions a memory store may hold, markers of ended ones included"
        );
    }

    impl Labels {
        pub(super) fn new(layer: &str, store: &'static str) -> Self {
            let layer = SharedString::from(Arc::<str>::from(layer));
            Self([
                Label::new("layer", layer),
                Label::from_static_parts("store", store),
            ])
        }

        /// Describes the metrics, and sets those that count to zero. Otherwise a counter would appear with its first event, which
        /// `increase` and `rate` of Prometheus do not see then.
        pub(super) fn register(&self) {
            describe();
            for name in [CREATED, IMPORTED, LOG_INS, CONFLICTS, TOUCHES] {
                counter!(name, self.all()).increment(0);
            }
            for reason in EndReason::ALL {
                counter!(ENDED, self.and("reason", reason.name())).increment(0);
            }
            for reason in Rejection::ALL {
                counter!(REJECTED, self.and("reason", reason.name())).increment(0);
            }
            for call in StoreCall::ALL {
                for name in [STORE_FAILURES, STORE_ABANDONED, STORE_REFUSED] {
                    counter!(name, self.and("call", call.name())).increment(0);
                }
            }
            for name in [SESSIONS, CIRCUIT] {
                gauge!(name, self.all()).increment(0);
            }
        }

        fn all(&self) -> Vec<Label> {
            self.0.to_vec()
        }

        fn and(&self, key: &'static str, value: &'static str) -> Vec<Label> {
            let mut labels = self.all();
            labels.push(Label::from_static_parts(key, value));
            labels
        }

        pub(super) fn record(&self, measurement: Measurement) {
            match measurement {
                Measurement::Created => counter!(CREATED, self.all()).increment(1),
                Measurement::Imported => counter!(IMPORTED, self.all()).increment(1),
                Measurement::LoggedIn => counter!(LOG_INS, self.all()).increment(1),
                Measurement::Ended(reason) => {
                    counter!(ENDED, self.and("reason", reason.name())).increment(1);
                }
                Measurement::Live(count) => gauge!(SESSIONS, self.all()).set(count as f64),
                Measurement::LiveBy(change) => {
                    gauge!(SESSIONS, self.all()).increment(change as f64);
                }
                Measurement::Lived(life) => histogram!(LIFE, self.all()).record(life),
                Measurement::Rejected(reason) => {
                    counter!(REJECTED, self.and("reason", reason.name())).increment(1);
                }
                Measurement::Conflict => counter!(CONFLICTS, self.all()).increment(1),
                Measurement::Touch => counter!(TOUCHES, self.all()).increment(1),
                Measurement::Answered {
                    call,
                    took,
                    has_failed,
                } => {
                    histogram!(STORE_CALL, self.and("call", call.name())).record(took);
                    if has_failed {
                        counter!(STORE_FAILURES, self.and("call", call.name())).increment(1);
                    }
                }
                Measurement::Abandoned(call) => {
                    counter!(STORE_ABANDONED, self.and("call", call.name())).increment(1);
                }
                Measurement::Refused(call) => {
                    counter!(STORE_REFUSED, self.and("call", call.name())).increment(1);
                }
                Measurement::Circuit { is_open } => {
                    gauge!(CIRCUIT, self.all()).set(f64::from(u8::from(is_open)));
                }
                Measurement::Listened(took) => histogram!(LISTENING, self.all()).record(took),
                Measurement::Memory(held) => {
                    gauge!(SESSIONS, self.all()).set(held.sessions as f64);
                    gauge!(MEMORY, self.all()).set(held.bytes as f64);
                    gauge!(MEMORY_MAX, self.all()).set(held.max_bytes as f64);
                    if let Some(max_sessions) = held.max_sessions {
                        gauge!(MEMORY_MAX_SESSIONS, self.all()).set(max_sessions as f64);
                    }
                }
                Measurement::Reaped(at) => {
                    gauge!(LAST_REAP, self.all()).set(at.as_millis() as f64 / 1000.0);
                }
            }
        }
    }
}
