//! What handlers hold: [`Session`].

pub(crate) mod ended;
pub(crate) mod handle;

use std::{
    borrow::Cow,
    convert::Infallible,
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    commit::{self, Occasion, upkeep},
    error::{Error, ErrorKind},
    observe::event::SessionEnd,
    record::{
        Record,
        key::{KeyName, ReadKey, WriteKey},
        timeout::Timeout,
        token::SessionId,
        value::{Json, read, write},
    },
    session::ended::ended,
    state::{Identity, State, Stored, changes::Replay, shared::Shared},
};

/// How often an update is computed again because its value changes meanwhile.
const MAX_TRIES: u32 = 1000;

/// The session of one request: what the server remembers about its visitor.
///
/// Cheap to clone; every clone is the same session. What is changed here is
/// kept when the response head leaves, whatever its status (rule C1), and not
/// at all where the request is cancelled, panics, or its service fails (rule
/// C2). Changes are merged, key by key, with those of requests that run at the
/// same time (rules M1 to M3).
///
/// A visitor without a session gets a new one. It is stored, and a cookie
/// sent, once there is something to remember: a value, or a log-in.
///
/// ```
/// use cloakroom::{Error, Session};
///
/// async fn greet(session: Session) -> Result<String, Error> {
///     let name: Option<String> = session.get("name")?;
///     Ok(format!("Hello, {}!", name.as_deref().unwrap_or("stranger")))
/// }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Shared>);

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(crate) fn stored(&self) -> Option<Stored> {
        self.0.state().stored.clone()
    }

    /// The public id; `None` until a new session has been stored.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.0.state().stored.as_ref().map(Stored::id)
    }

    /// The id that the session goes on under, once a pending [`log_in`](Self::log_in) or
    /// [`cycle_id`](Self::cycle_id) is committed. `None` where neither is pending.
    #[must_use]
    pub fn next_id(&self) -> Option<SessionId> {
        self.0.state().next_id()
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`; it stays.
    pub fn get<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        read(key.name(), self.0.view().get(key.name()))
    }

    /// Sets the value of `key`. The last writer of a key wins (rule M2).
    ///
    /// # Errors
    ///
    /// `Serialize` where the value is not JSON, `TooLarge` where the data
    /// would exceed `max_data_bytes`; the session is unchanged then.
    pub fn insert<V: Serialize>(&self, key: impl WriteKey<V>, value: V) -> Result<(), Error> {
        let value = write(key.name(), &value)?;
        self.put(key, Some(value))
    }

    /// Removes the value of `key`; whether there was one.
    pub fn remove(&self, key: impl KeyName) -> bool {
        // A key that never was here may have come meanwhile, by another request.
        let was_there = self.contains_key(key.name());
        self.put(key, None).is_ok() && was_there
    }

    /// Gets and removes the value of `key`. Two requests at once may both get
    /// it: see [`claim`](Self::claim).
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`; it stays.
    pub fn take<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        let value = read(key.name(), self.0.view().get(key.name()))?;
        if value.is_some() {
            self.put(key, None)?;
        }
        Ok(value)
    }

    /// Computes the value of `key` from the one that is there, and returns it.
    ///
    /// The closure runs again where the commit finds that another request has
    /// changed the session meanwhile: of N concurrent increments none is lost
    /// (rule M3). It must therefore depend on its argument alone, and have no
    /// other effects: one that changes its own key, or adds another update each
    /// time it runs, is given up with an error. What is returned is what this request saw; what is kept
    /// is computed from what all saw.
    ///
    /// The closure lives until it has been saved, or the request has ended
    /// without a commit. After the response head it must not capture the
    /// session, which it would keep for ever where nobody calls `save`.
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`, `Serialize` and `TooLarge`
    /// as for [`insert`](Self::insert); the session is unchanged then.
    pub fn update<T, F>(&self, key: impl ReadKey<T>, update: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        F: Fn(Option<T>) -> T + Send + Sync + 'static,
    {
        let value = self.compute(key, move |value| Ok::<_, Infallible>(Some(update(value))))?;
        let Ok(value) = value;
        Ok(value.expect("an update always gives a value"))
    }

    /// Computes the value of `key`, or refuses to. `Ok(None)` removes it.
    ///
    /// Where the closure refuses with an `E`, the session is unchanged. Where
    /// it refuses only later, on a fresher value that another request has
    /// saved meanwhile, the commit fails as a whole: the visitor gets a 503,
    /// rather than a response that says something was done which was not.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// #[derive(Debug)]
    /// struct SoldOut;
    ///
    /// fn take_seat(session: &Session) -> Result<Result<Option<u32>, SoldOut>, Error> {
    ///     session.try_update("seats", |seats: Option<u32>| match seats {
    ///         None | Some(0) => Err(SoldOut),
    ///         Some(1) => Ok(None),
    ///         Some(seats) => Ok(Some(seats - 1)),
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn try_update<T, E, F>(
        &self,
        key: impl ReadKey<T>,
        update: F,
    ) -> Result<Result<Option<T>, E>, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
        F: Fn(Option<T>) -> Result<Option<T>, E> + Send + Sync + 'static,
    {
        self.compute(key, update)
    }

    /// Gets and removes the value of `key`, committed at once: of any number
    /// of requests, in any number of processes, exactly one gets it.
    ///
    /// For what must be used once, such as a token against double submission.
    /// A pending change of `key` itself is [saved](Self::save) first.
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`; it stays. Those of the
    /// store: then the value may be gone, but nobody else has got it.
    pub async fn claim<T: DeserializeOwned>(
        &self,
        key: impl ReadKey<T>,
    ) -> Result<Option<T>, Error> {
        let name = key.into_name();
        if upkeep::is_pending(&self.0, &name) {
            self.save().await?;
        }
        if upkeep::is_pending(&self.0, &name) || self.is_new() {
            // Nobody else can see it yet.
            return self.take(name);
        }
        let check = |value: &[u8]| read(&name, Some(value));
        Ok(upkeep::claim(&self.0, &name, check).await?.flatten())
    }

    /// Whether `key` has a value.
    pub fn contains_key(&self, key: impl KeyName) -> bool {
        self.0.view().get(key.name()).is_some()
    }

    /// The names of all values, in their order as strings.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let data = self.0.view().data();
        data.iter().map(|(key, _)| key.to_owned()).collect()
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.view().data().len()
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes every value, those included that other requests insert before
    /// this one commits. The session, its user and its lifetime stay.
    pub fn clear(&self) {
        self.0.alter(|state| state.edit().0.clear());
    }

    /// Binds `user`, under a new id and secret (rules M6 to M8).
    ///
    /// Keeps the data of an anonymous visitor and of the same user; over
    /// another user's session it begins empty. Restarts the absolute lifetime
    /// (rule L5). The response carries a token that works, whatever happens to
    /// the old session meanwhile.
    ///
    /// # Errors
    ///
    /// `TooLate` where the response head is gone.
    pub fn log_in(&self, user: impl Into<String>) -> Result<(), Error> {
        let user = user.into().into_boxed_str();
        let at = self.0.config.clock.now();
        self.0.alter(|state| state.log_in(user, at))
    }

    /// Goes on under a new id and secret, with the same user and data: after
    /// a change of privileges, say. Does not extend the absolute lifetime
    /// (rule L5). A session that is not stored yet gets a new id anyway.
    ///
    /// # Errors
    ///
    /// `TooLate` where the response head is gone.
    pub fn cycle_id(&self) -> Result<(), Error> {
        self.0.state().cycle()
    }

    /// Ends the session, and takes the cookie away. What is inserted
    /// afterwards begins a new one.
    ///
    /// What ends is the session under the id that this request loaded. Where
    /// another request has moved it meanwhile, by a log-in or `cycle_id`, it
    /// goes on under its new id.
    pub fn destroy(&self) {
        self.0.alter(State::destroy);
    }

    /// The user bound by [`log_in`](Self::log_in).
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.state().user().map(str::to_owned)
    }

    /// When the user logged in.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let at = match (&state.identity, &state.stored) {
            (Identity::LogIn(log_in), _) => Some(log_in.at),
            (_, Some(stored)) => stored.record.authenticated_at(),
            (_, None) => None,
        };
        at.map(SystemTime::from)
    }

    /// When the session began; `None` until it has been stored.
    #[must_use]
    pub fn created_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let stored = state.stored.as_ref()?;
        Some(stored.record.created_at().into())
    }

    /// When it was last seen before this request, exact to the layer's
    /// `touch_after`; `None` until it has been stored.
    #[must_use]
    pub fn last_seen_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let stored = state.stored.as_ref()?;
        Some(stored.activity.last_seen_at.into())
    }

    /// When it ends if it is not seen again after this request; `None` where
    /// that is never, or the session has not been stored.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let stored = state.stored.as_ref()?;
        let mut record = Cow::Borrowed(&*stored.record);
        if let Identity::LogIn(log_in) = &state.identity {
            let start = if log_in.starts_empty {
                Record::new(*record.verifier(), record.version(), log_in.at)
            } else {
                record.into_owned().without_overrides()
            };
            record = Cow::Owned(start.with_login(Some(log_in.login())));
        }
        if let Some(changes) = &state.changes {
            record = Cow::Owned(changes.overriding(record.into_owned()));
        }
        let seen_at = state.loaded_at?.max(stored.activity.last_seen_at);
        let lifetimes = &self.0.config.lifetimes;
        lifetimes.deadline(&record, seen_at).map(SystemTime::from)
    }

    /// Its own idle timeout, kept in the record (rule L4).
    pub fn set_idle_timeout(&self, timeout: Timeout) {
        self.0.state().edit().0.set_idle(timeout);
    }

    /// Its own absolute timeout, kept in the record (rule L4).
    pub fn set_absolute_timeout(&self, timeout: Timeout) {
        self.0.state().edit().0.set_absolute(timeout);
    }

    /// Whether its cookie outlives the browser, kept in the record (rule L4).
    pub fn set_persistent(&self, persistent: bool) {
        self.0.state().edit().0.set_persistent(persistent);
    }

    /// "Remember me": persistent, with both timeouts at `duration`.
    pub fn remember_for(&self, duration: Duration) {
        let now = self.0.config.clock.now();
        self.0.state().edit().0.remember(duration, now);
    }

    /// Whether it has not been stored yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.0.state().stored.is_none()
    }

    /// Whether something is pending that makes a difference.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.0.state().is_modified()
    }

    /// Whether this request has destroyed it, and begun no other since.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.0.state().is_destroyed()
    }

    /// Commits now: for WebSockets, event streams, and long work.
    ///
    /// A pending log-in or cycle of a stored session waits for the response
    /// head, and with a log-in whatever was changed after it (rule C7).
    ///
    /// # Errors
    ///
    /// `Ended` where the session has ended elsewhere, `TooLate` for a new
    /// session when the response head is gone, `Refused` where a
    /// `try_update` refused the fresher value, and those of the store. What
    /// was not saved stays pending, but for `Ended`.
    ///
    /// `TooLate` also, once, where the request was dropped or its commit
    /// failed: what was pending then is lost, what was changed since is saved.
    pub async fn save(&self) -> Result<(), Error> {
        commit::commit_in_span(&self.0, Occasion::Save)
            .await
            .map_err(|failed| failed.error)?;
        let mut state = self.0.state();
        state.check_open()?;
        state.check_kept()
    }

    /// Says that the visitor is still here: for the same.
    ///
    /// # Errors
    ///
    /// `Ended` where the session has ended, and those of the store.
    pub async fn touch(&self) -> Result<(), Error> {
        upkeep::touch(&self.0).await
    }

    /// Resolves when the session is over: to close a WebSocket or an event
    /// stream with it. Borrows nothing, and is cheap to wait for, for hours.
    ///
    /// At once where it ends by this process: destroyed, revoked, evicted, gone
    /// on under another id by a log-in or a cycle. At its own deadline, which
    /// every [`touch`](Self::touch) and every request moves. And within
    /// [`check_ended_every`](crate::SessionLayer::check_ended_every), by asking
    /// the store, where another process has ended it. A store that fails ends nothing:
    /// it is asked again.
    ///
    /// A session that is new, or about to log in or cycle, is decided on by the
    /// response head: from then on this waits for the session that the visitor
    /// has. Where none was stored there is nothing to end, and it never resolves.
    ///
    /// It needs a tokio runtime with time. Where it is dropped, or has
    /// resolved, nothing is left of it.
    ///
    /// ```
    /// use std::{pin::pin, time::Duration};
    /// use cloakroom::{Session, SessionEnd};
    ///
    /// async fn serve(session: Session) -> SessionEnd {
    ///     let mut ended = pin!(session.ended());
    ///     let mut minutes = tokio::time::interval(Duration::from_secs(60));
    ///     loop {
    ///         tokio::select! {
    ///             end = &mut ended => return end,
    ///             // The visitor is still here, as long as the absolute limit lets him.
    ///             _ = minutes.tick() => {
    ///                 let _ = session.touch().await;
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn ended(&self) -> impl Future<Output = SessionEnd> + Send + use<> {
        let config = &self.0.config;
        config.population().watch();
        config.population().ensure_reporting(config);
        ended(Arc::clone(&self.0))
    }

    /// Reads the session again, and keeps pending changes on top.
    ///
    /// # Errors
    ///
    /// `Ended` where the session has ended, those of the store, and those of
    /// an `update` that runs again; what was here stays as it is then.
    pub async fn reload(&self) -> Result<(), Error> {
        upkeep::reload(&self.0).await
    }

    fn put(&self, key: impl KeyName, value: Option<Json>) -> Result<(), Error> {
        let max_bytes = self.0.config.max_data_bytes;
        let mut state = self.0.state();
        let (changes, base) = state.edit();
        let replaced = changes.put(base, key.into_name(), value, max_bytes)?;
        // What closures keep may use the session.
        drop(state);
        drop(replaced);
        Ok(())
    }

    fn compute<T, E, F>(
        &self,
        key: impl ReadKey<T>,
        compute: F,
    ) -> Result<Result<Option<T>, E>, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
        F: Fn(Option<T>) -> Result<Option<T>, E> + Send + Sync + 'static,
    {
        let name = key.into_name();
        let computation = Arc::new(Computation {
            compute,
            types: PhantomData,
        });
        for _ in 0..MAX_TRIES {
            let view = self.0.view();
            let computed = computation.on(&name, view.get(&name))?;
            let (value, json) = match computed {
                Ok(computed) => computed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // What it alone holds goes after the lock: closures, and what they have captured.
            let _outlived;
            let mut state = self.0.state();
            // Other keys may have changed: the closure itself may have done that.
            let is_current = state.get(&name) == view.get(&name);
            _outlived = (!view.has(state.changes.as_ref())).then_some(view);
            // Another clone of this session was faster: once more.
            if is_current {
                let max_bytes = self.0.config.max_data_bytes;
                let (changes, base) = state.edit();
                // Where it is refused, it is dropped after the lock.
                let again = Arc::clone(&computation);
                changes.compute(base, name, again, json, max_bytes)?;
                return Ok(Ok(value));
            }
        }
        let itself = format!("changes `{name}`, its own key, each time it runs");
        Err(Error::endless(&itself))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// An `update` or `try_update`, to be run again.
struct Computation<F, T, E> {
    compute: F,
    types: PhantomData<fn(T) -> E>,
}

impl<F, T, E> Computation<F, T, E>
where
    T: Serialize + DeserializeOwned,
    F: Fn(Option<T>) -> Result<Option<T>, E>,
{
    #[allow(clippy::type_complexity)]
    fn on(
        &self,
        key: &str,
        current: Option<&[u8]>,
    ) -> Result<Result<(Option<T>, Option<Json>), E>, Error> {
        match (self.compute)(read(key, current)?) {
            Err(refusal) => Ok(Err(refusal)),
            Ok(None) => Ok(Ok((None, None))),
            Ok(Some(value)) => {
                let json = write(key, &value)?;
                Ok(Ok((Some(value), Some(json))))
            }
        }
    }
}

impl<F, T, E> Replay for Computation<F, T, E>
where
    T: Serialize + DeserializeOwned,
    F: Fn(Option<T>) -> Result<Option<T>, E> + Send + Sync,
{
    fn run(&self, key: &str, current: Option<&[u8]>) -> Result<Option<Json>, Error> {
        match self.on(key, current)? {
            Ok((_, json)) => Ok(json),
            Err(_) => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "another request has changed `{key}`, and the update refused the fresher value"
                ),
            )),
        }
    }
}
