//! The request's way in: [`SessionService`].

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    config::Config, cookie::CookieHeaders, http::future::ResponseFuture, operator::reaper::Reaper,
    session::handle::SessionHandle,
};

/// What a [`SessionLayer`](crate::SessionLayer) makes of a service.
///
/// The response's body must have a default, the empty one, for the responses
/// that replace one whose session could not be kept (rule F2).
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    config: Arc<Config>,
    reaper: Arc<Reaper>,
}

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, config: Arc<Config>, reaper: Arc<Reaper>) -> Self {
        Self {
            inner,
            config,
            reaper,
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
        let cookie = &self.config.cookie;
        let outer = request.extensions().get::<SessionHandle>();
        if outer.is_some_and(|outer| outer.is_within(cookie.name())) {
            // A layer around this one has the same session in hand (rule C5).
            return ResponseFuture::passing_on(self.inner.call(request));
        }
        self.reaper.ensure_running(&self.config);
        let cookies = CookieHeaders::of(request.headers());
        let handle = SessionHandle::new(Arc::clone(&self.config), cookies, outer);
        request.extensions_mut().insert(handle.clone());
        ResponseFuture::new(self.inner.call(request), handle)
    }
}
