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
    state::State,
};

/// How often an update is computed again if a clone of the session changes its value meanwhile.
const MAX_TRIES: u32 = 1000;

/// # Values
impl Session {
    /// Reads the value of `key`. `None` if there is none.
    ///
    /// It sees the pending changes of this request.
    ///
    /// `T` is any type that serde can read; `serde_json::Value` reads every value. A `null` is a value too: it reads
    /// as `Some(Value::Null)` for a `Value` and as `Some(None)` for an `Option<T>`. Other types return a
    /// `Deserialize` error.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn clear_nickname(session: &Session) -> Result<(), Error> {
    ///     session.insert("nickname", None::<String>)?;
    ///     assert_eq!(session.get::<Option<String>>("nickname")?, Some(None));
    ///     assert!(session.get::<String>("nickname").is_err());
    ///     session.remove("nickname");
    ///     assert_eq!(session.get::<String>("nickname")?, None);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Deserialize` if the value is not a `T`. The value stays.
    pub fn get<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        read(key.name(), self.0.value(key.name()).get(key.name()))
    }

    /// Sets the value of `key`, and replaces the former one.
    ///
    /// If several requests insert the same key, the last one that commits wins. To compute a value from the
    /// former one, use [`update`](Self::update).
    ///
    /// Inserting the value that is already there is not a change: it causes no write and no cookie. Values
    /// are compared as JSON, so the order of a map's entries makes no difference. The order of a list does:
    /// use a `BTreeSet` rather than a `HashSet`. Numbers are compared as text: `1` is not `1.0`.
    ///
    /// # Errors
    ///
    /// `Serialize` if the value cannot be written as JSON: it has a number that is NaN or infinite, or a map
    /// whose keys are not strings. `TooLarge` if the session's data would exceed
    /// [`max_data_bytes`](crate::SessionLayer::max_data_bytes), 64 KiB by default. After an error the session
    /// is unchanged.
    pub fn insert<V: Serialize>(&self, key: impl WriteKey<V>, value: V) -> Result<(), Error> {
        let value = write(key.name(), &value)?;
        self.put(key, Some(value))
    }

    /// Removes the value of `key`. Returns whether this request saw a value.
    ///
    /// If another request inserts the key at the same time, the last one that commits wins.
    pub fn remove(&self, key: impl KeyName) -> bool {
        // Removed even if it is not here: another request may have inserted it meanwhile.
        let was_there = self.contains_key(key.name());
        self.put(key, None).is_ok() && was_there
    }

    /// Reads and removes the value of `key`.
    ///
    /// Two requests at the same time may both get it. If exactly one may, use [`claim`](Self::claim).
    ///
    /// # Errors
    ///
    /// `Deserialize` if the value is not a `T`. The value stays.
    pub fn take<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        let value = read(key.name(), self.0.value(key.name()).get(key.name()))?;
        if value.is_some() {
            self.put(key, None)?;
        }
        Ok(value)
    }

    /// Computes the value of `key` from its current value, and returns the result.
    ///
    /// The closure runs at once. If another request changes the session meanwhile, it runs again at the
    /// commit, on the latest value, and that result is saved. So no concurrent increment is lost. This
    /// method returns the first result.
    ///
    /// The closure must depend on its argument alone and have no other effects. If it changes its own key,
    /// or adds another update each time it runs, the call returns an error.
    ///
    /// The closure is dropped when its result is saved, or when the request ends. After the response head, do not
    /// pass a closure that holds the session: without a [`save`](Self::save) neither of them is ever dropped.
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
    /// `Deserialize` if the value is not a `T`. `Serialize` and `TooLarge` as for
    /// [`insert`](Self::insert). `Other` if the closure keeps changing the session. After an error the
    /// session is unchanged. ([Rule](crate#rules) M3.)
    pub fn update<T, F>(&self, key: impl ReadKey<T>, update: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
        F: Fn(Option<T>) -> T + Send + Sync + 'static,
    {
        let value = self.compute(key, move |value| Ok::<_, Infallible>(Some(update(value))))?;
        let Ok(value) = value;
        Ok(value.expect("an update always gives a value"))
    }

    /// Computes the value of `key` as [`update`](Self::update) does, but the closure may refuse. If it
    /// returns `Ok(None)`, the value is removed.
    ///
    /// If the closure returns `Err`, the session is unchanged, and this method returns the error as the inner
    /// result. If the closure accepts at first and refuses at the commit, because another request has
    /// changed the value meanwhile, the whole commit fails with a 503. Otherwise the response would claim
    /// something that was not done.
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
    /// The same as [`update`](Self::update).
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

    /// Reads and removes the value of `key`, and saves that at once. If several requests claim the same
    /// value, in one process or in many, exactly one of them gets it.
    ///
    /// Use it for values that may be used only once, such as a voucher or a form token. Each call writes to
    /// the store. A pending change of the same key is [saved](Self::save) first.
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
    /// `Deserialize` if the value is not a `T`. The value stays. The store's errors: the value may be removed then,
    /// but no other request has got it.
    pub async fn claim<T: DeserializeOwned>(
        &self,
        key: impl ReadKey<T>,
    ) -> Result<Option<T>, Error> {
        let name = key.name();
        if upkeep::is_pending(&self.0, name) {
            self.save().await?;
        }
        let is_pending = upkeep::is_pending(&self.0, name);
        let is_stored = self.0.view().is_stored(name);
        if self.is_new() || (is_pending && !is_stored) {
            // No other request can see it yet.
            return self.take(name);
        }
        if is_pending {
            // A log-in is pending, so the change waits for the response head. This request may have the
            // value only if it gets the stored one that the change replaces.
            let taken = self.take::<T>(name)?;
            let claimed = upkeep::claim(&self.0, name, |_| Ok(())).await?;
            return Ok(taken.filter(|_| claimed.is_some()));
        }
        let check = |value: &[u8]| read(name, Some(value));
        Ok(upkeep::claim(&self.0, name, check).await?.flatten())
    }

    /// Whether `key` has a value.
    pub fn contains_key(&self, key: impl KeyName) -> bool {
        self.0.state().get(key.name()).is_some()
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
        self.0.alter(State::clear);
    }

    /// Ends the session as [`destroy`](Self::destroy) does, and keeps the values of these keys in a new session
    /// without a user. Use it to keep the language or the theme that a visitor has chosen.
    ///
    /// If none of the keys has a value, there is no new session.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn log_out(session: &Session) -> Result<(), Error> {
    ///     session.destroy_except(["language", "theme"])
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `TooLarge` if the kept values exceed [`max_data_bytes`](crate::SessionLayer::max_data_bytes), for example
    /// because the limit is lower than before. The session is destroyed in any case. ([Rule](crate#rules) U7.)
    pub fn destroy_except<K: KeyName>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), Error> {
        let view = self.0.view();
        self.destroy();
        for key in keys {
            if let Some(value) = view.get(key.name()) {
                let value = Some(Json::from_slice(value));
                self.put(key, value)?;
            }
        }
        Ok(())
    }

    fn put(&self, key: impl KeyName, value: Option<Json>) -> Result<(), Error> {
        let max_bytes = self.0.config.max_data_bytes;
        let mut state = self.0.state();
        let (changes, base) = state.edit();
        let replaced = changes.put(base, key.to_name(), value, max_bytes)?;
        // After the lock: a closure may hold a value whose `Drop` uses the session.
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
        let name = key.name();
        let computation = Arc::new(Computation::new(compute));
        for _ in 0..MAX_TRIES {
            let seen = self.0.value(name);
            let current = seen.get(name);
            let former = current.map(<[u8]>::len);
            let computed = computation.on(name, current)?;
            let (value, json) = match computed {
                Ok(computed) => computed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // Dropped after the lock: closures may hold values whose `Drop` uses the session.
            let _outlived;
            let mut state = self.0.state();
            // Only this key counts: the closure itself may have changed others.
            let is_current = seen.is_current(name, &state);
            _outlived = seen.into_outlived(&state);
            if is_current {
                let max_bytes = self.0.config.max_data_bytes;
                let (changes, _) = state.edit();
                // A refused computation is not moved, so that it is dropped after the lock.
                changes.make_room(name.as_bytes(), former, json.as_ref(), max_bytes)?;
                changes.compute(key.to_name(), computation, json);
                return Ok(Ok(value));
            }
        }
        let itself = format!("changes `{name}`, its own key, each time it runs");
        Err(Error::endless(&itself))
    }
}
