//! When a [`Session`] began and when it expires, and how a handler changes that.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use crate::{
    clock::Clock as _,
    record::{Record, timeout::Timeout},
    session::Session,
    state::{Identity, Usage},
};

/// # Lifetime
impl Session {
    /// When the user logged in. `None` if nobody has logged in, or if the time is unknown because the session
    /// was [imported](crate::import) from another library. A cycle does not change it.
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

    /// When the session began. `None` if it is not stored yet.
    ///
    /// A cycle does not change it, and neither does a log-in that keeps the session's data.
    #[must_use]
    pub fn created_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let stored = state.stored.as_ref()?;
        Some(stored.record.created_at().into())
    }

    /// When the session was last used before this request. `None` if it is not stored yet.
    ///
    /// The time may be too early by up to the layer's [`touch_after`](crate::SessionLayer::touch_after): a
    /// tenth of the idle timeout by default.
    #[must_use]
    pub fn last_seen_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let stored = state.stored.as_ref()?;
        Some(stored.activity.last_seen_at.into())
    }

    /// When the session expires if no further request uses it. `None` if it never expires, or is not
    /// stored yet.
    ///
    /// The time includes a pending log-in, timeouts that this request has set, and the activity of this request. A
    /// request that only peeked has no activity.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let state = self.0.state();
        let stored = state.stored.as_ref()?;
        let mut record = Cow::Borrowed(&*stored.record);
        if let Identity::LogIn(log_in) = &state.identity {
            let start = if log_in.starts_empty {
                Record::new(*record.verifier(), record.version(), log_in.at)
            } else {
                record.into_owned().before_log_in()
            };
            record = Cow::Owned(start.with_login(Some(log_in.login())));
        }
        if let Some(changes) = &state.changes {
            changes.set_overrides(record.to_mut());
        }
        let last_seen_at = stored.activity.last_seen_at;
        // Peeking counts as no activity (rule L2).
        let is_activity = state.usage == Usage::Loaded || state.is_modified();
        let seen_at = match state.loaded_at {
            Some(loaded_at) if is_activity => loaded_at.max(last_seen_at),
            _ => last_seen_at,
        };
        let lifetimes = &self.0.config.lifetimes;
        lifetimes.deadline(&record, seen_at).map(SystemTime::from)
    }

    /// Sets the session's own idle timeout: the time without a request after which it expires.
    ///
    /// It replaces the layer's [`idle_timeout`](crate::SessionLayer::idle_timeout) for this session until
    /// the next log-in. [`Timeout::Layer`], the default, restores the layer's setting.
    ///
    /// Setting a timeout alone does not store a new session.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloakroom::{Session, Timeout};
    /// /// On a shared computer the session ends soon after its last use.
    /// fn is_shared_computer(session: &Session) {
    ///     session.set_idle_timeout(Timeout::After(Duration::from_secs(5 * 60)));
    /// }
    /// ```
    pub fn set_idle_timeout(&self, timeout: Timeout) {
        self.0.state().edit().0.set_idle(timeout);
    }

    /// Sets the session's own absolute timeout: the time after which it expires, however often it is used.
    ///
    /// It counts from the beginning of the session, or from its last log-in. It replaces the layer's
    /// [`absolute_timeout`](crate::SessionLayer::absolute_timeout) for this session until the next log-in.
    /// [`Timeout::Layer`], the default, restores the layer's setting. Setting a timeout alone does not store a
    /// new session.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloakroom::{Session, Timeout};
    /// /// The session of an exam ends with it.
    /// fn begin_exam(session: &Session) {
    ///     session.set_absolute_timeout(Timeout::After(Duration::from_secs(90 * 60)));
    /// }
    /// ```
    pub fn set_absolute_timeout(&self, timeout: Timeout) {
        self.0.state().edit().0.set_absolute(timeout);
    }

    /// Sets whether the browser keeps the cookie when it is closed. A persistent cookie has a `Max-Age`.
    ///
    /// It replaces the layer's [`persistent`](crate::SessionLayer::persistent) for this session until the
    /// next log-in. The response of this request sets the cookie again. To keep the session itself longer too, use
    /// [`remember_for`](Self::remember_for).
    pub fn set_persistent(&self, persistent: bool) {
        self.0.state().edit().0.set_persistent(persistent);
    }

    /// "Remember me": keeps the session, and its cookie, for `duration` from now.
    ///
    /// It makes the cookie persistent, and sets both timeouts so that the session ends `duration` from now, however
    /// old it is. Later requests do not postpone that end. Another call of this method does.
    ///
    /// A later log-in undoes it. Call it in the request that logs in, before or after [`log_in`](Self::log_in).
    /// Browsers keep no cookie longer than 400 days.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloakroom::{Error, Session};
    /// fn log_in(session: &Session, user: &str, remember_me: bool) -> Result<(), Error> {
    ///     session.log_in(user)?;
    ///     if remember_me {
    ///         session.remember_for(Duration::from_secs(30 * 24 * 60 * 60));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn remember_for(&self, duration: Duration) {
        let now = self.0.config.clock.now();
        self.0.state().edit().0.remember(duration, now);
    }
}
