//! A time limit that costs nothing where the answer is there at once: [`within`].

use std::{
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::{runtime::Handle, time::Sleep};

/// Runs `future` for at most `limit` from the moment it first has to wait, or gives up with `None`.
///
/// A store in memory never waits, so it needs neither timer nor runtime. One
/// that does wait needs a tokio runtime with time enabled; outside of any
/// runtime there is no limit.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if sleep.is_none() && Handle::try_current().is_ok() {
            sleep = Some(Box::pin(tokio::time::sleep(limit)));
        }
        match &mut sleep {
            Some(sleep) => sleep.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
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
