//! A future that comes to its end if nobody waits for it any longer: [`DetachOnDrop`].

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::runtime::Handle;

/// How long a future goes on in the background. A database that answers no
/// sooner is taken for one that does not answer at all.
const WITHIN: Duration = Duration::from_secs(2);

/// A future that, if it is dropped before its end, goes on in the background for at most [`WITHIN`].
///
/// A client may give up each of its requests. If each of them cost a connection, that would
/// be an attack. Each of these futures has a place in the pool, which bounds their number.
pub(super) struct DetachOnDrop<F: Future<Output: Send> + Send + 'static> {
    /// `None`: it has come to its end.
    future: Option<Pin<Box<F>>>,
    is_begun: bool,
}

impl<F: Future<Output: Send> + Send + 'static> DetachOnDrop<F> {
    pub(super) fn new(future: F) -> Self {
        Self {
            future: Some(Box::pin(future)),
            is_begun: false,
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for DetachOnDrop<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.is_begun = true;
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let output = ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for DetachOnDrop<F> {
    fn drop(&mut self) {
        let Some(future) = self.future.take().filter(|_| self.is_begun) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // If it is not done by then, what it holds is dropped.
                let _ = tokio::time::timeout(WITHIN, future).await;
            });
        }
    }
}
