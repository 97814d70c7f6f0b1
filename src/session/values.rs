//! Reading and changing the values of a [`Session`].

use std::{convert::Infallible, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    commit::upkeep,
    error::Error,
    record::{
        key::{KeyName, ReadKey, WriteKey},
        value::{Json, read, write},
    },
    session::{Session, update::Computation},
};

/// How often an update is computed again because its value changes meanwhile.
const MAX_TRIES: u32 = 1000;

/// # Values
impl Session {
    /// Reads the value of `key`, or `None` where there is none.
    ///
    /// Pending changes of this request are seen.
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`; it stays.
    pub fn get<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        read(key.name(), self.0.view().get(key.name()))
    }

    /// Sets the value of `key`, in place of the one that is there.
    ///
    /// If several requests insert the same key, the last one that commits wins. To compute a value from the
    /// former one, use [`update`](Self::update).
    ///
    /// A value that is put back as it was is no change: no write, no cookie. Values are compared as JSON, so
    /// the order of an object's members makes no difference, that of a `HashMap` say. The order of an array
    /// does: prefer a `BTreeSet` to a `HashSet`. Numbers are compared as they are written: `1` is not `1.0`.
    ///
    /// # Errors
    ///
    /// `Serialize` where the value has no JSON text: a number that is NaN or infinite, wherever in the value
    /// it stands, or a map whose keys are no strings. `TooLarge` where the data would exceed
    /// [`max_data_bytes`](crate::SessionLayer::max_data_bytes), 64 KiB by default. The session is unchanged
    /// then.
    pub fn insert<V: Serialize>(&self, key: impl WriteKey<V>, value: V) -> Result<(), Error> {
        let value = write(key.name(), &value)?;
        self.put(key, Some(value))
    }

    /// Removes the value of `key`. Returns whether this request saw one.
    pub fn remove(&self, key: impl KeyName) -> bool {
        // A key that never was here may have come meanwhile, by another request.
        let was_there = self.contains_key(key.name());
        self.put(key, None).is_ok() && was_there
    }

    /// Reads and removes the value of `key`: for a message that is shown once, say.
    ///
    /// Two requests at the same time may both get it. Where exactly one must, use [`claim`](Self::claim).
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
    /// The closure runs at once. It runs again, at the commit, if another request has changed the session
    /// meanwhile: of any number of concurrent increments none is lost. Returned is what this request saw;
    /// saved is what the closure makes of the latest value. The closure must therefore depend on its
    /// argument alone and have no other effects. One that changes its own key, or that adds another update
    /// each time it runs, is given up with an error.
    ///
    /// The closure is kept until it has been saved, or until the request has ended. After the response head
    /// it must not hold the session: if nobody calls [`save`](Self::save), neither is ever dropped.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn add_point(session: &Session) -> Result<u32, Error> {
    ///     session.update("points", |points: Option<u32>| points.unwrap_or(0) + 1)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`; `Serialize` and `TooLarge` as for
    /// [`insert`](Self::insert). The session is unchanged then. (Rule M3.)
    pub fn update<T, F>(&self, key: impl ReadKey<T>, update: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        F: Fn(Option<T>) -> T + Send + Sync + 'static,
    {
        let value = self.compute(key, move |value| Ok::<_, Infallible>(Some(update(value))))?;
        let Ok(value) = value;
        Ok(value.expect("an update always gives a value"))
    }

    /// Computes the value of `key` as [`update`](Self::update) does, or refuses to. `Ok(None)` removes it.
    ///
    /// Where the closure returns `Err`, the session is unchanged, and the error is returned. Where it does so
    /// only at the commit, on a value that another request has saved meanwhile, the whole commit fails: the
    /// visitor gets a 503, rather than a response that says something was done which was not.
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

    /// Reads and removes the value of `key`, saved at once: of any number of requests, in any number of
    /// processes, exactly one gets it.
    ///
    /// Use it for what must be used once, such as a voucher or a token against double submission. It makes
    /// a write of its own. A pending change of the same key is [saved](Self::save) first.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// async fn may_submit(session: &Session, token: &str) -> Result<bool, Error> {
    ///     Ok(session.claim::<String>("form").await?.as_deref() == Some(token))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Deserialize` where the value is not a `T`; it stays. Those of the store: the value may be gone
    /// then, but nobody else has got it.
    pub async fn claim<T: DeserializeOwned>(
        &self,
        key: impl ReadKey<T>,
    ) -> Result<Option<T>, Error> {
        let name = key.into_name();
        if upkeep::is_pending(&self.0, &name) {
            self.save().await?;
        }
        let is_pending = upkeep::is_pending(&self.0, &name);
        let is_stored = self.0.view().is_stored(&name);
        if self.is_new() || (is_pending && !is_stored) {
            // Nobody else can see it yet.
            return self.take(name);
        }
        if is_pending {
            // What waits for the response head is this request's only if what it was made of is.
            let taken = self.take::<T>(&*name)?;
            let claimed = upkeep::claim(&self.0, &name, |_| Ok(())).await?;
            return Ok(taken.filter(|_| claimed.is_some()));
        }
        let check = |value: &[u8]| read(&name, Some(value));
        Ok(upkeep::claim(&self.0, &name, check).await?.flatten())
    }

    /// Whether `key` has a value.
    pub fn contains_key(&self, key: impl KeyName) -> bool {
        self.0.view().get(key.name()).is_some()
    }

    /// The keys of all values, sorted.
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

    /// Removes all values. The session, its user and its timeouts stay; to end it, use
    /// [`destroy`](Self::destroy).
    ///
    /// Values that other requests insert before this one commits are removed too.
    pub fn clear(&self) {
        self.0.alter(|state| state.edit().0.clear());
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
        let computation = Arc::new(Computation::new(compute));
        for _ in 0..MAX_TRIES {
            let view = self.0.view();
            let current = view.get(&name);
            let former = current.map(<[u8]>::len);
            let computed = computation.on(&name, current)?;
            let (value, json) = match computed {
                Ok(computed) => computed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // What it alone holds goes after the lock: closures, and what they have captured.
            let _outlived;
            let mut state = self.0.state();
            // Other keys may have changed: the closure itself may have done that.
            let is_current = view.is_of(&state) || state.get(&name) == current;
            _outlived = (!view.has(state.changes.as_ref())).then_some(view);
            // Another clone of this session was faster: once more.
            if is_current {
                let max_bytes = self.0.config.max_data_bytes;
                // Where it is refused, it is dropped after the lock.
                let again = Arc::clone(&computation);
                let (changes, _) = state.edit();
                changes.compute(name, former, again, json, max_bytes)?;
                return Ok(Ok(value));
            }
        }
        let itself = format!("changes `{name}`, its own key, each time it runs");
        Err(Error::endless(&itself))
    }
}
