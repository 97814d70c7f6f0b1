//! The response's way out: [`ResponseFuture`].

use std::{
    error::Error as _,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tracing::error;

use crate::{
    commit::{self, Failed, Occasion, Outcome, prompt::settle_at_once},
    config::Config,
    http::headers,
    session::handle::SessionHandle,
    state::shared::Shared,
};

pin_project! {
    /// What [`SessionService`](crate::SessionService) answers with: the inner
    /// service's response, with the session committed before its head leaves.
    ///
    /// Boxes a future only where the commit may need the store. Dropped, or
    /// ended by an error of the inner service, it commits nothing (rule C2).
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        PassingOn {
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

type Committing = Pin<Box<dyn Future<Output = Result<Outcome, Failed>> + Send>>;

/// The session of a request whose commit has not come to its end. Dropped, it
/// commits nothing, and lets go of what is pending (rule C2): the closure of an
/// update may hold the session.
struct Uncommitted(Option<SessionHandle>);

impl Uncommitted {
    /// Who takes it out has the commit to see to.
    fn take(&mut self) -> SessionHandle {
        self.0.take().expect("polled after completion")
    }
}

impl Drop for Uncommitted {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.shared().abandon();
        }
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(crate) fn new(inner: F, handle: SessionHandle) -> Self {
        let session = Uncommitted(Some(handle));
        Self {
            state: State::Inner { inner, session },
        }
    }

    pub(crate) fn passing_on(inner: F) -> Self {
        Self {
            state: State::PassingOn { inner },
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
                StateProj::PassingOn { inner } => return inner.poll(context),
                StateProj::Inner { inner, session } => {
                    let response = ready!(inner.poll(context))?;
                    let handle = session.take();
                    let shared = handle.shared();
                    if let Some(committed) = settle_at_once(shared) {
                        return Poll::Ready(Ok(close(response, committed, &shared.config)));
                    }
                    let commit = Box::pin(commit_head(Arc::clone(shared)));
                    state.set(State::Committing {
                        response: Some(response),
                        commit,
                        session: Uncommitted(Some(handle)),
                    });
                }
                StateProj::Committing {
                    response,
                    commit,
                    session,
                } => {
                    let committed = ready!(commit.as_mut().poll(context));
                    let response = response.take().expect("polled after completion");
                    let handle = session.take();
                    let config = &handle.shared().config;
                    return Poll::Ready(Ok(close(response, committed, config)));
                }
            }
        }
    }
}

/// The response as it leaves: with what its head says, or replaced where the session was not kept.
fn close<B: Default>(
    mut response: Response<B>,
    committed: Result<Outcome, Failed>,
    config: &Config,
) -> Response<B> {
    match committed {
        Ok(outcome) => {
            headers::dress(response.headers_mut(), outcome, config);
            response
        }
        Err(failed) => {
            let Failed { error, .. } = &failed;
            error!(%error, cause = ?error.source(), "the session was not kept");
            headers::unavailable(&failed, config)
        }
    }
}

async fn commit_head(shared: Arc<Shared>) -> Result<Outcome, Failed> {
    commit::commit_in_span(&shared, Occasion::Head).await
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
