//! A time limit for a future: [`within`]. It costs nothing if the future is ready at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{runtime::Handle, time::Sleep};

use crate::{
    error::{Error, ErrorKind},
    random::unique,
};

/// Runs `future` for at most `limit` from the moment it first has to wait.
///
/// A future that is ready at once needs neither timer nor runtime. A future that waits needs a tokio runtime with time
/// enabled; without a runtime there is no limit. A panic of the future becomes an error, so that a store that panics does
/// not take the request with it.
pub(crate) fn within<T, F>(limit: Duration, future: F) -> Within<F>
where
    F: Future<Output = Result<T, Error>>,
{
    Within {
        future: catching_panics(future),
        limit,
        sleep: None,
    }
}

/// Runs `future`. `None` if it panicked, which the panic hook has reported.
pub(crate) fn catching_panics<F: Future>(future: F) -> CatchUnwind<F> {
    CatchUnwind { future }
}

// Both futures are written by hand, because an `async fn` stores its argument twice, and these are around every store
// call of a request.

pin_project! {
    pub(crate) struct Within<F> {
        #[pin]
        future: CatchUnwind<F>,
        limit: Duration,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<T, F: Future<Output = Result<T, Error>>> Future for Within<F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(output.unwrap_or_else(|| Err(Error::panicked())));
        }
        let limit = *this.limit;
        if this.sleep.is_none() && Handle::try_current().is_ok() {
            *this.sleep = Some(Box::pin(tokio::time::sleep(limit)));
        }
        match this.sleep {
            Some(sleep) => sleep.as_mut().poll(context).map(|()| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the session store took longer than {limit:?}, see `store_timeout`"),
                ))
            }),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    pub(crate) struct CatchUnwind<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        // Nothing is used again after a panic.
        catch_unwind(AssertUnwindSafe(|| future.poll(context)))
            .map_or(Poll::Ready(None), |poll| poll.map(Some))
    }
}

/// How long [`back_off`] waits at most, the first time.
const BACKOFF: Duration = Duration::from_millis(1);
const MAX_DOUBLINGS: u32 = 6;

/// Exponential backoff with full jitter: uniform below one millisecond doubled
/// with each time before, up to 64.
pub(crate) async fn back_off(before: u32) {
    let most = BACKOFF * (1 << before.min(MAX_DOUBLINGS));
    let share = (unique() >> 32) as f64 / f64::from(u32::MAX);
    pause(most.mul_f64(share)).await;
}

/// Waits for a pause that grows with each turn. Without a runtime it only yields.
pub(crate) async fn pause(duration: Duration) {
    if duration.is_zero() || Handle::try_current().is_err() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(duration).await;
    }
}
