//! A time limit that costs nothing where the answer is there at once: [`within`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::{runtime::Handle, time::Sleep};

use crate::{Error, ErrorKind};

/// Runs `future` for at most `limit` from the moment it first has to wait.
///
/// A store in memory never waits, so it needs neither timer nor runtime. One
/// that does wait needs a tokio runtime with time enabled; outside of any
/// runtime there is no limit. A store that panics is one that fails: the
/// request must not die of it.
pub(crate) async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut future = pin!(surviving(future));
    let mut sleep: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            let panicked = || Err(Error::new(ErrorKind::Other, "the session store panicked"));
            return Poll::Ready(output.unwrap_or_else(panicked));
        }
        if sleep.is_none() && Handle::try_current().is_ok() {
            sleep = Some(Box::pin(tokio::time::sleep(limit)));
        }
        match &mut sleep {
            Some(sleep) => sleep.as_mut().poll(context).map(|()| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the session store took longer than store_timeout, {limit:?}"),
                ))
            }),
            None => Poll::Pending,
        }
    })
    .await
}

/// Runs `future`; `None` where it panicked. The panic hook has reported it then.
pub(crate) async fn surviving<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // Nothing is used again after a panic.
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

/// Waits, by the clock where there is a runtime, else for one turn.
pub(crate) async fn pause(duration: Duration) {
    if duration.is_zero() || Handle::try_current().is_err() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(duration).await;
    }
}
