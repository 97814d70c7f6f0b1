//! What the parts of one request share: [`Shared`], the [`State`] behind its one lock.

use std::{fmt, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Span, field};

use crate::{
    config::Config,
    cookie::CookieHeaders,
    error::Error,
    record::{Kept, token::SessionId},
    state::{State, Stored, view::View},
};

/// How often changes are computed again because there are more of them each time.
const MAX_ROUNDS: u32 = 100;

/// What the handle, every clone of the session and the response future share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) cookies: CookieHeaders,
    /// The session of a layer around this one, under another cookie name.
    pub(crate) outer: Option<Arc<Self>>,
    /// Held by whoever waits for the store for this request, so that loads,
    /// saves and the commit follow one another. It guards no data.
    gate: Semaphore,
    // Never held across an await, nor while a closure or a `Serialize` runs, or what a closure keeps is dropped.
    state: Mutex<State>,
}

pub(crate) type Gate<'a> = SemaphorePermit<'a>;

/// The gate, held beyond a borrow of what it belongs to.
pub(crate) struct HeldGate(Arc<Shared>);

impl Drop for HeldGate {
    fn drop(&mut self) {
        self.0.gate.add_permits(1);
    }
}

impl Shared {
    pub(crate) fn new(
        config: Arc<Config>,
        cookies: CookieHeaders,
        outer: Option<Arc<Self>>,
    ) -> Self {
        Self {
            config,
            cookies,
            outer,
            gate: Semaphore::const_new(1),
            state: Mutex::default(),
        }
    }

    /// Whether a layer with a cookie of this name is around the request already.
    pub(crate) fn is_within(&self, cookie_name: &str) -> bool {
        let outer = self.outer.as_ref();
        self.config.cookie.name() == cookie_name
            || outer.is_some_and(|outer| outer.is_within(cookie_name))
    }

    /// Waits until nobody else talks to the store for this request.
    pub(crate) async fn enter(&self) -> Gate<'_> {
        match self.try_enter() {
            Some(gate) => gate,
            // Boxed, because the future that waits is large and rarely needed.
            None => Box::pin(self.gate.acquire())
                .await
                .expect("nobody closes it"),
        }
    }

    pub(crate) fn try_enter(&self) -> Option<Gate<'_>> {
        self.gate.try_acquire().ok()
    }

    /// For a commit that goes on in another future.
    #[cold]
    pub(crate) fn hold(self: &Arc<Self>, gate: Gate<'_>) -> HeldGate {
        gate.forget();
        HeldGate(Arc::clone(self))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Gives a span the id it is about; whether there is one.
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

    /// For whatever may let go of changes: what their closures keep is dropped
    /// after the lock, because it may use the session.
    pub(crate) fn alter<T>(&self, alter: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let former = state.changes.clone();
        let altered = alter(&mut state);
        drop(state);
        drop(former);
        altered
    }

    /// The request has ended before its commit has (rule C2).
    pub(crate) fn abandon(&self) {
        let waiters = &self.config.store.observers.waiters;
        self.alter(|state| {
            state.abandon();
            state.decide(waiters);
        });
    }

    /// A look at the values that needs no lock.
    pub(crate) fn view(&self) -> View {
        self.state().view()
    }

    /// Puts `latest` under the pending changes, after computing them again on it.
    ///
    /// Where the handler has destroyed the session `id` meanwhile, they belong to another.
    ///
    /// # Errors
    ///
    /// What a closure reports, and where it never comes to an end.
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
            // Meanwhile there may be more: a closure itself may have inserted something.
            let is_complete = match &mut state.changes {
                Some(changes) => Arc::make_mut(changes).take_results(&rebased, data),
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

/// Changes made after the response had left and never saved are lost: say so, once (rule C6).
impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.is_committed && !state.is_displaced && state.is_modified() {
            let ours = state.stored.as_ref().or(state.destroyed.as_deref());
            let id = ours.map(Stored::id);
            let id = id.map(|id| id.to_string());
            tracing::warn!(
                session.id = id.as_deref().unwrap_or("new"),
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
