//! How long calls took, by buckets: [`Latencies`].

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Four buckets for each doubling, so that a quantile is right to a fifth.
const PER_OCTAVE: u32 = 4;

/// The first bucket ends here: 2^8 nanoseconds.
const FIRST: u32 = 8;

/// The last one begins at 2^36 nanoseconds, 69 seconds.
const BUCKETS: usize = (PER_OCTAVE * (36 - FIRST)) as usize + 2;

fn bucket(nanos: u64) -> usize {
    let Some(octave) = nanos.checked_ilog2().filter(|octave| *octave >= FIRST) else {
        return 0;
    };
    let within = (nanos >> (octave - PER_OCTAVE.ilog2())) as u32 & (PER_OCTAVE - 1);
    let index = 1 + (octave - FIRST) * PER_OCTAVE + within;
    (index as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, in nanoseconds.
fn start(bucket: usize) -> u64 {
    let Some(steps) = u32::try_from(bucket)
        .ok()
        .and_then(|bucket| bucket.checked_sub(1))
    else {
        return 0;
    };
    let octave = FIRST + steps / PER_OCTAVE;
    let within = u64::from(steps % PER_OCTAVE);
    (u64::from(PER_OCTAVE) + within) << (octave - PER_OCTAVE.ilog2())
}

/// Counts of calls by how long they took.
#[derive(Debug)]
pub(crate) struct LatencyCounters([AtomicU64; BUCKETS]);

impl LatencyCounters {
    pub(crate) fn add(&self, nanos: u64) {
        self.0[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Latencies {
        Latencies(std::array::from_fn(|bucket| {
            self.0[bucket].load(Ordering::Relaxed)
        }))
    }
}

impl Default for LatencyCounters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

/// The counts at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latencies([u64; BUCKETS]);

impl Default for Latencies {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Latencies {
    /// The time within which this share of the calls was answered. Zero where there was none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                // The middle of the bucket.
                let end = start((bucket + 1).min(BUCKETS - 1));
                return Duration::from_nanos(u64::midpoint(start(bucket), end));
            }
        }
        Duration::ZERO
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| {
            self.0[bucket].saturating_sub(earlier.0[bucket])
        }))
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantiles = [0.5, 0.99].map(|share| self.quantile(share));
        f.debug_tuple("Latencies").field(&quantiles).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_between_its_ends() {
        for bucket_of in 0..BUCKETS - 1 {
            assert_eq!(bucket(start(bucket_of)), bucket_of);
            assert_eq!(bucket(start(bucket_of + 1) - 1), bucket_of);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_right_to_a_fifth() {
        let counters = LatencyCounters::default();
        for micros in 1..=1000 {
            counters.add(micros * 1000);
        }
        let latencies = counters.get();
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(share).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.2, "{share}: {found}");
        }
        assert_eq!(latencies.since(&latencies).quantile(0.5), Duration::ZERO);
    }
}
