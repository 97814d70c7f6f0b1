//! How many sessions the store has, counted for all viewers together: [`Counts`].

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use cloakroom::{Error, ErrorKind, SessionFilter, Sessions};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{filter::ListParams, sample::TICK};

/// A count is repeated after this many times as long as it took, so that counting is a small part of the store's work.
const REST: u32 = 50;

/// A count is repeated after this time, however long it took.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The pause after a count that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How many filters are remembered.
const MAX_FILTERS: usize = 64;

/// How many sessions match, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// The last count that succeeded.
    pub(crate) latest: Option<Count>,
    /// Why the count after it failed, and when.
    pub(crate) failure: Option<(SystemTime, Error)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) at: SystemTime,
    pub(crate) records: u64,
    /// Whether there are no more.
    pub(crate) is_exact: bool,
}

/// The counts by filter. Viewers who ask for the same count at the same time share one call of the store.
pub(crate) struct Counts {
    sessions: Sessions,
    known: Mutex<HashMap<Conditions, Slot>>,
}

/// The conditions of a filter. If all are empty, the whole store is counted.
type Conditions = [String; 4];

#[derive(Clone)]
struct Slot {
    asked: Instant,
    state: Arc<watch::Sender<State>>,
}

#[derive(Default)]
struct State {
    counted: Counted,
    is_counting: bool,
    /// When it may be counted again.
    due: Option<Instant>,
    /// Sessions have ended since the count that is running began.
    is_outdated: bool,
}

impl Counts {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            known: Mutex::default(),
        }
    }

    /// How many sessions the whole store has. Waits for at most `patience` for a count that is running.
    pub(crate) async fn all(&self, patience: Duration) -> Counted {
        let all = (ListParams::default(), SessionFilter::default());
        self.matching(&all.0, all.1, patience).await
    }

    /// How many sessions match `filter`, which `params` describe.
    pub(crate) async fn matching(
        &self,
        params: &ListParams,
        filter: SessionFilter,
        patience: Duration,
    ) -> Counted {
        let state = self.slot(params.conditions());
        let begins = state.send_if_modified(|state| {
            let is_due = state.due.is_none_or(|due| due <= Instant::now());
            let begins = is_due && !state.is_counting;
            state.is_counting |= begins;
            begins
        });
        let mut counted = state.subscribe();
        if begins {
            let counting = Counting(state);
            let sessions = self.sessions.clone();
            tokio::spawn(async move { counting.count(&sessions, &filter).await });
        }
        let _ = timeout(patience, counted.wait_for(|state| !state.is_counting)).await;
        counted.borrow().counted.clone()
    }

    fn slot(&self, conditions: Conditions) -> Arc<watch::Sender<State>> {
        let mut known = self.known.lock();
        let now = Instant::now();
        if known.len() >= MAX_FILTERS && !known.contains_key(&conditions) {
            let oldest = known.iter().min_by_key(|(_, slot)| slot.asked);
            if let Some(oldest) = oldest.map(|(conditions, _)| conditions.clone()) {
                known.remove(&oldest);
            }
        }
        let slot = known.entry(conditions).or_insert_with(|| Slot {
            asked: now,
            state: Arc::default(),
        });
        slot.asked = now;
        Arc::clone(&slot.state)
    }

    /// Sessions have ended: what was counted before is old, and who asks next counts again.
    pub(crate) fn outdate(&self) {
        for slot in self.known.lock().values() {
            slot.state.send_modify(|state| {
                state.due = None;
                state.is_outdated = state.is_counting;
            });
        }
    }
}

/// A count that is running. If it panics, the next viewer counts again.
struct Counting(Arc<watch::Sender<State>>);

impl Counting {
    async fn count(self, sessions: &Sessions, filter: &SessionFilter) {
        let began = Instant::now();
        let counted = count(sessions, filter).await;
        let (took, at) = (began.elapsed(), SystemTime::now());
        self.0.send_modify(|state| {
            let rest = match counted {
                Ok((records, is_exact)) => {
                    let latest = Some(Count {
                        at,
                        records,
                        is_exact,
                    });
                    state.counted = Counted {
                        latest,
                        failure: None,
                    };
                    (took * REST).clamp(TICK, MAX_AGE)
                }
                Err(error) => {
                    let is_final = error.kind() == ErrorKind::Unsupported;
                    state.counted.failure = Some((at, error));
                    if is_final { MAX_AGE } else { AFTER_FAILURE }
                }
            };
            let is_outdated = std::mem::take(&mut state.is_outdated);
            state.due = (!is_outdated).then(|| Instant::now() + rest);
        });
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.is_counting = false);
    }
}

async fn count(sessions: &Sessions, filter: &SessionFilter) -> Result<(u64, bool), Error> {
    if filter.is_everything() {
        return Ok((sessions.count().await?, true));
    }
    let count = sessions.count_matching(filter).await?;
    Ok((count.sessions, count.is_exact))
}
