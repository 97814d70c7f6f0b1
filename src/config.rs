//! The layer's settings, shared by every request: [`Config`].

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    clock::{Clock, SystemClock},
    cookie::SessionCookie,
    observe::{population::Population, timed::TimedStore},
    queue::Queues,
    record::{lifetime::Lifetimes, token::SessionId},
    store::DynStore,
};

/// How many abandoned commits are undone at the same time. In an outage each of them waits for the
/// store, and for a connection to it.
const MAX_UNDOING: usize = 64;

/// The layer's settings, shared by every request.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) store: TimedStore,
    pub(crate) cookie: SessionCookie,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) max_data_bytes: usize,
    pub(crate) renew_every: Option<Duration>,
    pub(crate) check_ended_every: Duration,
    pub(crate) max_sessions_per_user: Option<usize>,
    pub(crate) store_timeout: Duration,
    pub(crate) cache_headers: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where commits of one session wait for one another, once they have conflicted.
    pub(crate) queues: Arc<Queues<SessionId>>,
    /// Permits for the tasks that undo what an abandoned commit has begun.
    pub(crate) taking_back: Arc<Semaphore>,
    pub(crate) reap_every: Option<Duration>,
}

impl Config {
    /// Keeps sessions in `store`. Everything else has its default.
    pub(crate) fn new(store: DynStore) -> Self {
        Self {
            store: TimedStore {
                store,
                population: Arc::new(Population::new(Vec::new())),
            },
            cookie: SessionCookie::default(),
            lifetimes: Lifetimes::default(),
            max_data_bytes: 64 * 1024,
            renew_every: None,
            check_ended_every: Duration::from_secs(30),
            max_sessions_per_user: None,
            store_timeout: Duration::from_secs(5),
            cache_headers: true,
            clock: Arc::new(SystemClock),
            queues: Arc::default(),
            taking_back: Arc::new(Semaphore::new(MAX_UNDOING)),
            reap_every: Some(Duration::from_secs(60)),
        }
    }

    /// Whoever wants to know what happens.
    pub(crate) fn population(&self) -> &Arc<Population> {
        &self.store.population
    }
}
