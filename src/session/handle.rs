//! A session that is not loaded yet: [`SessionHandle`].

use std::{fmt, sync::Arc};

use crate::{
    config::Config,
    cookie::CookieHeaders,
    error::Error,
    record::labels::Labels,
    session::Session,
    state::{Usage, shared::Shared},
};

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
pub struct SessionHandle(Arc<Shared>);

impl SessionHandle {
    pub(crate) fn new(config: Arc<Config>, cookies: CookieHeaders, outer: Option<&Self>) -> Self {
        let outer = outer.map(|outer| Arc::clone(&outer.0));
        Self(Arc::new(Shared::new(config, cookies, outer)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// What the session is labelled with, if it begins or logs in with this request.
    pub(crate) fn label(&self, labels: Labels) {
        self.0.state().labels = (!labels.is_empty()).then(|| Arc::new(labels));
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
        Ok(Session::new(Arc::clone(&self.0)))
    }

    /// The visitor's session, or `None` if they have none.
    ///
    /// It does not count as activity: use it for pages that poll, so that they do not keep a session alive.
    /// It is the same session that [`load`](Self::load) returns. Changes through it are saved with the
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
        Ok(is_live.then(|| Session::new(Arc::clone(&self.0))))
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionHandle").field(&self.0).finish()
    }
}
