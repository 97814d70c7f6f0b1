//! A session that is not loaded yet: [`SessionHandle`].

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock as _,
    config::Config,
    cookie::{TokenHeaders, Transport},
    error::Error,
    record::{labels::Labels, token::SessionId},
    session::Session,
    state::{Strong, Usage, shared::Shared},
};

/// The session that a request's cookies name. [`SessionHandle::presented_id`] returns it.
///
/// ```
/// use cloakroom::{PresentedId, SessionHandle};
///
/// /// A field for a log line. Do not use it to decide who the visitor is.
/// fn presented(handle: &SessionHandle) -> String {
///     match handle.presented_id() {
///         PresentedId::Id(id) => id.to_string(),
///         PresentedId::None => "none".to_owned(),
///         _ => "unclear".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresentedId {
    /// No session: there is no session cookie, or its value is not a token.
    None,
    /// The session with this id.
    Id(SessionId),
    /// The cookies name several sessions, or a session of another library that may be
    /// [imported](crate::SessionLayer::import). Load the session to find out.
    Unclear,
}

/// The session of a request, not loaded yet. The layer puts it into the request's extensions.
///
/// Use it in a plain tower service, or in a middleware that needs the session of some requests only. It is
/// cheap to clone.
///
/// The first [`load`](Self::load) or [`peek`](Self::peek) asks the store. Every later call and every
/// extractor in the same request gets the same session, or the same error. A request that calls neither
/// makes no store call.
///
/// ```
/// use cloakroom::{Error, SessionHandle};
///
/// async fn visits(request: http::Request<()>) -> Result<u64, Error> {
///     let handle = request.extensions().get::<SessionHandle>().expect("a SessionLayer");
///     let session = handle.load().await?;
///     session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)
/// }
/// ```
#[derive(Clone)]
pub struct SessionHandle(Strong<Shared>);

impl SessionHandle {
    pub(crate) fn new(
        config: Arc<Config>,
        token_headers: TokenHeaders,
        outer: Option<&Self>,
    ) -> Self {
        let outer = outer.map(|outer| Strong::clone(&outer.0));
        Self(Strong::new(Shared::new(config, token_headers, outer)))
    }

    /// The session that the request's cookies name, without asking the store.
    ///
    /// Before the session is loaded, the id is not verified: the session may have ended, and the cookie may be
    /// forged. After it is loaded, this is the id of the visitor's session.
    ///
    /// Use it to pass an id to another library before the session is needed. To find out who the visitor is,
    /// [`load`](Self::load) the session.
    #[must_use]
    pub fn presented_id(&self) -> PresentedId {
        {
            let state = self.0.state();
            if let Some(Ok(())) = &state.load {
                let stored = state.stored.as_ref();
                return stored.map_or(PresentedId::None, |stored| PresentedId::Id(stored.id()));
            }
        }
        let config = &self.0.config;
        let presented = config.presented(&self.0.token_headers, config.clock.now());
        let mut ids = presented.iter().map(|presented| presented.token.id);
        if !config.old_tokens(&self.0.token_headers).is_empty() {
            return PresentedId::Unclear;
        }
        match ids.next() {
            None => PresentedId::None,
            Some(id) if !presented.has_more && ids.all(|other| other == id) => PresentedId::Id(id),
            Some(_) => PresentedId::Unclear,
        }
    }

    pub(crate) fn shared(&self) -> &Strong<Shared> {
        &self.0
    }

    /// Sets the labels of the session, if it begins or logs in with this request.
    pub(crate) fn label(&self, labels: Labels) {
        self.0.state().labels = (!labels.is_empty()).then(|| Arc::new(labels));
    }

    /// Chooses how the token is issued if a session begins or a user logs in with this request. It works like
    /// [`Session::set_transport`]. Use it in a middleware that knows which routes are for browsers.
    ///
    /// # Errors
    ///
    /// The same as [`Session::set_transport`].
    pub fn set_transport(&self, transport: Transport) -> Result<(), Error> {
        let mut state = self.0.state();
        state.choose_transport(&transport, &self.0.config)
    }

    /// Whether an outer layer with a cookie of this name has handled the request already.
    pub(crate) fn is_within(&self, cookie_name: &str) -> bool {
        self.0.is_within(cookie_name)
    }

    /// The visitor's session, or a new one.
    ///
    /// It counts as activity: the idle timeout starts again. A new session is stored only if it has
    /// a value or a user when the response is ready.
    ///
    /// # Errors
    ///
    /// The store's errors: `Unavailable`, `Timeout` after
    /// [`store_timeout`](crate::SessionLayer::store_timeout), `Corrupt` and `Incompatible` for a record
    /// that does not decode. A visitor never gets a new session because the store fails.
    pub async fn load(&self) -> Result<Session, Error> {
        self.0.load(Usage::Loaded).await?;
        Ok(Session::new(Strong::clone(&self.0)))
    }

    /// The visitor's session, or `None` if they have none.
    ///
    /// This does not count as activity. Use it for requests that a page repeats by itself, so that they do not keep
    /// the session alive. It returns the same session as [`load`](Self::load). Changes to it are saved with the
    /// response, and count as activity.
    ///
    /// ```
    /// # use cloakroom::{Error, SessionHandle};
    /// async fn is_logged_in(handle: &SessionHandle) -> Result<bool, Error> {
    ///     let session = handle.peek().await?;
    ///     Ok(session.is_some_and(|session| session.user().is_some()))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn peek(&self) -> Result<Option<Session>, Error> {
        self.0.load(Usage::Peeked).await?;
        let is_live = self.0.state().stored.is_some();
        Ok(is_live.then(|| Session::new(Strong::clone(&self.0))))
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionHandle").field(&self.0).finish()
    }
}
