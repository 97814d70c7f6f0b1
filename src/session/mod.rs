//! The types that handlers use: [`Session`], and the [`SessionHandle`](handle::SessionHandle) that loads it.
//!
//! This folder turns the calls of a handler into changes of the request's [`State`], or into a commit. It
//! knows no HTTP: cookies and headers belong to the folder `http`.

pub(crate) mod ended;
pub(crate) mod flash;
mod found;
pub(crate) mod handle;
mod labels;
mod lifetime;
mod loading;
mod update;
mod user;
mod values;

use std::fmt;

use crate::{
    commit::{self, Occasion, upkeep},
    cookie::Transport,
    error::Error,
    observe::event::SessionEnd,
    record::token::SessionId,
    session::ended::ended,
    state::{State, Stored, Strong, shared::Shared},
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
/// If another request or process has ended the session meanwhile, the changes are dropped and the
/// response is sent as it is. Changes may also be dropped if they overlap a log-in or a
/// [`cycle_id`](Self::cycle_id) in another request.
///
/// # New sessions
///
/// A visitor without a session gets a new one. It is stored, and its cookie is sent, only if it has a
/// value or a user when the response is ready. A handler that only reads causes neither.
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
/// ([Rules](crate#rules) C1, C2, M1 to M4.)
#[derive(Clone)]
pub struct Session(Strong<Shared>);

/// # Identity
impl Session {
    pub(crate) fn new(shared: Strong<Shared>) -> Self {
        Self(shared)
    }

    pub(crate) fn stored(&self) -> Option<Stored> {
        self.0.state().stored.clone()
    }

    /// The session's public id. `None` if the session is not stored yet.
    ///
    /// The id opens nothing, so you can log it. After [`log_in`](Self::log_in) or
    /// [`cycle_id`](Self::cycle_id) this returns the old id until the response head is ready, even after a
    /// [`save`](Self::save). [`next_id`](Self::next_id) returns the new one.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.0.state().stored.as_ref().map(Stored::id)
    }

    /// The id that the session gets when a pending [`log_in`](Self::log_in) or
    /// [`cycle_id`](Self::cycle_id) is committed. `None` if neither is pending.
    ///
    /// Use it to write the id of the new session to an audit log or to a table of your own. In rare cases
    /// the session gets another id: if the store's reply to the log-in was lost, or if two log-ins of the
    /// same visitor overlap.
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

    /// Gives the session a new id and a new secret. Its user, data and timeouts stay.
    ///
    /// Call it when the visitor's privileges change without a log-in. If the user has authenticated again, call
    /// [`confirm`](Self::confirm) instead.
    /// The session moves with the response head. The absolute timeout does not start again. The call has no
    /// effect on a session that is not stored yet or has a pending log-in, because it gets a new id anyway.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn second_factor_checked(session: &Session) -> Result<(), Error> {
    ///     session.insert("second_factor", true)?;
    ///     session.cycle_id()
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`log_in`](Self::log_in).
    pub fn cycle_id(&self) -> Result<(), Error> {
        self.0.state().cycle(None)
    }

    /// Ends the session and removes its cookie: a log-out.
    ///
    /// The session ends with the response head. If the handler inserts a value or logs a user in after this
    /// call, a new session begins.
    ///
    /// After the response head, in a WebSocket or an event stream, you must call [`save`](Self::save) after
    /// `destroy`. Otherwise the session does not end, and a warning is logged. The cookie stays in the browser, but
    /// no longer opens a session.
    ///
    /// If another request logs in from this session at the same time, the session of that log-in
    /// stays.
    ///
    /// ```
    /// # use axum::response::Redirect;
    /// # use cloakroom::Session;
    /// async fn log_out(session: Session) -> Redirect {
    ///     session.destroy();
    ///     Redirect::to("/")
    /// }
    /// ```
    pub fn destroy(&self) {
        self.0.alter(State::destroy);
    }

    /// Chooses how the token is issued: in the cookie, or in a header. Default: the first transport of
    /// [`SessionLayer::transport`](crate::SessionLayer::transport).
    ///
    /// It takes effect only if this request begins a session or logs in, and has no session token yet. If the request
    /// has a token, the next token is issued by the same transport. If it has a session cookie, the next token is
    /// always issued in a cookie.
    ///
    /// ```
    /// use cloakroom::{Error, Session, Transport};
    ///
    /// /// The log-in of the mobile app.
    /// async fn log_in(session: Session, user: String) -> Result<(), Error> {
    ///     session.set_transport(Transport::Bearer)?;
    ///     session.log_in(user)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Other` if the layer does not use this transport, `TooLate` after the response head.
    pub fn set_transport(&self, transport: Transport) -> Result<(), Error> {
        let mut state = self.0.state();
        state.choose_transport(&transport, &self.0.config)
    }

    /// Whether the session has not been stored yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.0.state().stored.is_none()
    }

    /// Whether there are pending changes that a commit would save. Inserting an equal value is not a change. A new
    /// session without values and without a user has nothing to save.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.0.state().is_modified()
    }

    /// Whether this request has destroyed the session, and has not begun a new one since.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.0.state().is_destroyed()
    }
}

/// # Before and after the response head
///
/// Everything is saved with the response head. Use these methods during long work before it, and in
/// WebSockets and event streams after it.
impl Session {
    /// Saves pending changes now.
    ///
    /// This call does not save a pending [`log_in`](Self::log_in) or [`cycle_id`](Self::cycle_id) of a stored
    /// session, nor the changes made after the `log_in`. They are committed with the response head, together with
    /// the cookie. A new session is stored at once, with its user.
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
    /// - The store's errors.
    /// - `Ended` if the session has ended meanwhile. The changes are dropped.
    /// - `Refused` if a [`try_update`](Self::try_update) refused the value that another request has saved.
    /// - `TooLate` for a new session after the response head: its cookie can no longer be sent.
    /// - `TooLate`, once, if the request was cancelled or its commit failed. The changes that were pending
    ///   at that time are lost, those of all clones of the session. The first clone that calls `save` gets the error.
    ///   Later changes are saved by this call.
    ///
    /// After any other error than `Ended`, the changes stay pending. ([Rules](crate#rules) C6, C7, M5.)
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
    /// Call it from long-lived connections, so that the session does not expire while they are open. An
    /// ordinary request need not call it: loading the session counts as activity. It has no effect on a
    /// session that is not stored yet.
    ///
    /// # Errors
    ///
    /// `Ended` if the session has ended, and the store's errors.
    pub async fn touch(&self) -> Result<(), Error> {
        upkeep::touch(&self.0).await
    }

    /// Reads the session from the store again, and applies pending changes on top.
    ///
    /// Call it in a long-lived connection to see the changes of later requests. It has no effect on a
    /// session that is not stored yet.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// /// The current length of the cart, in an event stream that is open for hours.
    /// async fn cart_length(session: &Session) -> Result<usize, Error> {
    ///     session.reload().await?;
    ///     Ok(session.get::<Vec<String>>("cart")?.unwrap_or_default().len())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Ended` if the session has ended, the store's errors, and the errors of a pending
    /// [`update`](Self::update), which runs again. After any other error than `Ended`, the session is
    /// unchanged.
    pub async fn reload(&self) -> Result<(), Error> {
        upkeep::reload(&self.0).await
    }

    /// Resolves when the session ends. Use it to close a WebSocket or an event stream.
    ///
    /// It resolves:
    ///
    /// - at once if this process ends the session: it is destroyed, revoked or evicted, or it moves to
    ///   another id by a log-in or a cycle;
    /// - when the session expires; every request and every [`touch`](Self::touch) postpones that;
    /// - within [`check_ended_every`](crate::SessionLayer::check_ended_every), 30 seconds by default, if
    ///   another process ends it, and at once if a call such as [`touch`](Self::touch) or [`save`](Self::save) finds that out. The
    ///   store is asked at that interval. A failing store ends no session.
    ///
    /// If the session is new, or a log-in or a cycle is pending, the future waits for the response head, and
    /// then for the end of the session that the visitor has got. If none was stored, it never resolves.
    ///
    /// The future borrows nothing and is cheap to hold for hours. It needs a tokio runtime with time
    /// enabled; outside of one it never resolves.
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
    ///             // The idle timeout starts again. The absolute timeout still holds.
    ///             _ = minutes.tick() => {
    ///                 // If the session has ended, `ended` resolves next.
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
        ended(Strong::clone(&self.0))
    }

    /// Resolves when the server shuts down. End an open WebSocket or event stream then; the session stays.
    ///
    /// It never resolves without a [`SessionLayer::shutdown`](crate::SessionLayer::shutdown). The future borrows
    /// nothing.
    ///
    /// ```
    /// use cloakroom::Session;
    ///
    /// /// Why an event stream ends.
    /// async fn stream_end(session: Session) -> &'static str {
    ///     tokio::select! {
    ///         _ = session.ended() => "log in again",
    ///         () = session.shutting_down() => "connect again",
    ///     }
    /// }
    /// ```
    pub fn shutting_down(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.config.shutdown.begun()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
