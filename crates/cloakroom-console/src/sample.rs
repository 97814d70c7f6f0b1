//! Samples of the statistics over the last minutes: [`History`].

use std::{collections::VecDeque, time::Duration};

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
    stats: Stats,
}

/// Samples of the statistics, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<Sample>);

impl History {
    pub(crate) fn add(&mut self, taken: Instant, stats: Stats) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Sample { taken, stats });
    }

    /// The changes of the last minute. `None` before the first sample.
    pub(crate) fn recent(&self) -> Option<Recent<'_>> {
        let latest = self.0.back()?;
        let since = self
            .0
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
        self.0
            .iter()
            .map(|sample| sample.stats.live as f64)
            .collect()
    }
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
