//! Whose a [`Session`] is: log-in, and the user's id.

use std::str::FromStr;

use crate::{
    clock::Clock as _,
    error::Error,
    record::user::{self, UserId},
    session::Session,
};

/// # The user
impl Session {
    /// The user that [`log_in`](Self::log_in) bound, or `None` for a visitor who has not logged in.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.state().user().map(str::to_owned)
    }

    /// The user's id as a `T`: as the type that was given to [`log_in`](Self::log_in). `None` for a visitor who
    /// has not logged in.
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
}
