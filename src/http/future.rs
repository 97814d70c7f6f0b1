//! The response's way out: [`ResponseFuture`].

use std::{
    error::Error as _,
    fmt,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tracing::{error, warn};

use crate::{
    commit::{
        self, Failed, Occasion, ResponseHead, Started,
        try_now::{Tried, try_now},
    },
    config::Config,
    http::headers,
    observe::context::EventContext,
    session::handle::SessionHandle,
    state::{Strong, shared::Shared},
};

pin_project! {
    /// The response future of [`SessionService`](crate::SessionService).
    ///
    /// It resolves to the inner service's response once the session is committed, or to an empty
    /// 503 if the session cannot be saved. If the future is dropped, or the inner service fails, nothing
    /// is committed.
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        PassThrough {
            #[pin]
            inner: F,
        },
        Inner {
            #[pin]
            inner: F,
            session: Uncommitted,
        },
        Committing {
            response: Option<Response<B>>,
            commit: Committing,
            session: Uncommitted,
        },
    }
}

type Committing = Pin<Box<dyn Future<Output = Result<ResponseHead, Failed>> + Send>>;

/// The session of a request that is not committed yet. If this is dropped, pending changes are
/// discarded (rule C2): the closure of an update may hold the session.
struct Uncommitted {
    handle: Option<SessionHandle>,
    /// Whether a `Secure` cookie in the response does not come back.
    is_cookie_lost: bool,
    /// The application's data for the events of this request.
    context: Option<EventContext>,
}

impl Uncommitted {
    /// The session, for the caller to commit.
    fn take(&mut self) -> SessionHandle {
        self.handle.take().expect("polled after completion")
    }
}

impl Drop for Uncommitted {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            commit::abandon(handle.shared());
        }
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(crate) fn new(
        inner: F,
        handle: SessionHandle,
        is_cookie_lost: bool,
        context: Option<EventContext>,
    ) -> Self {
        let session = Uncommitted {
            handle: Some(handle),
            is_cookie_lost,
            context,
        };
        Self {
            state: State::Inner { inner, session },
        }
    }

    pub(crate) fn pass_through(inner: F) -> Self {
        Self {
            state: State::PassThrough { inner },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::PassThrough { inner } => return inner.poll(context),
                StateProj::Inner { inner, session } => {
                    let _entered = session.context.as_ref().map(EventContext::enter);
                    let mut response = ready!(inner.poll(context))?;
                    let is_cookie_lost = session.is_cookie_lost;
                    let handle = session.take();
                    let shared = handle.shared();
                    let started = match try_now(shared) {
                        Tried::Unused => return Poll::Ready(Ok(response)),
                        Tried::Committed(committed) => {
                            finish(&mut response, committed, shared, is_cookie_lost);
                            return Poll::Ready(Ok(response));
                        }
                        Tried::Waits(started) => started,
                    };
                    let context = session.context.take();
                    let commit = Box::pin(commit_head(Strong::clone(shared), started));
                    state.set(State::Committing {
                        response: Some(response),
                        commit,
                        session: Uncommitted {
                            handle: Some(handle),
                            is_cookie_lost,
                            context,
                        },
                    });
                }
                StateProj::Committing {
                    response,
                    commit,
                    session,
                } => {
                    let _entered = session.context.as_ref().map(EventContext::enter);
                    let committed = ready!(commit.as_mut().poll(context));
                    let mut response = response.take().expect("polled after completion");
                    let handle = session.take();
                    let is_cookie_lost = session.is_cookie_lost;
                    finish(&mut response, committed, handle.shared(), is_cookie_lost);
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

/// Adds the session headers to the response, or replaces it by the 503 if the session was not saved.
fn finish<B: Default>(
    response: &mut Response<B>,
    committed: Result<ResponseHead, Failed>,
    shared: &Shared,
    is_cookie_lost: bool,
) {
    let config = &*shared.config;
    match committed {
        Ok(head) => {
            if is_cookie_lost && headers::sets_cookie(&head, shared) {
                warn_of_lost_cookie(config);
            }
            headers::apply(response.headers_mut(), &head, shared);
        }
        Err(failed) => {
            let Failed { error, .. } = &failed;
            if let Some(suppressed) = config.failures.not_kept.admit() {
                error!(%error, cause = ?error.source(), suppressed, "the session was not saved");
            }
            *response = headers::unavailable(response, failed, shared);
        }
    }
}

fn warn_of_lost_cookie(config: &Config) {
    if !config.warned.of_lost_cookie.swap(true, Ordering::Relaxed) {
        warn!(
            cookie = config.cookie.name(),
            "the session cookie does not come back: it is `Secure`, and the request came over plain \
             http. Use https, or `SessionCookie::insecure` in development"
        );
    }
}

async fn commit_head(
    shared: Strong<Shared>,
    started: Option<Box<Started>>,
) -> Result<ResponseHead, Failed> {
    commit::commit_in_span(&shared, Occasion::Head, started).await
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
