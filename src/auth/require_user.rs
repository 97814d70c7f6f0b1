//! The layer for routes that are for users: [`RequireUser`].

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use http::{Request, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    auth::challenge::Challenge,
    clock::{Clock as _, Timestamp},
    error::Error,
    http::{extract::handle, local_path::check_page},
};

/// A layer for routes that only users may use.
///
/// For a visitor who has not logged in, the handler does not run:
///
/// - A request for a page is redirected (303) to the layer's
///   [`log_in_page`](crate::SessionLayer::log_in_page). The original path and query are passed on as `?next=`, for
///   [`ReturnTo`](crate::ReturnTo). A request for a page is a GET or HEAD with `Sec-Fetch-Mode: navigate`, or, from
///   a client that does not send that header, with `text/html` in `Accept`.
/// - Every other request gets a 401: a posted form, a `fetch`, an API call. So does a request for a page if no
///   log-in page is set.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use cloakroom::{RequireUser, SessionLayer};
///
/// # async fn orders() {} async fn log_in_page() {} async fn log_in() {}
/// let app: Router = Router::new()
///     .route("/orders", get(orders))
///     .route_layer(RequireUser::new())
///     .route("/login", get(log_in_page).post(log_in))
///     .layer(SessionLayer::default().log_in_page("/login"));
/// ```
///
/// Use `Router::route_layer`, and add the routes for everybody after it. `Router::layer` would wrap the router's
/// fallback too, and a path that does not exist would redirect to the log-in page instead of giving a 404. The
/// [`SessionLayer`](crate::SessionLayer) goes around everything.
///
/// # Step-up
///
/// With [`fresh`](Self::fresh), users must have authenticated recently. Use it before a payment or a change of the
/// password.
///
/// # Challenges
///
/// A 401 has a `WWW-Authenticate` header for each [transport](crate::SessionLayer::transport) that the layer accepts. The
/// `realm` is the [layer's](crate::SessionLayer::realm).
///
/// | transport | challenge |
/// | --- | --- |
/// | `Cookie` | `Cookie realm="__Host-id"` |
/// | `Bearer` | `Bearer realm="__Host-id"`, of RFC 6750 |
/// | `Header` | `Header realm="__Host-id", name="x-session"` |
///
/// If the request brought a token that opens no session, the challenge of its transport has `error="invalid_token"` too:
/// the client can forget the token. If the user must confirm their identity, the only challenge is that of the
/// session's own transport, with `error="insufficient_user_authentication"` and `max_age`.
///
/// # Errors
///
/// 503 if the store fails or the user's stamp cannot be read, 500 if there is no session layer. ([Rule](crate#rules) U3.)
#[derive(Clone, Default)]
pub struct RequireUser {
    fresh: Option<Duration>,
    log_in_page: Option<Arc<str>>,
}

impl RequireUser {
    /// Requires a user.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that the user logged in or [confirmed](crate::Session::confirm) their identity at most this long
    /// ago. Default: no limit.
    ///
    /// Otherwise a request for a page is redirected to the layer's
    /// [`confirm_page`](crate::SessionLayer::confirm_page), or to the log-in page if there is none. Every other
    /// request gets a 401 with the error of RFC 9470, `insufficient_user_authentication`, and the age in seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, routing::post};
    /// use cloakroom::{RequireUser, SessionLayer};
    ///
    /// # async fn pay() {} async fn confirm() {}
    /// let app: Router = Router::new()
    ///     .route("/pay", post(pay))
    ///     .route_layer(RequireUser::new().fresh(Duration::from_secs(5 * 60)))
    ///     .route("/confirm", post(confirm))
    ///     .layer(SessionLayer::default().log_in_page("/login").confirm_page("/confirm"));
    /// ```
    #[must_use]
    pub fn fresh(mut self, at_most: Duration) -> Self {
        self.fresh = Some(at_most);
        self
    }

    /// Sets another log-in page for these routes. It also replaces the layer's
    /// [`confirm_page`](crate::SessionLayer::confirm_page). Default: the pages of the session layer.
    ///
    /// # Panics
    ///
    /// The same as [`SessionLayer::log_in_page`](crate::SessionLayer::log_in_page).
    #[must_use]
    #[track_caller]
    pub fn log_in_page(mut self, path: &str) -> Self {
        self.log_in_page = Some(check_page(path));
        self
    }

    /// The response for a visitor who may not use the route. `None` if they may.
    async fn refusal(&self, parts: &Parts) -> Result<Option<Response>, Error> {
        let handle = handle(parts)?;
        let session = handle.load().await?;
        let config = &handle.shared().config;
        let own = self.log_in_page.as_deref();
        let log_in = own.or(config.pages.log_in.as_deref());
        if session.current_user().await?.is_none() {
            return Ok(Some(Challenge::LogIn.answer(handle, parts, log_in)));
        }
        let stale = self.fresh.filter(|at_most| {
            let confirmed_at = session.confirmed_at().map(Timestamp::from);
            confirmed_at.is_none_or(|at| config.clock.now().since(at) > *at_most)
        });
        Ok(stale.map(|at_most| {
            let confirm = own.or(config.pages.confirm.as_deref()).or(log_in);
            Challenge::Confirm(at_most).answer(handle, parts, confirm)
        }))
    }
}

impl<S> Layer<S> for RequireUser {
    type Service = RequireUserService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireUserService {
            inner,
            required: self.clone(),
        }
    }
}

impl fmt::Debug for RequireUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireUser")
            .field("fresh", &self.fresh)
            .field("log_in_page", &self.log_in_page)
            .finish()
    }
}

/// The service that [`RequireUser`] puts around another one. You need the name only to write down its type.
///
/// ```
/// use cloakroom::{RequireUser, RequireUserService};
/// use tower::Layer;
///
/// fn for_users<S>(service: S) -> RequireUserService<S> {
///     RequireUser::new().layer(service)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RequireUserService<S> {
    inner: S,
    required: RequireUser,
}

impl<S, B> Service<Request<B>> for RequireUserService<S>
where
    S: Service<Request<B>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let clone = self.inner.clone();
        // The one that is ready.
        let mut inner = mem::replace(&mut self.inner, clone);
        let required = self.required.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match required.refusal(&parts).await {
                Ok(None) => inner.call(Request::from_parts(parts, body)).await,
                Ok(Some(refusal)) => Ok(refusal),
                Err(error) => Ok(error.into_response()),
            }
        })
    }
}
