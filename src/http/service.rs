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
    cookie::CookieHeaders,
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
/// The response's body type must implement [`Default`], because an empty response replaces one
/// whose session cannot be kept. The bodies of axum and of `http-body-util` do. In a plain tower
/// stack, a layer that changes the body to a type without a default, such as tower-http's
/// `TraceLayer`, goes around the session layer:
///
/// ```
/// use cloakroom::SessionLayer;
/// use tower_layer::{Layer, layer_fn};
///
/// # #[derive(Clone)] struct Handler;
/// # #[derive(Clone)] struct Trace<S>(S);
/// let trace_layer = layer_fn(Trace);
/// let service = trace_layer.layer(SessionLayer::default().layer(Handler));
/// ```
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
            // A layer around this one has the same session in hand (rule C5).
            return ResponseFuture::pass_through(self.inner.call(request));
        }
        reaper.ensure_running(config);
        let cookies = CookieHeaders::of(request.headers());
        // A browser that sends no Cookie header may have lost the cookie that it was sent.
        let is_cookie_lost = cookies.is_empty()
            && config.cookie.is_secure()
            && !config.warned.of_lost_cookie.load(Ordering::Relaxed)
            && loses_secure_cookies(&request);
        let handle = SessionHandle::new(Arc::clone(config), cookies, outer);
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
