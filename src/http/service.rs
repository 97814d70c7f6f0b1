//! The request's way in: [`SessionService`].

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use tower_service::Service;

use crate::{
    config::Config,
    http::{future::ResponseFuture, plain::loses_secure_cookies, setup::Setup},
    observe::context::EventContext,
    record::labels::{Labels, shortened},
    session::handle::SessionHandle,
};

/// The service that [`SessionLayer`](crate::SessionLayer) puts around another one.
///
/// It gives each request a [`SessionHandle`] in its extensions, and commits the session when the
/// inner service's response head is ready.
///
/// # Where other layers go
///
/// The response's body type must implement [`Default`], because an empty response replaces one
/// whose session cannot be kept. `Router::layer` of axum makes every body an `axum::body::Body`,
/// which does, so the order makes no difference there. So do the bodies of `http-body-util`.
///
/// In a plain tower stack, put layers whose body has no default around the session layer. In
/// tower-http these are `TraceLayer`, `ResponseBodyTimeoutLayer`, `InFlightRequestsLayer`, and
/// `MapResponseBodyLayer` with such a body:
///
/// ```
/// # use std::convert::Infallible;
/// use cloakroom::SessionLayer;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, service_fn};
/// use tower_http::{cors::CorsLayer, trace::TraceLayer};
///
/// type Body = Full<&'static [u8]>;
///
/// let handler = service_fn(async |_: Request<Body>| {
///     Ok::<_, Infallible>(Response::new(Body::default()))
/// });
/// let inside = CorsLayer::permissive().layer(handler);
/// let service = TraceLayer::new_for_http().layer(SessionLayer::default().layer(inside));
/// # fn is_service<S: tower::Service<Request<Body>>>(_: S) {}
/// # is_service(service);
/// ```
///
/// # The response if the session cannot be saved
///
/// If the session cannot be saved, an empty 503 replaces the response. Its extensions contain the
/// [`Error`](crate::Error), so that a layer around this one can add a body in a format that the client
/// understands:
///
/// ```
/// use axum::{
///     Json, Router,
///     extract::Request,
///     middleware::{self, Next},
///     response::{Html, IntoResponse, Response},
/// };
/// use cloakroom::{Error, SessionLayer};
/// use http::header::ACCEPT;
///
/// /// If you need only the response, `middleware::map_response` is enough.
/// async fn explain(request: Request, next: Next) -> Response {
///     let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
///     let wants_html = accept.is_some_and(|accept| accept.contains("text/html"));
///     let mut response = next.run(request).await;
///     if let Some(error) = response.extensions().get::<Error>() {
///         let body = if wants_html {
///             Html("<h1>Please try again in a moment</h1>").into_response()
///         } else {
///             let body = serde_json::json!({ "error": "session", "retry": error.is_transient() });
///             Json(body).into_response()
///         };
///         // Status and headers stay: Retry-After, Set-Cookie, CORS.
///         let (parts, body) = body.into_parts();
///         *response.body_mut() = body;
///         response.headers_mut().extend(parts.headers);
///     }
///     response
/// }
///
/// let app: Router = Router::new()
///     .layer(SessionLayer::default())
///     .layer(middleware::from_fn(explain));
/// ```
///
/// The responses that extractors and handlers make of an error have it in their extensions too.
/// The 503 keeps headers that reveal nothing about the replaced response: those for CORS and security,
/// `Vary`, and request ids. ([Rule](crate#rules) F2.)
pub struct SessionService<S> {
    inner: S,
    setup: Arc<Setup>,
}

/// The labels that the layer sets if the session begins or logs in with this request.
#[cold]
fn labels(config: &Config, head: &Parts) -> Labels {
    let values = config.labels.iter().filter_map(|(name, read)| {
        let value = read(head)?;
        Some((&**name, value))
    });
    let mut labels = Labels::default();
    for (name, value) in values {
        // The client may have chosen it.
        labels.set(name, Some(shortened(&value)));
    }
    labels
}

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, setup: Arc<Setup>) -> Self {
        Self { inner, setup }
    }
}

impl<S: Clone> Clone for SessionService<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            setup: self.setup.near(),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Setup { config, reaper, .. } = &*self.setup;
        let outer = request.extensions().get::<SessionHandle>();
        if outer.is_some_and(|outer| outer.is_within(config.cookie.name())) {
            // An outer layer handles the same session (rule C5).
            return ResponseFuture::pass_through(self.inner.call(request));
        }
        reaper.ensure_running(config);
        let token_headers = config.transports.token_headers(request.headers());
        // A browser that does not send the cookie may have lost it.
        let is_cookie_lost = config.cookie.is_secure()
            && !config.warned.of_lost_cookie.load(Ordering::Relaxed)
            && loses_secure_cookies(&request)
            && !config.cookie.is_in(&token_headers);
        let handle = SessionHandle::new(Arc::clone(config), token_headers, outer);
        request.extensions_mut().insert(handle.clone());
        let mut context = None;
        if config.event_context.is_some() || !config.labels.is_empty() {
            let (head, body) = request.into_parts();
            context = config.context_of(&head);
            handle.label(labels(config, &head));
            request = Request::from_parts(head, body);
        }
        let _entered = context.as_ref().map(EventContext::enter);
        ResponseFuture::new(self.inner.call(request), handle, is_cookie_lost, context)
    }
}
