//! The request's way in: [`TowerSessionsService`].

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use cloakroom::{PresentedId, SessionHandle};
use http::{Request, Response};
use tower_service::Service;

use crate::{future::ResponseFuture, session::TowerSessions, user::UserFrom};

/// The service that [`TowerSessionsLayer`](crate::TowerSessionsLayer) puts around another one.
#[derive(Clone)]
pub struct TowerSessionsService<S> {
    inner: S,
    user: Option<UserFrom>,
}

impl<S> TowerSessionsService<S> {
    pub(crate) fn new(inner: S, user: Option<UserFrom>) -> Self {
        Self { inner, user }
    }
}

impl<S: fmt::Debug> fmt::Debug for TowerSessionsService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessionsService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TowerSessionsService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    ResBody: Default + Send,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Some(handle) = request.extensions().get::<SessionHandle>().cloned() else {
            tracing::error!(
                "no session layer: add `.layer(cloakroom::SessionLayer::default())` to the router, \
                 after `TowerSessionsLayer`"
            );
            return ResponseFuture::without_layer();
        };
        if handle.presented_id() != PresentedId::Unclear {
            let extensions = request.extensions_mut();
            let sessions = TowerSessions::open(handle, self.user.as_ref(), extensions);
            return ResponseFuture::new(self.inner.call(request), sessions);
        }
        // The service that was polled ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let user = self.user.clone();
        ResponseFuture::deferred(async move {
            // The result, also an error, holds for the whole request.
            let _ = handle.peek().await;
            let sessions = TowerSessions::open(handle, user.as_ref(), request.extensions_mut());
            ResponseFuture::new(inner.call(request), sessions).await
        })
    }
}
