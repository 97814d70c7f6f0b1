//! Numbers about the sessions of a layer: [`Stats`].

use std::time::Duration;

use crate::{
    clock::Timestamp,
    observe::{
        event::{EndReason, Rejection},
        latency::Latencies,
        minutes::Minutes,
    },
    store::StoreCall,
};

/// Statistics of one layer in this process: how many sessions began and ended, and how the store answered.
///
/// [`Sessions::stats`](crate::Sessions::stats) returns it without a call of the store. Counting begins
/// with the first call of [`SessionLayer::sessions`](crate::SessionLayer::sessions). It begins at once if
/// the layer has a listener, or if the feature `metrics` is on. All numbers start at zero with the
/// process. All but `live`, `memory_bytes` and `is_circuit_open` only grow.
///
/// ```
/// use cloakroom::{EndReason, SessionLayer};
///
/// let layer = SessionLayer::default();
/// let sessions = layer.sessions();
///
/// let stats = sessions.stats();
/// println!(
///     "{} live, {} created in the last hour, {} evicted",
///     stats.live,
///     stats.created_in(60),
///     stats.ended(EndReason::Evicted),
/// );
/// ```
///
/// # As metrics
///
/// With the feature `metrics`, the same numbers go to the recorder that the
/// program has installed for the `metrics` facade.
/// They come with a description and their unit. Each has the label `layer`, which is the layer's
/// [`name`](crate::SessionLayer::name), and the label `store`, which is the store's type, such as
/// `MemoryStore`. [`metric_buckets`](crate::metric_buckets) suggests buckets for the histograms.
///
/// The counters are there with the value zero, with each of their labels, from the moment when the layer
/// wraps a service. If the program installs its recorder later, they are there from the first request.
/// So `increase` in Prometheus sees the first event of a kind.
///
/// | metric | kind | further label | unit | what it measures |
/// | --- | --- | --- | --- | --- |
/// | `cloakroom_sessions` | gauge | | count | sessions that this process has seen begin and not end; with a `MemoryStore`, those in the store at the last event or sweep, restored ones included; never negative |
/// | `cloakroom_sessions_created_total` | counter | | count | sessions stored for the first time |
/// | `cloakroom_sessions_imported_total` | counter | | count | sessions of another library that were stored for the first time |
/// | `cloakroom_sessions_ended_total` | counter | `reason` | count | sessions that ended, by [`EndReason`] in lower case |
/// | `cloakroom_session_life_seconds` | histogram | | seconds | the life of each session that ended |
/// | `cloakroom_log_ins_total` | counter | | count | log-ins |
/// | `cloakroom_cookies_rejected_total` | counter | `reason` | count | cookies that opened no session, by [`Rejection`] in lower case |
/// | `cloakroom_conflicts_total` | counter | | count | writes that met a concurrent write and were merged with it |
/// | `cloakroom_touches_total` | counter | | count | writes of activity without data |
/// | `cloakroom_store_call_seconds` | histogram | `call` | seconds | how long the store took to answer, by [`StoreCall::name`] |
/// | `cloakroom_store_failures_total` | counter | `call` | count | calls that the store answered with an error |
/// | `cloakroom_store_abandoned_total` | counter | `call` | count | calls that were given up before the store answered |
/// | `cloakroom_store_refused_total` | counter | `call` | count | calls that were not made because the circuit breaker was open |
/// | `cloakroom_store_circuit_open` | gauge | | count | 1 while the circuit breaker is open, else 0 |
/// | `cloakroom_listening_seconds` | histogram | | seconds | how long all listeners together took for each event |
/// | `cloakroom_last_reap_timestamp_seconds` | gauge | | seconds | when all expired sessions were last deleted, since 1970; until then, when the background task began |
/// | `cloakroom_memory_bytes` | gauge | | bytes | the size of a memory store at its last sweep |
/// | `cloakroom_memory_max_bytes` | gauge | | bytes | the bound of a memory store |
/// | `cloakroom_memory_max_sessions` | gauge | | count | the bound of a memory store in sessions, if it has one |
///
/// No label names a session or a user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// How many sessions there are now, including sessions that have expired and are not deleted yet.
    ///
    /// With a [`MemoryStore`](crate::MemoryStore) this is the number of sessions in the store, which other layers may use too. With any
    /// other store it is the number of sessions that began in this process and have not ended in it. To
    /// count all sessions, call [`Sessions::count`](crate::Sessions::count).
    pub live: u64,
    /// The highest value of `live` so far.
    pub peak: u64,
    /// How many sessions were stored for the first time.
    pub created: u64,
    /// How many sessions of another library were stored for the first time.
    pub imported: u64,
    /// How many log-ins there were.
    pub logged_in: u64,
    /// How many writes met a concurrent write of the same session, and were merged with it.
    pub conflicts: u64,
    /// How many times activity was written without data.
    pub touches: u64,
    /// The mean life of the sessions that ended, from creation to end. `None` if no session has ended.
    pub mean_life: Option<Duration>,
    /// The longest life of a session that ended. `None` if no session has ended.
    pub longest_life: Option<Duration>,
    /// The size of a [`MemoryStore`](crate::MemoryStore) in bytes. `None` with any other store.
    pub memory_bytes: Option<usize>,
    /// The bound of a [`MemoryStore`](crate::MemoryStore) in bytes. `None` with any other store.
    pub memory_max_bytes: Option<usize>,
    /// The bound of a [`MemoryStore`](crate::MemoryStore) in sessions. Besides `live`, the markers of sessions that ended or
    /// moved count towards it. `None` if only the bytes are bounded, and with any other store.
    pub max_sessions: Option<usize>,
    /// Whether the [circuit breaker](crate::SessionLayer::circuit_breaker) is open: the store is
    /// down.
    pub is_circuit_open: bool,
    /// How long the listeners took for all events together.
    pub listening: Duration,
    /// The longest time that the listeners took for one event.
    pub longest_listening: Duration,
    pub(crate) ended: [u64; EndReason::ALL.len()],
    pub(crate) rejected: [u64; Rejection::ALL.len()],
    pub(crate) calls: [CallStats; StoreCall::ALL.len()],
    pub(crate) minutes: Minutes,
    pub(crate) at: Timestamp,
}

/// Statistics of one call of the store: how often it was made and failed, and how long it took.
///
/// [`Stats::store`] returns it.
///
/// ```
/// use cloakroom::{SessionLayer, StoreCall};
///
/// let stats = SessionLayer::default().sessions().stats();
/// let loads = stats.store(StoreCall::Load);
/// println!("{} loads, {} failed, {:?} on average", loads.calls, loads.failures, loads.mean());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStats {
    /// How many calls the store answered, with success or an error.
    pub calls: u64,
    /// How many calls the store answered with an error.
    pub failures: u64,
    /// How many calls were given up before the store answered, because they took longer than
    /// [`store_timeout`](crate::SessionLayer::store_timeout) or their request was dropped.
    /// `calls` does not include them.
    pub abandoned: u64,
    /// How many calls were not made because the
    /// [circuit breaker](crate::SessionLayer::circuit_breaker) was open. `calls` does not include
    /// them.
    pub refused: u64,
    /// How long all answers took together.
    pub total: Duration,
    /// How long the slowest answer took.
    pub longest: Duration,
    pub(crate) latencies: Latencies,
}

impl CallStats {
    /// A quantile of the times until the store answered, exact to a fifth. `share` is from 0 to 1: 0.99 is the
    /// 99th percentile. Zero if there was no answer.
    ///
    /// ```
    /// use cloakroom::{SessionLayer, StoreCall};
    ///
    /// let stats = SessionLayer::default().sessions().stats();
    /// println!("loads: p99 {:?}", stats.store(StoreCall::Load).quantile(0.99));
    /// ```
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        self.latencies.quantile(share).min(self.longest)
    }

    /// The difference to `earlier`, which was read before. `longest` does not change: it is the longest time since
    /// the process began.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            failures: self.failures.saturating_sub(earlier.failures),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
            refused: self.refused.saturating_sub(earlier.refused),
            total: self.total.saturating_sub(earlier.total),
            longest: self.longest,
            latencies: self.latencies.since(&earlier.latencies),
        }
    }

    /// The mean time of an answer. Zero if there was none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.total.as_nanos() / u128::from(self.calls.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Stats {
    /// How many sessions ended for this reason.
    #[must_use]
    pub fn ended(&self, reason: EndReason) -> u64 {
        self.ended[reason as usize]
    }

    /// How many cookies were rejected for this reason.
    #[must_use]
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected[reason as usize]
    }

    /// The numbers about one call of the store.
    #[must_use]
    pub fn store(&self, call: StoreCall) -> CallStats {
        self.calls[call as usize]
    }

    /// How many sessions began in the last `minutes`, including the current minute. At most 60 minutes are kept;
    /// a greater number counts as 60.
    #[must_use]
    pub fn created_in(&self, minutes: u32) -> u64 {
        self.minutes.sum(self.at, minutes, |minute| minute.created)
    }

    /// How many sessions ended in the last `minutes`, including the current minute. At most 60 minutes are kept;
    /// a greater number counts as 60.
    #[must_use]
    pub fn ended_in(&self, minutes: u32) -> u64 {
        self.minutes.sum(self.at, minutes, |minute| minute.ended)
    }
}
