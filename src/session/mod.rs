//! What handlers hold: [`Session`], and the [`SessionHandle`](handle::SessionHandle) that loads it.
//!
//! This folder turns what a handler calls into changes of the request's [`State`], or into a commit. It
//! knows no HTTP: cookies and headers are for the folder `http`.

pub(crate) mod ended;
pub(crate) mod handle;
mod lifetime;
mod loading;
mod update;
mod values;

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock as _,
    commit::{self, Occasion, upkeep},
    error::Error,
    observe::event::SessionEnd,
    record::token::SessionId,
    session::ended::ended,
    state::{State, Stored, shared::Shared},
};

/// The session of one request: what the server remembers about its visitor.
///
/// With axum, a handler takes it as an argument. Elsewhere, a [`SessionHandle`](crate::SessionHandle) in
/// the request's extensions loads it. It is cheap to clone, and every clone is the same session.
///
/// # When changes are saved
///
/// Changes are pending until the response head is ready. Then they are saved in one write, whatever the
/// status of the response. Nothing is saved if the request is cancelled, if it panics, or if the inner
/// service returns `Err`. If the save fails, the visitor gets an empty 503 in place of the response.
/// [`save`](Self::save) saves earlier, or after the response head.
///
/// Changes merge key by key with those of other requests on the same session. The last writer of a key
/// wins; an [`update`](Self::update) is computed again on the value that another request has saved.
///
/// Where the session has ended meanwhile, by a log-out or a revocation, its changes are dropped and the
/// response is sent as it is. A change that overlaps a log-in or a cycle in another request may be
/// dropped in the same way.
///
/// # New sessions
///
/// A visitor without a session gets a new one. It is stored, and its cookie sent, once it has a value or
/// a user. So a handler may take a `Session` without causing one.
///
/// ```
/// use cloakroom::{Error, Session};
///
/// async fn greet(session: Session) -> Result<String, Error> {
///     let name: Option<String> = session.get("name")?;
///     Ok(format!("Hello, {}!", name.as_deref().unwrap_or("stranger")))
/// }
/// ```
///
/// (Rules C1, C2, M1 to M4.)
#[derive(Clone)]
pub struct Session(Arc<Shared>);

/// # Identity
impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(crate) fn stored(&self) -> Option<Stored> {
        self.0.state().stored.clone()
    }

    /// The session's public id, or `None` until a new session has been stored.
    ///
    /// The id opens nothing: it may stand in logs. After [`log_in`](Self::log_in) or
    /// [`cycle_id`](Self::cycle_id) this is still the old id, also after a [`save`](Self::save), until the
    /// response head is ready: [`next_id`](Self::next_id) is the one that the session will have.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.0.state().stored.as_ref().map(Stored::id)
    }

    /// The id that the session will have once a pending [`log_in`](Self::log_in) or
    /// [`cycle_id`](Self::cycle_id) is committed. `None` where neither is pending.
    ///
    /// Use it to note in an audit log, or in a table of your own, which session a log-in begins. In the
    /// rare case that the store leaves open whether it was stored, the session begins under another id.
    ///
    /// ```
    /// # use cloakroom::{Error, Session, SessionId};
    /// fn log_in(session: &Session, user: &str) -> Result<Option<SessionId>, Error> {
    ///     session.log_in(user)?;
    ///     Ok(session.next_id())
    /// }
    /// ```
    #[must_use]
    pub fn next_id(&self) -> Option<SessionId> {
        self.0.state().next_id()
    }

    /// The user bound by [`log_in`](Self::log_in), or `None` for a visitor who has not logged in.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.state().user().map(str::to_owned)
    }

    /// Binds `user` to the session. Call it when the visitor is fully authenticated.
    ///
    /// The session gets a new id and a new secret with the response head, so that a cookie which somebody
    /// planted or copied before is worth nothing after. The absolute timeout starts again.
    ///
    /// - The data of an anonymous visitor, or of the same user, is kept. Over the session of another user,
    ///   the new one begins without data, and without what this request has set before.
    /// - The session begins with the layer's timeouts and persistence, whatever was set for the old one.
    ///   To remember the user, call [`remember_for`](Self::remember_for) in the same request.
    /// - Where the old session has ended meanwhile, or has moved by a log-in of somebody else, the user is
    ///   logged in all the same; the data of the old session is gone then, and this request's changes
    ///   are kept.
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
    /// `TooLate` after the response head: no cookie can be sent any more. `Other` where the operating
    /// system gives no random bytes. (Rules M6 to M8, L4, L5.)
    pub fn log_in(&self, user: impl Into<String>) -> Result<(), Error> {
        let user = user.into().into_boxed_str();
        let at = self.0.config.clock.now();
        self.0.alter(|state| state.log_in(user, at))
    }

    /// Moves the session to a new id and a new secret, with the same user, data and timeouts.
    ///
    /// Call it when the visitor's privileges change other than by a log-in: after a second factor, say.
    /// The move happens with the response head. It does not extend the absolute timeout. A session that is
    /// not stored yet gets a new id anyway, and a pending log-in brings one.
    ///
    /// # Errors
    ///
    /// As [`log_in`](Self::log_in).
    pub fn cycle_id(&self) -> Result<(), Error> {
        self.0.state().cycle()
    }

    /// Ends the session and removes its cookie: a log-out.
    ///
    /// The session is deleted with the response head. A value inserted afterwards, or a log-in, begins a
    /// new session.
    ///
    /// After the response head, in a WebSocket or an event stream, the session ends with the next
    /// [`save`](Self::save), and the cookie stays, worthless. Without a `save` it does not end, and a
    /// warning is logged.
    ///
    /// A log-in in another request that was faster is not undone: its session goes on.
    pub fn destroy(&self) {
        self.0.alter(State::destroy);
    }

    /// Whether the session has not been stored yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.0.state().stored.is_none()
    }

    /// Whether something is pending that a commit would save. A value that was put back as it was, and a
    /// new session without values, do not count.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.0.state().is_modified()
    }

    /// Whether this request has destroyed the session, and has begun no other since.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.0.state().is_destroyed()
    }
}

/// # Before and after the response head
///
/// The response head saves everything by itself. These are for long work before it, and for WebSockets and
/// event streams after it.
impl Session {
    /// Saves pending changes now.
    ///
    /// A pending [`log_in`](Self::log_in) or [`cycle_id`](Self::cycle_id) of a stored session waits for
    /// the response head, because its cookie does; so does what was changed after a `log_in`. A new
    /// session is stored, with its user.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// async fn import(session: &Session, rows: Vec<String>) -> Result<(), Error> {
    ///     for (done, _row) in rows.iter().enumerate() {
    ///         // Another request can show the progress.
    ///         session.insert("imported", done + 1)?;
    ///         session.save().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the store; `Ended` where the session has ended meanwhile; `Refused` where a
    /// [`try_update`](Self::try_update) refused the value that another request had saved; `TooLate` for a
    /// new session after the response head. What was not saved stays pending, but for `Ended`.
    ///
    /// `TooLate` also, once, where the request was cancelled or its commit failed: what was pending then
    /// is lost, and what was changed since is saved. (Rules C6, C7, M5.)
    pub async fn save(&self) -> Result<(), Error> {
        commit::commit_in_span(&self.0, Occasion::Save, None)
            .await
            .map_err(|failed| failed.error)?;
        let mut state = self.0.state();
        state.check_open()?;
        state.check_kept()
    }

    /// Records activity now, without writing data: the idle timeout starts again.
    ///
    /// Call it from long-lived connections, so that the session does not expire while they are open. A
    /// request needs no call: loading the session counts as activity. For a session that is not stored
    /// yet, nothing happens.
    ///
    /// # Errors
    ///
    /// `Ended` where the session has ended, and those of the store.
    pub async fn touch(&self) -> Result<(), Error> {
        upkeep::touch(&self.0).await
    }

    /// Reads the session from the store again, and keeps pending changes on top.
    ///
    /// A long-lived connection sees the changes of later requests this way. A session that is not stored
    /// yet stays as it is.
    ///
    /// # Errors
    ///
    /// `Ended` where the session has ended; those of the store; those of an [`update`](Self::update)
    /// that is pending and runs again. After any error but `Ended` the session is as it was.
    pub async fn reload(&self) -> Result<(), Error> {
        upkeep::reload(&self.0).await
    }

    /// Resolves when the session ends. Use it to close a WebSocket or an event stream.
    ///
    /// It resolves:
    ///
    /// - at once where this process ends the session: it is destroyed, revoked or evicted, or moves to
    ///   another id by a log-in or a cycle;
    /// - at the session's deadline, which every request and every [`touch`](Self::touch) moves;
    /// - within [`check_ended_every`](crate::SessionLayer::check_ended_every), 30 seconds by default, where
    ///   another process ends it. The store is asked at that interval. A failing store ends no session.
    ///
    /// Where the session is new, or about to log in or cycle, it waits for the response head, and then for
    /// the end of the session that the visitor has. If none was stored, it never resolves.
    ///
    /// The future borrows nothing, is cheap to hold for hours, and leaves nothing behind when it is
    /// dropped. It needs a tokio runtime with time enabled; outside of one it never resolves.
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
    ///             // The visitor is still here, as long as the absolute timeout lets them.
    ///             _ = minutes.tick() => {
    ///                 let _ = session.touch().await;
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn ended(&self) -> impl Future<Output = SessionEnd> + Send + use<> {
        let config = &self.0.config;
        config.observers().activate();
        config.ensure_reporting();
        ended(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
