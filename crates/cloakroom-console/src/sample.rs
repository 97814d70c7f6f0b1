//! Samples of the statistics over the last minutes: [`History`].

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use cloakroom::{CallStats, EndReason, Rejection, Stats, StoreCall};
use tokio::time::Instant;

/// How often a sample is taken.
pub(crate) const TICK: Duration = Duration::from_secs(2);

/// The number of samples in five minutes.
const KEPT: usize = 150;

/// The period of a rate.
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Sample {
    taken: Instant,
    at: SystemTime,
    stats: Stats,
}

/// Samples of the statistics, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
    /// When the circuit breaker was first seen open, if it is open.
    open_since: Option<SystemTime>,
    /// When the first of the calls that have failed was not made yet, if none has succeeded since, and how many had
    /// failed by then.
    failing_since: Option<(SystemTime, u64)>,
}

/// The store is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) since: SystemTime,
    pub(crate) is_circuit_open: bool,
    /// How many calls have failed since, and none has succeeded.
    pub(crate) failed: u64,
}

/// So many calls in a row fail before the page says that the store does not answer.
const MANY: u64 = 3;

impl History {
    pub(crate) fn add(&mut self, taken: Instant, at: SystemTime, stats: Stats) {
        if stats.is_circuit_open {
            self.open_since.get_or_insert(at);
        } else {
            self.open_since = None;
        }
        if let Some(before) = self.samples.back() {
            let (former, now) = (outcomes(&before.stats), outcomes(&stats));
            if now.0 > former.0 {
                self.failing_since = None;
            } else if now.1 > former.1 {
                self.failing_since.get_or_insert((before.at, former.1));
            }
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { taken, at, stats });
    }

    /// When the last sample was taken.
    pub(crate) fn latest(&self) -> Option<SystemTime> {
        Some(self.samples.back()?.at)
    }

    /// Whether the store is down, as far as the requests of this process have seen.
    pub(crate) fn outage(&self) -> Option<Outage> {
        let (_, all_failed) = outcomes(&self.samples.back()?.stats);
        let failing = self
            .failing_since
            .map(|(since, failed)| (since, all_failed - failed));
        match (self.open_since, failing) {
            (Some(since), failing) => Some(Outage {
                since,
                is_circuit_open: true,
                failed: failing.map_or(0, |(_, failed)| failed),
            }),
            (None, Some((since, failed))) if failed >= MANY => Some(Outage {
                since,
                is_circuit_open: false,
                failed,
            }),
            _ => None,
        }
    }

    /// The changes of the last minute. `None` before the first sample.
    pub(crate) fn recent(&self) -> Option<Recent<'_>> {
        let latest = self.samples.back()?;
        let since = self
            .samples
            .iter()
            .rev()
            .take_while(|sample| latest.taken - sample.taken <= MINUTE + TICK / 2)
            .last()?;
        Some(Recent {
            span: latest.taken - since.taken,
            before: &since.stats,
            now: &latest.stats,
        })
    }

    /// How many sessions there were at each sample.
    pub(crate) fn live(&self) -> Vec<f64> {
        self.samples
            .iter()
            .map(|sample| sample.stats.live as f64)
            .collect()
    }
}

/// How many calls of requests have succeeded, and how many have not. Lists and counts say nothing: a store may not
/// support them.
fn outcomes(stats: &Stats) -> (u64, u64) {
    let calls = [
        StoreCall::Create,
        StoreCall::Load,
        StoreCall::LoadLatest,
        StoreCall::Update,
        StoreCall::Touch,
    ];
    let calls = calls.map(|call| stats.store(call));
    let sum = |count: fn(&CallStats) -> u64| calls.iter().map(count).sum();
    (
        sum(|call| call.calls - call.failures),
        sum(|call| call.failures + call.abandoned + call.refused),
    )
}

/// The difference between two samples, about a minute apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent<'a> {
    pub(crate) span: Duration,
    before: &'a Stats,
    pub(crate) now: &'a Stats,
}

impl Recent<'_> {
    pub(crate) fn created(&self) -> u64 {
        self.now.created - self.before.created
    }

    pub(crate) fn imported(&self) -> u64 {
        self.now.imported - self.before.imported
    }

    pub(crate) fn touches(&self) -> u64 {
        self.now.touches - self.before.touches
    }

    /// Calls that were not made because the circuit breaker was open.
    pub(crate) fn refused(&self) -> u64 {
        StoreCall::ALL
            .iter()
            .map(|call| self.store(*call).refused)
            .sum()
    }

    pub(crate) fn logged_in(&self) -> u64 {
        self.now.logged_in - self.before.logged_in
    }

    pub(crate) fn conflicts(&self) -> u64 {
        self.now.conflicts - self.before.conflicts
    }

    pub(crate) fn ended(&self, reason: EndReason) -> u64 {
        self.now.ended(reason) - self.before.ended(reason)
    }

    pub(crate) fn rejected(&self, why: Rejection) -> u64 {
        self.now.rejected(why) - self.before.rejected(why)
    }

    pub(crate) fn store(&self, call: StoreCall) -> CallStats {
        self.now.store(call).since(&self.before.store(call))
    }

    pub(crate) fn all_ended(&self) -> u64 {
        EndReason::ALL
            .iter()
            .map(|reason| self.ended(*reason))
            .sum()
    }

    pub(crate) fn all_rejected(&self) -> u64 {
        Rejection::ALL.iter().map(|why| self.rejected(*why)).sum()
    }
}

/// How many sessions began, and how many ended, in each of the last sixty minutes, oldest first.
pub(crate) fn by_minute(stats: &Stats) -> (Vec<u64>, Vec<u64>) {
    let minutes = (1..=60).rev();
    let of = |sum: &dyn Fn(u32) -> u64| {
        let minutes = minutes.clone();
        minutes
            .map(|minute| sum(minute) - sum(minute - 1))
            .collect()
    };
    (
        of(&|minutes| stats.created_in(minutes)),
        of(&|minutes| stats.ended_in(minutes)),
    )
}
