//! The layer's store with its calls timed, and refused while the store is down: [`TimedStore`].

use std::{sync::Arc, time::Duration};

// Without a runtime this is the standard library's; in tests it can be paused.
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    breaker::{Breaker, CircuitBreaker},
    clock::{Clock, Timestamp},
    error::store::{StoreError, StoreErrorKind},
    observe::{
        event::{Event, EventKind},
        observers::Observers,
    },
    record::{Activity, Kept, Record, token::SessionId},
    store::{
        Created, DynStore, Former, MemoryInner, Position, Query, Reaped, SessionStore, StoreCall,
        StorePage, Touched, Updated,
    },
};

/// Passes each call on to the store. Counts and times it if anybody observes.
#[derive(Clone)]
pub(crate) struct TimedStore {
    pub(crate) store: DynStore,
    pub(crate) observers: Arc<Observers>,
    /// `None` for a store in memory: there is nothing that could be down.
    circuit: Option<Arc<Circuit>>,
}

/// The circuit between the layer and its store.
struct Circuit {
    breaker: Breaker,
    /// A call that is dropped after so long without a reply has failed.
    patience: Duration,
    clock: Arc<dyn Clock>,
}

impl TimedStore {
    pub(crate) fn new(store: DynStore, observers: Arc<Observers>) -> Self {
        Self {
            store,
            observers,
            circuit: None,
        }
    }

    /// Sets when calls are refused. Without `settings`, no call is refused. `timeout` is how long a request waits for the
    /// store.
    pub(crate) fn break_circuit(
        &mut self,
        settings: Option<CircuitBreaker>,
        timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) {
        let settings = settings.filter(|_| !self.answers_at_once());
        self.circuit = settings.map(|settings| {
            Arc::new(Circuit {
                breaker: Breaker::new(settings),
                patience: timeout / 2,
                clock: Arc::clone(clock),
            })
        });
    }

    pub(crate) fn is_circuit_open(&self) -> bool {
        let circuit = self.circuit.as_ref();
        circuit.is_some_and(|circuit| circuit.breaker.is_open())
    }

    fn started(&self, call: StoreCall) -> Started<'_> {
        let is_observed = self.observers.is_active();
        let is_timed = is_observed || self.circuit.is_some();
        Started {
            store: self,
            call,
            is_observed,
            at: is_timed.then(Instant::now),
        }
    }

    /// # Errors
    ///
    /// If the circuit is open.
    fn start(&self, call: StoreCall) -> Result<Started<'_>, StoreError> {
        let mut started = self.started(call);
        match (&self.circuit, started.at) {
            (Some(circuit), Some(now)) if !circuit.breaker.admits(now) => {
                started.at = None;
                if started.is_observed {
                    self.observers.counters.on_refused_call(call);
                }
                let source = "the circuit breaker is open: too many calls in a row have failed";
                Err(StoreError::new(StoreErrorKind::Unavailable, source).not_applied())
            }
            _ => Ok(started),
        }
    }

    pub(crate) fn answers_at_once(&self) -> bool {
        self.store.in_memory().is_some()
    }

    /// Whether `load` may answer from a cache.
    pub(crate) fn is_cached(&self) -> bool {
        self.store.is_cached()
    }

    /// The reply of a store in memory. `None` for any other store.
    pub(crate) fn at_once<T>(
        &self,
        call: StoreCall,
        ask: impl FnOnce(&MemoryInner) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        let inner = self.store.in_memory()?;
        if !self.observers.is_active() {
            return Some(ask(inner));
        }
        let started = self.started(call);
        let reply = ask(inner);
        started.answered(reply.as_ref().err());
        Some(reply)
    }

    pub(crate) async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let started = self.start(StoreCall::Create)?;
        let reply = self.store.create(id, record, activity).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let started = self.start(StoreCall::Load)?;
        let reply = self.store.load(id).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let started = self.start(StoreCall::LoadLatest)?;
        let reply = self.store.load_latest(id).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        let started = self.start(StoreCall::Update)?;
        let reply = self.store.update(id, record, activity, former).await;
        if started.answered(reply.as_ref().err()) && matches!(reply, Ok(Updated::Conflict)) {
            self.observers.counters.on_conflict();
        }
        reply
    }

    pub(crate) async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let started = self.start(StoreCall::Touch)?;
        let reply = self.store.touch(id, former, activity).await;
        if started.answered(reply.as_ref().err()) && matches!(reply, Ok(Touched::Yes)) {
            self.observers.counters.on_touch();
        }
        reply
    }

    pub(crate) async fn delete_expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Reaped, StoreError> {
        let started = self.start(StoreCall::DeleteExpired)?;
        let reply = self.store.delete_expired(before, limit).await;
        if started.answered(reply.as_ref().err()) {
            self.observers.counters.on_memory();
        }
        reply
    }

    pub(crate) async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let started = self.start(StoreCall::List)?;
        let reply = self.store.list(query, after, limit).await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let started = self.start(StoreCall::Ping)?;
        let reply = self.store.ping().await;
        started.answered(reply.as_ref().err());
        reply
    }

    pub(crate) async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let started = self.start(StoreCall::Count)?;
        let reply = self.store.count(query).await;
        started.answered(reply.as_ref().err());
        reply
    }
}

/// A call that is under way.
struct Started<'a> {
    store: &'a TimedStore,
    call: StoreCall,
    is_observed: bool,
    /// `None` if nobody asks how long it takes, and once it has ended.
    at: Option<Instant>,
}

impl Started<'_> {
    /// Counts the call. Returns whether anybody observes.
    fn answered(mut self, failure: Option<&StoreError>) -> bool {
        if let Some(at) = self.at.take() {
            if self.is_observed {
                let counters = &self.store.observers.counters;
                counters.on_call(self.call, at.elapsed(), failure);
            }
            if let Some(circuit) = &self.store.circuit {
                let has_failed = failure.is_some_and(StoreError::is_of_store);
                circuit.ended(has_failed, &self.store.observers);
            }
        }
        self.is_observed
    }
}

/// A call that is dropped before its reply counts as abandoned.
impl Drop for Started<'_> {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        if self.is_observed {
            self.store.observers.counters.on_abandoned_call(self.call);
        }
        // If a client gives up early, the store may still work.
        if let Some(circuit) = &self.store.circuit
            && at.elapsed() >= circuit.patience
        {
            circuit.ended(true, &self.store.observers);
        }
    }
}

impl Circuit {
    fn ended(&self, has_failed: bool, observers: &Observers) {
        let kind = if has_failed {
            if !self.breaker.failed(Instant::now()) {
                return;
            }
            warn!(
                "the session store is down: requests that need it fail at once, and one at a time probes it"
            );
            EventKind::CircuitOpened
        } else {
            if !self.breaker.succeeded() {
                return;
            }
            info!("the session store is back");
            EventKind::CircuitClosed
        };
        observers.counters.on_circuit(has_failed);
        observers.notify_with(|| Event::of_store(self.clock.now(), kind));
    }
}
