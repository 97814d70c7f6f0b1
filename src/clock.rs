//! Times: [`Timestamp`], and the [`Clock`] that returns the current one.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A time, in whole milliseconds since the Unix epoch.
///
/// It reaches from the epoch to the last millisecond of the year 9999, which every store and every
/// reader of JSON can hold. Arithmetic stops at these ends and never wraps.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cloakroom::Timestamp;
///
/// let day = Timestamp::from_millis(86_400_000);
/// assert_eq!(day.saturating_sub(Duration::from_secs(1)).as_millis(), 86_399_000);
/// assert_eq!(day.since(Timestamp::EPOCH), Duration::from_secs(24 * 60 * 60));
/// let now = Timestamp::from(SystemTime::now());
/// assert!(now > day);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01 00:00:00.000 UTC, the earliest time.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31 23:59:59.999 UTC, the latest time.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The time `millis` milliseconds after the Unix epoch, [`MAX`](Self::MAX) at the latest.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This time plus `duration`, which is cut to whole milliseconds; [`MAX`](Self::MAX) at the latest.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(whole_millis(duration)))
    }

    /// This time minus `duration`, which is cut to whole milliseconds; [`EPOCH`](Self::EPOCH) at the earliest.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// The time from `earlier` to this one. Zero if this is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis_since(earlier))
    }

    /// The milliseconds from `earlier` to this time. Zero if this is not later.
    pub(crate) const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// As `as_millis`, without its arithmetic of 128 bits.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1000);
    seconds.saturating_add(u64::from(duration.subsec_millis()))
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::EPOCH.saturating_add(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A source of the current time for a layer.
///
/// The default is [`SystemClock`]. In tests, set another one with
/// [`SessionLayer::clock`](crate::SessionLayer::clock): the `FixedClock` of the feature `testing`, or a closure. An
/// `Arc` of a clock is a clock too.
///
/// ```
/// use cloakroom::{SessionLayer, Timestamp};
///
/// let layer = SessionLayer::default().clock(|| Timestamp::from_millis(1_767_225_600_000));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The current time. The layer may call it several times for one request.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
///
/// ```
/// use cloakroom::{Clock, SystemClock};
///
/// println!("{} ms since the Unix epoch", SystemClock.now().as_millis());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

impl<F: Fn() -> Timestamp + Send + Sync + 'static> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}
