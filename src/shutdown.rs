//! How a server with open sockets and event streams comes to its end: [`Shutdown`].

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// Brings a server with sessions to its end in order.
///
/// A graceful shutdown waits for every response to end, and a WebSocket or an event stream does not end by itself.
/// Give the layer a `Shutdown`, and let streams end when it begins: by
/// [`Session::shutting_down`](crate::Session::shutting_down) in a handler, or by [`begun`](Self::begun) anywhere else.
/// That is not [`Session::ended`](crate::Session::ended): the session is alive, and its visitor may connect to the next
/// process with it.
///
/// Cheap to clone. Every clone is the same shutdown.
///
/// ```no_run
/// use std::{io, time::Duration};
/// use axum::Router;
/// use cloakroom::{MemoryStore, SessionLayer, Shutdown};
///
/// # async fn serve(listener: tokio::net::TcpListener) -> io::Result<()> {
/// let (store, shutdown) = (MemoryStore::default(), Shutdown::new());
/// let layer = SessionLayer::new(store.clone()).shutdown(&shutdown);
/// let app = Router::new().layer(layer);
///
/// let ctrl_c = async {
///     let _ = tokio::signal::ctrl_c().await;
/// };
/// // Begins on Ctrl-C: sockets and streams end, and then the server does.
/// axum::serve(listener, app).with_graceful_shutdown(shutdown.after(ctrl_c)).await?;
/// // What requests that were cut short have begun in the store is taken back.
/// shutdown.finish(Duration::from_secs(5)).await;
/// // Nobody writes any more.
/// store.save_to("sessions").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Default)]
struct Inner {
    has_begun: watch::Sender<bool>,
    /// How many background tasks of requests are running.
    tasks: watch::Sender<usize>,
}

impl Shutdown {
    /// One that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins: everything that waits for [`begun`](Self::begun) goes on, and layers stop deleting expired sessions in
    /// the background. Requests are served as before. Calling it again does nothing.
    pub fn begin(&self) {
        self.0.has_begun.send_replace(true);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.has_begun.borrow()
    }

    /// Resolves when the shutdown begins; at once where it has begun.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        async move {
            // The sender lives as long as `this`.
            let _ = this.0.has_begun.subscribe().wait_for(|begun| *begun).await;
        }
    }

    /// Begins when `signal` resolves, and resolves then: for `axum::serve`'s `with_graceful_shutdown`. It resolves too
    /// where somebody else calls [`begin`](Self::begin).
    pub fn after<S>(&self, signal: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: Future<Output = ()> + Send,
    {
        let (this, begun) = (self.clone(), self.begun());
        async move {
            tokio::select! {
                () = signal => this.begin(),
                () = begun => {}
            }
        }
    }

    /// Waits, once the server has stopped, until no request has anything left to do in the background, for at most
    /// `limit`. Returns how many tasks are left then: what they would have taken back expires by itself.
    ///
    /// Such tasks take back what a request that was dropped or came too late has begun in the store, and make failed
    /// log-outs again. Begins the shutdown where it has not begun.
    pub async fn finish(&self, limit: Duration) -> usize {
        self.begin();
        let mut tasks = self.0.tasks.subscribe();
        let _ = timeout(limit, tasks.wait_for(|tasks| *tasks == 0)).await;
        *tasks.borrow()
    }

    /// A background task, until the guard is dropped.
    pub(crate) fn track(&self) -> Tracked {
        self.0.tasks.send_modify(|tasks| *tasks += 1);
        Tracked(self.clone())
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}

/// A background task that is running.
pub(crate) struct Tracked(Shutdown);

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.0.tasks.send_modify(|tasks| *tasks -= 1);
    }
}
