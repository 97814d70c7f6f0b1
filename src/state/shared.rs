//! What the parts of one request share: [`Shared`], with the [`State`] behind its one lock.

use std::{
    fmt,
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tracing::{Span, field};

use crate::{
    config::Config,
    cookie::{TokenHeaders, Transport, TransportIndex},
    error::Error,
    record::{Kept, token::SessionId},
    state::{
        State, Stored, Strong,
        gate::Gate,
        view::{Value, View},
    },
};

pub(crate) use crate::state::gate::Pass;

/// How often changes are computed again if a closure adds more of them each time.
const MAX_ROUNDS: u32 = 100;

/// What the handle, every clone of the session and the response future share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) token_headers: TokenHeaders,
    /// The session of an outer layer with another cookie name.
    pub(crate) outer: Option<Strong<Self>>,
    gate: Gate,
    /// Whether the state has the result of a load. Most requests ask before there is one, and need no lock for that.
    is_loaded: AtomicBool,
    // Never held across an await, nor while a closure or a `Serialize` runs, nor while a closure is dropped.
    state: Mutex<State>,
}

/// The pass of a commit that goes on in another future.
pub(crate) struct HeldPass(Option<Strong<Shared>>);

impl HeldPass {
    /// The same pass, in that future. `shared` must be the one that it was held for.
    pub(crate) fn resume(mut self, shared: &Shared) -> Pass<'_> {
        self.0 = None;
        shared.gate.resume()
    }
}

impl Drop for HeldPass {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.gate.leave();
        }
    }
}

impl Shared {
    pub(crate) fn new(
        config: Arc<Config>,
        token_headers: TokenHeaders,
        outer: Option<Strong<Self>>,
    ) -> Self {
        Self {
            config,
            token_headers,
            outer,
            gate: Gate::default(),
            is_loaded: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The transport of a token that is issued to this request.
    ///
    /// It is the transport of the request's own token, or the chosen one if there is none. A request with a session
    /// cookie always gets a cookie: a script could read a header, which would undo `HttpOnly` (rule T9). The same holds for
    /// another library's cookie (rule I10).
    #[inline]
    pub(crate) fn transport(&self, state: &State) -> TransportIndex {
        if self.config.transports.is_cookie_only() {
            TransportIndex::default()
        } else {
            self.transport_of_several(state)
        }
    }

    #[cold]
    fn transport_of_several(&self, state: &State) -> TransportIndex {
        let transports = &self.config.transports;
        let cookie = transports.index_of(&Transport::Cookie);
        let has_cookie = || {
            let is_old = || !self.config.old_tokens(&self.token_headers).is_empty();
            self.config.cookie.is_in(&self.token_headers)
                || state.presented_by.is_none() && is_old()
        };
        let begun = || {
            let begun = state.stored.as_ref().filter(|_| state.keeps_id())?;
            transports.index_of_record(&begun.record)
        };
        match cookie {
            Some(cookie) if has_cookie() => cookie,
            _ => state
                .presented_by
                .or_else(begun)
                .unwrap_or(state.chosen_transport),
        }
    }

    /// Whether this layer or an outer one has a cookie of this name.
    pub(crate) fn is_within(&self, cookie_name: &str) -> bool {
        let outer = self.outer.as_ref();
        self.config.cookie.name() == cookie_name
            || outer.is_some_and(|outer| outer.is_within(cookie_name))
    }

    /// Waits until no other store call of this request is running.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        match self.try_enter() {
            Some(pass) => pass,
            // Boxed, because the future that waits is large and rarely needed.
            None => Box::pin(self.gate.enter()).await,
        }
    }

    pub(crate) fn try_enter(&self) -> Option<Pass<'_>> {
        self.gate.try_enter()
    }

    /// Holds the gate for a commit that continues in another future.
    #[cold]
    pub(crate) fn hold(shared: &Strong<Self>, pass: Pass<'_>) -> HeldPass {
        // Its drop would open the gate.
        let _ = ManuallyDrop::new(pass);
        HeldPass(Some(Strong::clone(shared)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Records the session's id in a span. Returns whether there is one.
    pub(crate) fn name(&self, span: &Span) -> bool {
        if span.is_disabled() {
            return false;
        }
        let state = self.state();
        let ours = state.stored.as_ref().or(state.destroyed.as_deref());
        let id = ours.map(Stored::id);
        drop(state);
        if let Some(id) = id {
            span.record("session.id", field::display(id));
        }
        id.is_some()
    }

    /// Changes the state. Closures that this removes are dropped after the lock, because they may hold values
    /// whose `Drop` uses the session.
    pub(crate) fn alter<T>(&self, alter: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        // There is something if an earlier `alter` has panicked.
        let left = state.removed.take();
        let altered = alter(&mut state);
        let removed = state.removed.take();
        drop(state);
        drop((left, removed));
        altered
    }

    /// Whether the state has the result of a load.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// Call it when the state has the result of a load.
    pub(crate) fn note_load(&self) {
        self.is_loaded.store(true, Ordering::Release);
    }

    /// Drops the pending changes, because the request has ended before its commit (rule C2).
    pub(crate) fn abandon(&self) {
        let waiters = &self.config.store.observers.waiters;
        self.alter(|state| {
            state.abandon();
            state.decide(waiters);
        });
    }

    /// The current values, to read without the lock.
    pub(crate) fn view(&self) -> View {
        self.state().view()
    }

    /// The current value of `key`, to read without the lock.
    pub(crate) fn value(&self, key: &str) -> Value {
        self.state().value(key)
    }

    /// Computes the pending changes again on `latest`, and keeps it as the stored record.
    ///
    /// Does nothing if the handler has destroyed the session `id` meanwhile.
    ///
    /// # Errors
    ///
    /// A closure's error, or `Other` if a closure keeps adding changes.
    pub(crate) fn rebase(&self, id: SessionId, latest: &Kept) -> Result<(), Error> {
        let data = latest.0.data();
        for _ in 0..MAX_ROUNDS {
            let changes = {
                let state = self.state();
                if !state.is_on(id) {
                    return Ok(());
                }
                state.changes.clone()
            };
            let mut rebased = changes.as_deref().cloned().unwrap_or_default();
            drop(changes);
            rebased.rebase(data, self.config.max_data_bytes)?;
            let mut state = self.state();
            if !state.is_on(id) {
                return Ok(());
            }
            // There may be more changes now: a closure itself may have inserted a value.
            let is_complete = match &mut state.changes {
                Some(changes) => Strong::make_mut(changes).take_results(&rebased, data),
                None => true,
            };
            if is_complete {
                state.is_stale = false;
                if let Some(stored) = &mut state.stored {
                    (stored.record, stored.activity) = latest.clone();
                }
                return Ok(());
            }
        }
        Err(Error::endless(
            "of an `update` adds another each time it runs",
        ))
    }
}

/// Logs a warning if changes after the response head were never saved (rule C6).
impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.is_committed
            && !state.is_displaced
            && state.is_modified()
            && let Some(suppressed) = self.config.failures.not_saved.admit()
        {
            let ours = state.stored.as_ref().or(state.destroyed.as_deref());
            let id = ours.map(Stored::id);
            let id = id.map(|id| id.to_string());
            tracing::warn!(
                session.id = id.as_deref().unwrap_or("new"),
                suppressed,
                "changes made after the response head were never saved: call `save`"
            );
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Session")
            .field("id", &state.stored.as_ref().map(Stored::id))
            .field("usage", &state.usage)
            .finish_non_exhaustive()
    }
}
