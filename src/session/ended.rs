//! Waiting for a session's end, see [`Session::ended`](crate::Session::ended).

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::{runtime::Handle, sync::watch, time::timeout};
use tracing::debug;

use crate::{
    clock::{Clock, Timestamp},
    config::Config,
    deadline::within,
    observe::{
        event::{EndReason, SessionEnd},
        timed::TimedStore,
    },
    record::{
        Kept,
        lifetime::{Lifetimes, is_past},
        token::SessionId,
    },
    state::{Strong, decision::Decision, shared::Shared},
};

/// The shortest pause between two loads, also if the layer's clock stands still or is behind.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Resolves when the session of `shared` is over. Drops the request as soon as it knows which session that is.
pub(crate) async fn ended(shared: Strong<Shared>) -> SessionEnd {
    if Handle::try_current().is_err() {
        // There is no timer here.
        debug!("waiting for a session's end outside of a tokio runtime: it is not noticed");
        return std::future::pending().await;
    }
    let watch = Watch::of(&shared.config);
    let waiters = Arc::clone(&watch.store.observers.waiters);
    let decision = shared.state().decision(&waiters);
    // The response head decides which session it is. The request must be able to end before.
    drop(shared);
    let mut waiter = match decision.await {
        Ok(Decision::Session(waiter)) => waiter,
        Ok(Decision::Over(end)) => return end,
        Ok(Decision::Nobody) | Err(_) => return std::future::pending().await,
    };
    let id = waiter.id();
    let calls = waiter.calls_to_look();
    let (mut told, mut found) = (pin!(waiter.end()), pin!(watch.find_over(id, calls)));
    poll_fn(|context| match told.as_mut().poll(context) {
        Poll::Ready(end) => Poll::Ready(end),
        Poll::Pending => found.as_mut().poll(context),
    })
    .await
}

/// What is needed to load the session. It does not hold the layer, so that the layer's background task can end.
struct Watch {
    store: TimedStore,
    clock: Arc<dyn Clock>,
    lifetimes: Lifetimes,
    timeout: Duration,
    interval: Duration,
}

impl Watch {
    fn of(config: &Config) -> Self {
        Self {
            store: config.store.clone(),
            clock: Arc::clone(&config.clock),
            lifetimes: config.lifetimes,
            timeout: config.store_timeout,
            interval: config.check_ended_every,
        }
    }

    /// Loads the session at each interval, at its deadline, and at each of the `calls`. Returns how it ended.
    async fn find_over(
        &self,
        id: SessionId,
        mut calls: Option<watch::Receiver<Option<SessionEnd>>>,
    ) -> SessionEnd {
        loop {
            let asked = async { Ok(self.store.load_latest(id).await?) };
            let pause = match within(self.timeout, asked).await {
                Ok(kept) => match self.judge(kept, self.clock.now()) {
                    Ok(remaining) => remaining.map_or(self.interval, |it| it.min(self.interval)),
                    Err(end) => return end,
                },
                Err(error) => {
                    // A failing store ends no session (rule F1).
                    debug!(session.id = %id, %error, "whether the session has ended is not known");
                    self.interval
                }
            };
            let called = async {
                if let Some(calls) = &mut calls
                    && calls.changed().await.is_ok()
                {
                    return;
                }
                std::future::pending::<()>().await;
            };
            let _ = timeout(pause.max(MIN_PAUSE), called).await;
        }
    }

    /// The time until the session's deadline. `None` if it never expires.
    fn judge(&self, kept: Option<Kept>, now: Timestamp) -> Result<Option<Duration>, SessionEnd> {
        let Some((record, activity)) = kept else {
            return Err(SessionEnd::Gone);
        };
        if record.is_moved() {
            return Err(match record.leads_to() {
                Some(_) => SessionEnd::Moved,
                None => SessionEnd::Gone,
            });
        }
        let absolute = self.lifetimes.absolute_deadline(&record);
        let deadline = self.lifetimes.deadline(&record, activity.last_seen_at);
        if is_past(absolute, now) {
            Err(SessionEnd::Ended(EndReason::Absolute))
        } else if is_past(deadline, now) {
            Err(SessionEnd::Ended(EndReason::Idle))
        } else {
            Ok(deadline.map(|deadline| deadline.since(now)))
        }
    }
}
