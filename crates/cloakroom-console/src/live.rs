//! The live numbers: sampled and rendered once a tick, for all viewers together.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use cloakroom::{Sessions, Shutdown};
use futures_core::Stream;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    counts::Counts,
    pages::dashboard,
    sample::{History, TICK},
};

/// How long a tick waits for the number of sessions in the store. A later one has it, if the store takes longer.
const FOR_A_TICK: Duration = Duration::from_millis(200);

/// A stream ends after this time. The browser asks again, and `access` decides again.
const STREAM_FOR: Duration = Duration::from_secs(5 * 60);

pub(crate) struct Live {
    sessions: Sessions,
    node: String,
    history: Mutex<History>,
    counts: Arc<Counts>,
    /// The rendered numbers.
    rendered: watch::Sender<Arc<str>>,
    is_running: Mutex<bool>,
}

impl Live {
    pub(crate) fn new(sessions: Sessions, counts: Arc<Counts>, node: String) -> Arc<Self> {
        Arc::new(Self {
            sessions,
            node,
            history: Mutex::default(),
            counts,
            rendered: watch::Sender::default(),
            is_running: Mutex::new(false),
        })
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Starts sampling, unless it runs already. The first request calls this, because a router may be built outside of a
    /// runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut is_running = self.is_running.lock();
        if !*is_running {
            *is_running = true;
            self.sample();
            tokio::spawn(run(Arc::downgrade(self)));
        }
    }

    fn sample(&self) {
        let stats = self.sessions.stats();
        self.history
            .lock()
            .add(Instant::now(), SystemTime::now(), stats);
    }

    /// The numbers as they are now. Waits for at most `patience` for the number of sessions in the store.
    pub(crate) async fn render(&self, patience: Duration) -> maud::Markup {
        let counted = self.counts.all(patience).await;
        dashboard::numbers(&self.history.lock(), &self.node, &counted)
    }

    /// A stream of the rendered numbers, for some minutes, or until the server shuts down.
    pub(crate) fn stream(self: &Arc<Self>) -> Response {
        let until = Instant::now() + STREAM_FOR;
        let stream = Numbers {
            next: next(self.rendered.subscribe(), self.sessions.shutdown(), until),
            shutdown: self.sessions.shutdown().clone(),
            until,
        };
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
        Sse::new(stream).keep_alive(keep_alive).into_response()
    }
}

/// Samples and renders until the console is dropped.
async fn run(live: Weak<Live>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(live) = live.upgrade() else {
            return;
        };
        live.sample();
        if live.rendered.receiver_count() > 0 {
            let rendered = live.render(FOR_A_TICK).await.into_string();
            live.rendered.send_replace(rendered.into());
        }
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Arc<str>, watch::Receiver<Arc<str>>)>> + Send>>;

/// A stream of the rendered numbers. It ends with the console, when the shutdown begins, and at `until`.
struct Numbers {
    next: Next,
    shutdown: Shutdown,
    until: Instant,
}

fn next(mut rendered: watch::Receiver<Arc<str>>, shutdown: &Shutdown, until: Instant) -> Next {
    let begun = shutdown.begun();
    Box::pin(async move {
        tokio::select! {
            changed = rendered.changed() => changed.ok()?,
            () = begun => return None,
            () = tokio::time::sleep_until(until) => return None,
        }
        let numbers = Arc::clone(&rendered.borrow_and_update());
        Some((numbers, rendered))
    })
}

impl Stream for Numbers {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.next.as_mut().poll(context).map(|numbers| {
            let (numbers, rendered) = numbers?;
            self.next = next(rendered, &self.shutdown, self.until);
            Some(Ok(Event::default().data(&*numbers)))
        })
    }
}
