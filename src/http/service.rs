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
    cookie::Carriers,
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
/// In a plain tower stack, a layer whose body has no default goes around the session layer. Of
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
/// # A response for a session that cannot be kept
///
/// If the session cannot be saved, an empty 503 replaces the response. Its extensions have the
/// [`Error`](crate::Error), by which a layer around this one gives it a body, in the format that
/// the client understands:
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
/// /// For middleware that needs the response alone, `map_response` will do.
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
/// The error is also in the extensions of the responses that extractors and handlers make of it.
/// The 503 keeps the headers that say nothing about the response it replaces: those for CORS,
/// `Vary`, request ids, and those about security. (Rule F2.)
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    setup: Arc<Setup>,
}

/// What the layer labels the session with, if it begins or logs in with this request.
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
        let carriers = Carriers::of(request.headers(), &config.transports);
        // A browser that sends no Cookie header may have lost the cookie that it was sent.
        let is_cookie_lost = carriers.cookies.is_empty()
            && config.cookie.is_secure()
            && !config.warned.of_lost_cookie.load(Ordering::Relaxed)
            && loses_secure_cookies(&request);
        let handle = SessionHandle::new(Arc::clone(config), carriers, outer);
        request.extensions_mut().insert(handle.clone());
        let mut context = None;
        if config.event_context.is_some() || !config.labels.is_empty() {
            let (head, body) = request.into_parts();
            context = config.context_of(&head);
            handle.label(labels(config, &head));
            request = Request::from_parts(head, body);
        }
        let entered = context.as_ref().map(EventContext::enter);
        let inner = self.inner.call(request);
        drop(entered);
        ResponseFuture::new(inner, handle, is_cookie_lost, context)
    }
}
