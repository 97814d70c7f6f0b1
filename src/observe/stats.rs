//! Numbers about all sessions of a layer: [`Stats`], and the [`Tally`] that keeps them.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    observe::{
        event::{EndReason, Event, EventKind, Rejection},
        metering,
        summary::SessionSummary,
    },
    store::StoreCall,
};

/// What has happened to the sessions of a layer in this process, since somebody
/// first asked it for its [`sessions`](crate::SessionLayer::sessions) or listened to its events.
///
/// Everything but `live` and `memory_bytes` only grows, and starts at zero with the process.
///
/// # As metrics
///
/// With the feature `metrics` the same goes to whatever recorder the program
/// has installed for the `metrics` facade, for all layers of the process together:
///
/// | metric | kind | label | what it is |
/// | --- | --- | --- | --- |
/// | `cloakroom_sessions` | gauge | | seen to begin and not to end by this process |
/// | `cloakroom_sessions_created_total` | counter | | sessions begun |
/// | `cloakroom_sessions_ended_total` | counter | `reason` | by [`EndReason`], in lower case |
/// | `cloakroom_session_life_seconds` | histogram | | how long those that ended had lived |
/// | `cloakroom_log_ins_total` | counter | | log-ins |
/// | `cloakroom_cookies_rejected_total` | counter | `why` | by [`Rejection`], in lower case |
/// | `cloakroom_conflicts_total` | counter | | writes that met another and were merged |
/// | `cloakroom_touches_total` | counter | | activity written without data |
/// | `cloakroom_store_call_seconds` | histogram | `call` | each answer's time, by [`StoreCall::name`] |
/// | `cloakroom_store_failures_total` | counter | `call` | answers that were errors |
/// | `cloakroom_store_abandoned_total` | counter | `call` | calls for whose answer nobody waited in the end |
/// | `cloakroom_listening_seconds` | histogram | | each event's time in all its listeners |
/// | `cloakroom_memory_bytes` | gauge | | what a memory store holds, as of its last sweep |
///
/// No label names a session or a user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// How many sessions there are now, those included that have expired and are
    /// not deleted yet. A [`MemoryStore`](crate::MemoryStore)
    /// counts what it holds; of any other store it is those that this process
    /// has seen begin and not end. [`Sessions::count`](crate::Sessions::count) asks the store.
    pub live: u64,
    /// The most there were at once.
    pub peak: u64,
    /// How many have begun.
    pub created: u64,
    /// How many log-ins there were.
    pub logged_in: u64,
    /// How many writes met another that came first, and were merged with it.
    pub conflicts: u64,
    /// How often activity was written without data.
    pub touches: u64,
    /// The mean life of those that ended, from their creation.
    pub mean_life: Option<Duration>,
    /// The longest life of those that ended.
    pub longest_life: Option<Duration>,
    /// What a memory store counts its sessions with, in bytes.
    pub memory_bytes: Option<usize>,
    /// How long listeners took, all together.
    pub listening: Duration,
    /// How long the slowest event took in all its listeners.
    pub longest_listening: Duration,
    ended: [u64; EndReason::ALL.len()],
    rejected: [u64; Rejection::ALL.len()],
    calls: [CallStats; StoreCall::ALL.len()],
    minutes: Minutes,
    at: Timestamp,
}

/// How one call of the store has fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStats {
    /// How often it was made and answered.
    pub calls: u64,
    /// How often the answer was an error.
    pub failures: u64,
    /// How often nobody waited for the answer in the end: it took longer than
    /// `store_timeout`, or the request was dropped. These are not among the `calls`.
    pub abandoned: u64,
    /// How long the answers took, all together.
    pub total: Duration,
    /// How long the slowest took.
    pub longest: Duration,
}

impl CallStats {
    /// How long an answer takes, in the mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.total.as_nanos() / u128::from(self.calls.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Stats {
    /// How many ended for this reason. Evictions are here too.
    #[must_use]
    pub fn ended(&self, reason: EndReason) -> u64 {
        self.ended[reason as usize]
    }

    /// How many cookies opened nothing for this reason.
    #[must_use]
    pub fn rejected(&self, why: Rejection) -> u64 {
        self.rejected[why as usize]
    }

    /// How one call of the store has fared.
    #[must_use]
    pub fn store(&self, call: StoreCall) -> CallStats {
        self.calls[call as usize]
    }

    /// How many began in the last so many minutes, the current one included; at most the last 60.
    #[must_use]
    pub fn created_in(&self, minutes: u32) -> u64 {
        self.minutes.sum(self.at, minutes, |minute| minute.created)
    }

    /// How many ended in the last so many minutes, the current one included; at most the last 60.
    #[must_use]
    pub fn ended_in(&self, minutes: u32) -> u64 {
        self.minutes.sum(self.at, minutes, |minute| minute.ended)
    }
}

/// Keeps the numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counted: Mutex<Counted>,
    // Every request adds to these: without the lock.
    calls: [CallTally; StoreCall::ALL.len()],
    conflicts: AtomicU64,
    touches: AtomicU64,
}

#[derive(Debug, Default)]
struct Counted {
    created: u64,
    logged_in: u64,
    live: u64,
    peak: u64,
    ended: [u64; EndReason::ALL.len()],
    rejected: [u64; Rejection::ALL.len()],
    lives: u64,
    /// Milliseconds: a u64 would not hold a billion lives of ten years.
    lived: u128,
    longest_life: Duration,
    listening: Duration,
    longest_listening: Duration,
    minutes: Minutes,
}

#[derive(Debug, Default)]
struct CallTally {
    calls: AtomicU64,
    failures: AtomicU64,
    abandoned: AtomicU64,
    nanos: AtomicU64,
    longest_nanos: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, event: &Event) {
        metering::count(event);
        let mut counted = self.counted.lock();
        match &event.kind {
            EventKind::Created => {
                counted.created += 1;
                counted.live += 1;
                counted.peak = counted.peak.max(counted.live);
                counted.minutes.at(event.at).created += 1;
            }
            EventKind::LoggedIn { .. } => counted.logged_in += 1,
            EventKind::Ended { reason } => {
                counted.ended[*reason as usize] += 1;
                counted.live = counted.live.saturating_sub(1);
                counted.minutes.at(event.at).ended += 1;
                if let Some(life) = event.summary.as_ref().map(|ended| life(ended, event.at)) {
                    counted.lives += 1;
                    counted.lived += life.as_millis();
                    counted.longest_life = counted.longest_life.max(life);
                    metering::lived(life);
                }
            }
            EventKind::Rejected { why } => counted.rejected[*why as usize] += 1,
            EventKind::Cycled { .. } | EventKind::Saved { .. } => {}
        }
    }

    pub(crate) fn listened(&self, took: Duration) {
        metering::listened(took);
        let mut counted = self.counted.lock();
        counted.listening += took;
        counted.longest_listening = counted.longest_listening.max(took);
    }

    pub(crate) fn conflict(&self) {
        metering::conflict();
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn touch(&self) {
        metering::touch();
        self.touches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn called(&self, call: StoreCall, took: Duration, failure: Option<&StoreError>) {
        metering::called(call, took, failure);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let tally = &self.calls[call as usize];
        tally.calls.fetch_add(1, Ordering::Relaxed);
        tally.nanos.fetch_add(nanos, Ordering::Relaxed);
        tally.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        if failure.is_some() {
            tally.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn abandoned(&self, call: StoreCall) {
        metering::abandoned(call);
        let tally = &self.calls[call as usize];
        tally.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// What a memory store holds, where it is one: (sessions, bytes).
    pub(crate) fn stats(&self, at: Timestamp, memory: Option<(usize, usize)>) -> Stats {
        let counted = self.counted.lock();
        let held = memory.map(|(sessions, _)| sessions as u64);
        let live = held.unwrap_or(counted.live);
        let mean_millis = counted.lived / u128::from(counted.lives.max(1));
        let mean_life = Duration::from_millis(u64::try_from(mean_millis).unwrap_or(u64::MAX));
        Stats {
            live,
            peak: counted.peak.max(live),
            created: counted.created,
            logged_in: counted.logged_in,
            conflicts: self.conflicts.load(Ordering::Relaxed),
            touches: self.touches.load(Ordering::Relaxed),
            mean_life: (counted.lives > 0).then_some(mean_life),
            longest_life: (counted.lives > 0).then_some(counted.longest_life),
            memory_bytes: memory.map(|(_, bytes)| bytes),
            listening: counted.listening,
            longest_listening: counted.longest_listening,
            ended: counted.ended,
            rejected: counted.rejected,
            calls: std::array::from_fn(|call| self.calls[call].stats()),
            minutes: counted.minutes.clone(),
            at,
        }
    }
}

impl CallTally {
    fn stats(&self) -> CallStats {
        let duration = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        CallStats {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            total: duration(&self.nanos),
            longest: duration(&self.longest_nanos),
        }
    }
}

/// From its creation to its end, or its deadline where that was earlier.
fn life(ended: &SessionSummary, at: Timestamp) -> Duration {
    let end = ended
        .activity()
        .expires_at
        .map_or(at, |deadline| at.min(deadline));
    end.since(ended.record().created_at())
}

/// What happened minute by minute, for an hour. A clock that goes back counts
/// into the latest minute there is.
#[derive(Clone, Debug, Default)]
struct Minutes(VecDeque<Minute>);

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: u64,
    created: u64,
    ended: u64,
}

const MINUTES: usize = 60;

fn number(at: Timestamp) -> u64 {
    at.as_millis() / 60_000
}

impl Minutes {
    fn at(&mut self, at: Timestamp) -> &mut Minute {
        let number = number(at);
        if self.0.back().is_none_or(|latest| latest.number < number) {
            if self.0.len() == MINUTES {
                self.0.pop_front();
            }
            self.0.push_back(Minute {
                number,
                ..Minute::default()
            });
        }
        self.0
            .back_mut()
            .expect("one was just pushed, if there was none")
    }

    fn sum(&self, now: Timestamp, minutes: u32, of: impl Fn(&Minute) -> u64) -> u64 {
        let since = (number(now) + 1).saturating_sub(u64::from(minutes));
        let recent = self.0.iter().filter(|minute| minute.number >= since);
        recent.map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(number: u64) -> Timestamp {
        Timestamp::from_millis(number * 60_000)
    }

    #[test]
    fn minutes_are_counted_by_themselves_and_forgotten_after_an_hour() {
        let mut minutes = Minutes::default();
        for number in 0..100 {
            minutes.at(minute(number)).created += number;
        }
        let sum = |now, over| minutes.sum(minute(now), over, |minute| minute.created);
        assert_eq!(sum(99, 1), 99);
        assert_eq!(sum(99, 3), 99 + 98 + 97);
        assert_eq!(sum(102, 4), 99);
        assert_eq!(sum(200, 60), 0);
        assert_eq!(sum(99, u32::MAX), (40..100).sum::<u64>());
    }

    #[test]
    fn a_clock_that_goes_back_counts_into_the_latest_minute() {
        let mut minutes = Minutes::default();
        minutes.at(minute(7)).ended += 1;
        minutes.at(minute(3)).ended += 1;
        assert_eq!(minutes.sum(minute(7), 1, |minute| minute.ended), 2);
    }
}
