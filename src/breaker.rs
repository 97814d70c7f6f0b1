//! Lets calls of a store fail at once while the store is down: [`Breaker`].

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
// Without a runtime this is the standard library's; in tests it can be paused.
use tokio::time::Instant;

/// The settings of the circuit breaker: after how many failures the layer stops calling the store, and how often it
/// then tries again.
///
/// Set it with [`SessionLayer::circuit_breaker`](crate::SessionLayer::circuit_breaker).
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{CircuitBreaker, SessionLayer, store::MemoryStore};
///
/// let breaker = CircuitBreaker::default().failures(10).pause(Duration::from_millis(500));
/// let layer = SessionLayer::new(MemoryStore::default()).circuit_breaker(breaker);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    failures: u32,
    pause: Duration,
}

impl CircuitBreaker {
    /// How many calls in a row must fail before the circuit opens. Default: 50. 0 counts as 1.
    ///
    /// A call fails if the store answers with the kind `Unavailable`, `Timeout` or `Other`, or does not
    /// answer within half of the [`store_timeout`](crate::SessionLayer::store_timeout). Any other reply
    /// sets the count to zero.
    #[must_use]
    pub fn failures(self, failures: u32) -> Self {
        let failures = failures.max(1);
        Self { failures, ..self }
    }

    /// The time between two probes. Default: 1 second. While the circuit is open, one call in each
    /// `pause` goes to the store and probes it. All others fail at once.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}

/// 50 failures in a row, and a probe each second.
impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failures: 50,
            pause: Duration::from_secs(1),
        }
    }
}

/// Counts failures in a row, and decides which calls may be made.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: CircuitBreaker,
    /// In a row, up to now.
    failures: AtomicU32,
    /// When the next call may probe, if the circuit is open.
    next_probe: Mutex<Option<Instant>>,
}

impl Breaker {
    pub(crate) fn new(settings: CircuitBreaker) -> Self {
        Self {
            settings,
            failures: AtomicU32::new(0),
            next_probe: Mutex::new(None),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= self.settings.failures
    }

    /// Whether a call may be made. A probe that never ends does not prevent the next one.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        if !self.is_open() {
            return true;
        }
        let mut next_probe = self.next_probe.lock();
        if next_probe.is_some_and(|at| now < at) {
            return false;
        }
        *next_probe = Some(now + self.settings.pause);
        true
    }

    /// A call has failed. Returns whether this opens the circuit.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let limit = self.settings.failures;
        if self.failures.load(Ordering::Relaxed) >= limit {
            return false;
        }
        let mut next_probe = self.next_probe.lock();
        // Under the lock, so that one call alone opens it, and no call meets an open circuit without a time to probe.
        let failures = self.failures.load(Ordering::Relaxed);
        if failures >= limit {
            return false;
        }
        let opens = failures + 1 == limit;
        if opens {
            *next_probe = Some(now + self.settings.pause);
        }
        self.failures.store(failures + 1, Ordering::Relaxed);
        opens
    }

    /// A call has succeeded. Returns whether this closes the circuit.
    pub(crate) fn succeeded(&self) -> bool {
        // Most calls succeed after another success, and then write to no shared memory.
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut next_probe = self.next_probe.lock();
        *next_probe = None;
        self.failures.swap(0, Ordering::Relaxed) >= self.settings.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        let settings = CircuitBreaker::default().failures(3).pause(PAUSE);
        (Breaker::new(settings), Instant::now())
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let (breaker, now) = breaker();
        assert!(!breaker.failed(now));
        assert!(!breaker.failed(now));
        assert!(!breaker.succeeded());
        assert!(!breaker.failed(now));
        assert!(!breaker.failed(now));
        assert!(breaker.admits(now));
        assert!(breaker.failed(now));
        assert!(breaker.is_open());
        assert!(!breaker.admits(now));
    }

    #[test]
    fn one_call_in_each_pause_probes() {
        let (breaker, now) = breaker();
        for _ in 0..3 {
            breaker.failed(now);
        }
        assert!(!breaker.admits(now + PAUSE / 2));
        assert!(breaker.admits(now + PAUSE));
        assert!(!breaker.admits(now + PAUSE));
        assert!(!breaker.failed(now + PAUSE), "it is open already");
        // The probe's reply never came: another one is made.
        assert!(breaker.admits(now + PAUSE * 2));
        assert!(breaker.succeeded());
        assert!(breaker.admits(now + PAUSE * 2));
        assert!(!breaker.succeeded());
    }
}
