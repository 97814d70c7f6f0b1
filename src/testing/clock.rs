//! A clock that moves when it is told to: [`FixedClock`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock::{Clock, Timestamp};

/// A clock that stands still until a test moves it. Every clone is the same clock.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{SessionLayer, testing::FixedClock};
///
/// let clock = FixedClock::default();
/// let layer = SessionLayer::default().clock(clock.clone());
/// clock.advance(Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug)]
pub struct FixedClock(Arc<AtomicU64>);

impl FixedClock {
    /// The time of the default clock: 2026-01-01 00:00:00 UTC.
    pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: impl Into<Timestamp>) -> Self {
        Self(Arc::new(AtomicU64::new(now.into().as_millis())))
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: impl Into<Timestamp>) {
        self.0.store(now.into().as_millis(), Ordering::SeqCst);
    }

    /// Moves the clock forward, to [`Timestamp::MAX`] at most.
    pub fn advance(&self, duration: Duration) {
        self.shift(|now| now.saturating_add(duration));
    }

    /// Moves the clock back, to the epoch at most, like a machine's clock that is corrected.
    pub fn go_back(&self, duration: Duration) {
        self.shift(|now| now.saturating_sub(duration));
    }

    fn shift(&self, to: impl Fn(Timestamp) -> Timestamp) {
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |millis| {
                Some(to(Timestamp::from_millis(millis)).as_millis())
            });
    }
}

/// At [`START`](Self::START).
impl Default for FixedClock {
    fn default() -> Self {
        Self::new(Self::START)
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
