//! The response's way out: [`ResponseFuture`].

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use cloakroom::Error;
use http::{HeaderValue, Response, StatusCode, header};
use pin_project_lite::pin_project;

use crate::session::TowerSessions;

pin_project! {
    /// The response future of [`TowerSessionsService`](crate::TowerSessionsService).
    ///
    /// It resolves to the inner service's response after the changes are applied to cloakroom's session. If that fails, it
    /// resolves to an empty 503 or 500. No change is applied if it is dropped, or if the inner service fails.
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pin_project! {
    #[project = StateProj]
    enum State<F, B, E> {
        WithoutLayer,
        /// The session has to be loaded before the inner service is called.
        Deferred {
            response: BoxFuture<Result<Response<B>, E>>,
        },
        Inner {
            #[pin]
            inner: F,
            sessions: Option<TowerSessions>,
        },
        Finishing {
            response: Option<Response<B>>,
            finishing: BoxFuture<Result<(), Error>>,
        },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(crate) fn without_layer() -> Self {
        Self {
            state: State::WithoutLayer,
        }
    }

    pub(crate) fn deferred(
        response: impl Future<Output = Result<Response<B>, E>> + Send + 'static,
    ) -> Self {
        Self {
            state: State::Deferred {
                response: Box::pin(response),
            },
        }
    }

    pub(crate) fn new(inner: F, sessions: TowerSessions) -> Self {
        Self {
            state: State::Inner {
                inner,
                sessions: Some(sessions),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::WithoutLayer => {
                    return Poll::Ready(Ok(empty(StatusCode::INTERNAL_SERVER_ERROR)));
                }
                StateProj::Deferred { response } => return response.as_mut().poll(context),
                StateProj::Inner { inner, sessions } => {
                    let response = ready!(inner.poll(context))?;
                    let sessions = sessions.take().expect("polled after completion");
                    let is_server_error = response.status().is_server_error();
                    if !sessions.is_pending(is_server_error) {
                        return Poll::Ready(Ok(response));
                    }
                    let finishing = Box::pin(sessions.finish(is_server_error));
                    state.set(State::Finishing {
                        response: Some(response),
                        finishing,
                    });
                }
                StateProj::Finishing {
                    response,
                    finishing,
                } => {
                    let finished = ready!(finishing.as_mut().poll(context));
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(match finished {
                        Ok(()) => response,
                        Err(error) => not_kept(&error),
                    }));
                }
            }
        }
    }
}

fn empty<B: Default>(status: StatusCode) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = status;
    response
}

/// The response if the session could not be loaded or changed.
fn not_kept<B: Default>(error: &Error) -> Response<B> {
    tracing::error!(%error, "the session was not saved");
    if !error.is_transient() {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
