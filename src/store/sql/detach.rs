//! A future that is finished in the background if it is dropped: [`DetachOnDrop`].

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::runtime::Handle;

/// How long a future may run in the background. Then it is dropped.
const WITHIN: Duration = Duration::from_secs(2);

/// A future that, if it is dropped before its end, runs in the background for at most [`WITHIN`].
///
/// A client may give up each of its requests, and must not cost a connection each time. Each of these futures has a place
/// in the pool, so their number is bounded.
pub(super) struct DetachOnDrop<F: Future<Output: Send> + Send + 'static> {
    /// `None` once it has ended.
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
                let _ = tokio::time::timeout(WITHIN, future).await;
            });
        }
    }
}
