//! The user of a [`Session`]: log-in, confirmation, and credentials.

use std::{
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use tracing::{Span, info};

use crate::{
    clock::Clock as _,
    commit::revoke::revoke,
    deadline::within,
    error::{Error, ErrorKind},
    observe::event::EndReason,
    record::{
        Kept,
        stamp::Stamp,
        user::{self, UserId},
    },
    session::Session,
    state::Identity,
};

/// # The user
impl Session {
    /// The user that [`log_in`](Self::log_in) bound, or `None` for a visitor who has not logged in.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.state().user().map(str::to_owned)
    }

    /// The user's id as a `T`, the type that was given to [`log_in`](Self::log_in). `None` for a visitor who has
    /// not logged in.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn account(session: &Session) -> Result<Option<u64>, Error> {
    ///     session.user_as::<u64>()
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Deserialize` if the id does not parse as a `T`.
    pub fn user_as<T: FromStr>(&self) -> Result<Option<T>, Error> {
        self.0.state().user().map(user::parse).transpose()
    }

    /// Binds `user` to the session. Call it when the visitor is fully authenticated.
    ///
    /// `user` is a string, an integer or a `Uuid`: see [`UserId`].
    ///
    /// The session gets a new id and a new secret with the response head. A cookie that somebody planted
    /// or copied before the log-in does not open the new session. The absolute timeout starts again.
    ///
    /// - If the visitor was anonymous, or was logged in as the same user, the session's data is kept. If
    ///   the session belonged to another user, the new one begins without data, and without the changes
    ///   that this request made before.
    /// - The new session has the layer's timeouts and persistence, whatever was set for the old one.
    ///   To remember the user, call [`remember_for`](Self::remember_for) in the same request.
    /// - If the old session has ended meanwhile, or somebody else has logged in with it, the user is still
    ///   logged in. The data of the old session is lost then; this request's changes are kept.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::{Error, Session};
    ///
    /// fn log_in(session: &Session, user: &str, remember_me: bool) -> Result<(), Error> {
    ///     session.log_in(user)?;
    ///     if remember_me {
    ///         session.remember_for(Duration::from_secs(30 * 24 * 60 * 60));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `TooLate` after the response head, when no cookie can be sent any more. `Other` if the operating
    /// system gives no random bytes. ([Rules](crate#rules) M6 to M8, L4, L5.)
    pub fn log_in(&self, user: impl Into<UserId>) -> Result<(), Error> {
        let user = user.into().into_inner();
        let at = self.0.config.clock.now();
        self.0.alter(|state| state.log_in(user, at))
    }

    /// Binds `user` to the session, as [`log_in`](Self::log_in) does, with a stamp of their credentials.
    ///
    /// The stamp is a value that changes when the credentials do, for example the hash of the password. The session
    /// keeps a salted SHA-256 of it. If the layer has [`user_stamp`](crate::SessionLayer::user_stamp), the session
    /// ends when the user's stamp has changed.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn log_in(session: &Session, user: u64, password_hash: &str) -> Result<(), Error> {
    ///     session.log_in_with_stamp(user, password_hash)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`log_in`](Self::log_in). ([Rule](crate#rules) U5.)
    pub fn log_in_with_stamp(
        &self,
        user: impl Into<UserId>,
        stamp: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let stamp = Stamp::of(stamp.as_ref())?;
        self.log_in(user)?;
        self.0.state().edit().0.set_stamp(stamp);
        Ok(())
    }

    /// Sets the stamp of the user's credentials, so that this session survives a change of them.
    ///
    /// Call it in the request that changes the password. If the layer has
    /// [`user_stamp`](crate::SessionLayer::user_stamp), the user's other sessions end when their next request asks
    /// for the user.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn changed_password(session: &Session, new_password_hash: &str) -> Result<(), Error> {
    ///     // After it was stored:
    ///     session.set_stamp(new_password_hash)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `NoUser` if nobody has logged in. `Other` if the operating system gives no random bytes.
    pub fn set_stamp(&self, stamp: impl AsRef<[u8]>) -> Result<(), Error> {
        let stamp = Stamp::of(stamp.as_ref())?;
        let mut state = self.0.state();
        if state.user().is_none() {
            return Err(no_user("a stamp is of a user's credentials"));
        }
        state.edit().0.set_stamp(stamp);
        // The application has just given the current stamp.
        state.is_stamp_checked = true;
        Ok(())
    }

    /// The user, if their credentials have not changed since the log-in. `None` otherwise, and if nobody has logged
    /// in.
    ///
    /// [`CurrentUser`](crate::CurrentUser) and [`RequireUser`](crate::RequireUser) call it. Call it yourself in code
    /// that uses neither. Without [`user_stamp`](crate::SessionLayer::user_stamp) it is the same as
    /// [`user`](Self::user). With `user_stamp`, the stamp is compared once in each request. If it has changed, the
    /// session is [destroyed](Self::destroy). If the current `tracing` span has a field `user.id`, the id is
    /// recorded there.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the current stamp cannot be read, `Timeout` if that takes longer than
    /// [`store_timeout`](crate::SessionLayer::store_timeout).
    pub async fn current_user(&self) -> Result<Option<String>, Error> {
        let Some(user) = self.user() else {
            return Ok(None);
        };
        if let Some(user_stamp) = &self.0.config.user_stamp
            && !self.is_stamp_checked()
        {
            // The call is inside: it may panic too.
            let reading = async { user_stamp(user.clone()).await };
            let current = within(self.0.config.store_timeout, reading).await?;
            let current = current.as_deref();
            // Boxed because it is large and rarely needed.
            if !self.accept_stamp(&user, current)
                && !Box::pin(self.end_if_changed(&user, current)).await?
            {
                self.destroy();
                if self.0.state().is_head_gone {
                    self.save().await?;
                }
                return Ok(None);
            }
        }
        Span::current().record("user.id", &*user);
        Ok(Some(user))
    }

    fn is_stamp_checked(&self) -> bool {
        let state = self.0.state();
        // A log-in of this request has used the current credentials.
        let is_checked = state.is_stamp_checked && !state.is_head_gone;
        is_checked || matches!(state.identity, Identity::LogIn(_))
    }

    /// Whether the session has the current stamp, or is about to.
    fn accept_stamp(&self, user: &str, current: Option<&[u8]>) -> bool {
        let mut state = self.0.state();
        let pending = state.changes.as_ref().and_then(|changes| changes.stamp());
        let stored = state.stored.as_ref();
        let theirs = pending.or_else(|| stored.and_then(|stored| stored.record.stamp()));
        state.is_stamp_checked = matches(theirs, current) && state.user() == Some(user);
        state.is_stamp_checked
    }

    /// Ends the session if it does not have the current stamp in the store either. Returns whether it has: another request may
    /// have set it since this one loaded the session.
    async fn end_if_changed(&self, user: &str, current: Option<&[u8]>) -> Result<bool, Error> {
        let (config, id) = (&self.0.config, self.id());
        let Some(id) = id else { return Ok(false) };
        let stays = AtomicBool::new(false);
        let is_changed = |_, (record, _): &Kept| {
            let is_current = record.user() == Some(user) && matches(record.stamp(), current);
            stays.store(is_current, Ordering::Relaxed);
            !is_current
        };
        let ending = revoke(config, id, EndReason::Destroyed, None, is_changed);
        if within(config.store_timeout, ending).await?.is_some() {
            info!(session.id = %id, "the user's credentials have changed: the session has ended");
        }
        let stays = stays.into_inner();
        self.0.state().is_stamp_checked = stays;
        Ok(stays)
    }

    /// Records that the user has just authenticated again, and gives the session a new id.
    ///
    /// Call it after you have checked the password or a second factor again, for routes with
    /// [`RequireUser::fresh`](crate::RequireUser::fresh). It works like [`cycle_id`](Self::cycle_id), so a cookie
    /// that somebody copied before does not open the confirmed session. The absolute timeout does not start again.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn password_checked_again(session: &Session, is_right: bool) -> Result<(), Error> {
    ///     if is_right {
    ///         session.confirm()?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `NoUser` if nobody has logged in. Otherwise the same as [`log_in`](Self::log_in). ([Rule](crate#rules) U3.)
    pub fn confirm(&self) -> Result<(), Error> {
        let now = self.0.config.clock.now();
        let mut state = self.0.state();
        if state.user().is_none() {
            return Err(no_user("only a user can confirm who they are"));
        }
        state.cycle(Some(now))
    }

    /// When the user last authenticated: at the log-in, or at a later [`confirm`](Self::confirm). `None` for a visitor
    /// who has not logged in.
    #[must_use]
    pub fn confirmed_at(&self) -> Option<SystemTime> {
        self.0.state().confirmed_at().map(SystemTime::from)
    }
}

/// Whether a session with the stamp `theirs` may go on.
fn matches(theirs: Option<&Stamp>, current: Option<&[u8]>) -> bool {
    theirs
        .zip(current)
        .is_some_and(|(stamp, current)| stamp.matches(current))
}

fn no_user(why: &str) -> Error {
    Error::new(ErrorKind::NoUser, format!("nobody has logged in: {why}"))
}
