//! The running counts behind the statistics: [`Counters`].

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    observe::{
        event::{EndReason, Event, EventKind, Rejection},
        latency::LatencyCounters,
        metrics::{Measurement, Metrics},
        minutes::Minutes,
        stats::{CallStats, Stats},
        summary::SessionSummary,
    },
    store::{DynStore, StoreCall},
};

/// Counts what happens to the sessions of one layer, and passes it on to the metrics.
#[derive(Debug)]
pub(crate) struct Counters {
    metrics: Metrics,
    /// A store in memory knows how many sessions there are, those that were restored into it included.
    store: DynStore,
    sessions: Mutex<SessionCounters>,
    // Atomic, because every request adds to them.
    calls: [CallCounters; StoreCall::ALL.len()],
    conflicts: AtomicU64,
    touches: AtomicU64,
}

#[derive(Debug, Default)]
struct SessionCounters {
    /// When the first event happened.
    since: Option<Timestamp>,
    created: u64,
    imported: u64,
    logged_in: u64,
    /// Sessions created since then and not ended.
    live: u64,
    peak: u64,
    ended: [u64; EndReason::ALL.len()],
    rejected: [u64; Rejection::ALL.len()],
    /// The number of sessions in `total_life`.
    lives: u64,
    /// Milliseconds. A billion lives of ten years do not fit into a u64.
    total_life: u128,
    longest_life: Duration,
    listening: Duration,
    longest_listening: Duration,
    minutes: Minutes,
}

#[derive(Debug, Default)]
struct CallCounters {
    calls: AtomicU64,
    failures: AtomicU64,
    abandoned: AtomicU64,
    refused: AtomicU64,
    nanos: AtomicU64,
    longest_nanos: AtomicU64,
    latencies: LatencyCounters,
}

impl Counters {
    /// Counts for a layer with this store.
    pub(crate) fn new(store: DynStore) -> Self {
        Self {
            metrics: Metrics::default(),
            store,
            sessions: Mutex::default(),
            calls: Default::default(),
            conflicts: AtomicU64::new(0),
            touches: AtomicU64::new(0),
        }
    }

    pub(crate) fn on_event(&self, event: &Event) {
        let mut sessions = self.sessions.lock();
        let since = *sessions.since.get_or_insert(event.at);
        match &event.kind {
            EventKind::Created => {
                self.metrics.record(Measurement::Created);
                sessions.created += 1;
                self.set_live(&mut sessions, 1);
                sessions.minutes.at(event.at).created += 1;
            }
            EventKind::Imported => {
                self.metrics.record(Measurement::Imported);
                sessions.imported += 1;
                self.set_live(&mut sessions, 1);
            }
            EventKind::LoggedIn { .. } => {
                self.metrics.record(Measurement::LoggedIn);
                sessions.logged_in += 1;
                self.set_live(&mut sessions, 0);
            }
            EventKind::Ended { reason } => {
                // A session that began before this process is not in the number of live sessions.
                let was_live = sessions.live > 0
                    && event
                        .summary
                        .as_ref()
                        .is_none_or(|ended| ended.record().created_at() >= since);
                self.metrics.record(Measurement::Ended(*reason));
                self.set_live(&mut sessions, -i64::from(was_live));
                sessions.ended[*reason as usize] += 1;
                sessions.minutes.at(event.at).ended += 1;
                if let Some(life) = event.summary.as_ref().map(|ended| life(ended, event.at)) {
                    self.metrics.record(Measurement::Lived(life));
                    sessions.lives += 1;
                    sessions.total_life += life.as_millis();
                    sessions.longest_life = sessions.longest_life.max(life);
                }
            }
            EventKind::Rejected { why } => {
                self.metrics.record(Measurement::Rejected(*why));
                sessions.rejected[*why as usize] += 1;
            }
            EventKind::Cycled { .. } => self.set_live(&mut sessions, 0),
            EventKind::Saved { .. } | EventKind::CircuitOpened | EventKind::CircuitClosed => {}
        }
    }

    /// The number of live sessions changes by `change`, or to the number that a store in memory has.
    fn set_live(&self, sessions: &mut SessionCounters, change: i64) {
        match self.store.held_in_memory() {
            Some(held) => {
                sessions.live = held.sessions as u64;
                self.metrics.record(Measurement::Live(sessions.live));
            }
            None if change == 0 => {}
            None => {
                sessions.live = sessions.live.saturating_add_signed(change);
                self.metrics.record(Measurement::LiveBy(change));
            }
        }
        sessions.peak = sessions.peak.max(sessions.live);
    }

    /// Sets the name of the layer for the metrics.
    pub(crate) fn label(&self, layer: &str) {
        let held = self.store.held_in_memory().map(Measurement::Memory);
        self.metrics.label(layer, self.store.name(), held);
    }

    /// The listeners have run for one event. Together they took this long.
    pub(crate) fn on_listeners_called(&self, took: Duration) {
        self.metrics.record(Measurement::Listened(took));
        let mut sessions = self.sessions.lock();
        sessions.listening += took;
        sessions.longest_listening = sessions.longest_listening.max(took);
    }

    pub(crate) fn on_conflict(&self) {
        self.metrics.record(Measurement::Conflict);
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_touch(&self) {
        self.metrics.record(Measurement::Touch);
        self.touches.fetch_add(1, Ordering::Relaxed);
    }

    /// Measures a memory store.
    pub(crate) fn on_memory(&self) {
        // So that no event reports another number meanwhile.
        let mut sessions = self.sessions.lock();
        if let Some(held) = self.store.held_in_memory() {
            sessions.live = held.sessions as u64;
            sessions.peak = sessions.peak.max(sessions.live);
            self.metrics.record(Measurement::Memory(held));
        }
    }

    /// All sessions that had expired long enough at this time are deleted. Or else the task that deletes them begins.
    pub(crate) fn on_reaped(&self, at: Timestamp) {
        self.metrics.record(Measurement::Reaped(at));
    }

    pub(crate) fn on_call(&self, call: StoreCall, took: Duration, failure: Option<&StoreError>) {
        let has_failed = failure.is_some();
        self.metrics.record(Measurement::Answered {
            call,
            took,
            has_failed,
        });
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let counters = &self.calls[call as usize];
        counters.calls.fetch_add(1, Ordering::Relaxed);
        counters.nanos.fetch_add(nanos, Ordering::Relaxed);
        counters.latencies.add(nanos);
        counters.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        if has_failed {
            counters.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn on_abandoned_call(&self, call: StoreCall) {
        self.metrics.record(Measurement::Abandoned(call));
        let counters = &self.calls[call as usize];
        counters.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// The circuit breaker has refused a call.
    pub(crate) fn on_refused_call(&self, call: StoreCall) {
        self.metrics.record(Measurement::Refused(call));
        let counters = &self.calls[call as usize];
        counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The circuit to the store has opened, or closed.
    pub(crate) fn on_circuit(&self, is_open: bool) {
        self.metrics.record(Measurement::Circuit { is_open });
    }

    /// The counts as of `at`.
    pub(crate) fn stats(&self, at: Timestamp, is_circuit_open: bool) -> Stats {
        let sessions = self.sessions.lock();
        let memory = self.store.held_in_memory();
        let live = memory.as_ref().map(|held| held.sessions as u64);
        let live = live.unwrap_or(sessions.live);
        let mean_millis = sessions.total_life / u128::from(sessions.lives.max(1));
        let mean_life = Duration::from_millis(u64::try_from(mean_millis).unwrap_or(u64::MAX));
        Stats {
            live,
            peak: sessions.peak.max(live),
            created: sessions.created,
            imported: sessions.imported,
            logged_in: sessions.logged_in,
            conflicts: self.conflicts.load(Ordering::Relaxed),
            touches: self.touches.load(Ordering::Relaxed),
            mean_life: (sessions.lives > 0).then_some(mean_life),
            longest_life: (sessions.lives > 0).then_some(sessions.longest_life),
            memory_bytes: memory.as_ref().map(|held| held.bytes),
            memory_max_bytes: memory.as_ref().map(|held| held.max_bytes),
            max_sessions: memory.and_then(|held| held.max_sessions),
            is_circuit_open,
            listening: sessions.listening,
            longest_listening: sessions.longest_listening,
            ended: sessions.ended,
            rejected: sessions.rejected,
            calls: std::array::from_fn(|call| self.calls[call].stats()),
            minutes: sessions.minutes.clone(),
            at,
        }
    }
}

impl CallCounters {
    fn stats(&self) -> CallStats {
        let duration = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        CallStats {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            total: duration(&self.nanos),
            longest: duration(&self.longest_nanos),
            latencies: self.latencies.get(),
        }
    }
}

/// The time from a session's creation to its end, or to its deadline if that came first.
fn life(ended: &SessionSummary, at: Timestamp) -> Duration {
    let end = ended
        .activity()
        .expires_at
        .map_or(at, |deadline| at.min(deadline));
    end.since(ended.record().created_at())
}
