//! The graceful shutdown of a server with open sockets and event streams: [`Shutdown`].

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The graceful shutdown of a server with sessions.
///
/// A graceful shutdown waits until all responses have ended, but a WebSocket or an event stream does not end by itself.
/// Pass a `Shutdown` to the layer, and end streams when it begins: wait for
/// [`Session::shutting_down`](crate::Session::shutting_down) in a handler, or for [`begun`](Self::begun) elsewhere.
/// Unlike after [`Session::ended`](crate::Session::ended), the session stays, and the visitor can connect to the next
/// process with it.
///
/// It is cheap to clone, and every clone is the same shutdown.
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
/// let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.after(ctrl_c));
/// let too_long = async {
///     shutdown.begun().await;
///     tokio::time::sleep(Duration::from_secs(10)).await;
/// };
/// tokio::select! {
///     served = server.into_future() => served?,
///     // Otherwise a client that sends half a request would hold the server up.
///     () = too_long => {}
/// }
/// // Waits for background tasks of cancelled requests.
/// shutdown.finish(Duration::from_secs(5)).await;
/// // Nothing writes to the store any more.
/// store.save_to("sessions").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Default)]
struct Inner {
    has_begun: watch::Sender<bool>,
    /// How many background tasks are running.
    tasks: watch::Sender<usize>,
}

impl Shutdown {
    /// Returns a shutdown that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown: [`begun`](Self::begun) resolves, and layers stop deleting expired sessions in the
    /// background. Requests are served as before. Another call does nothing.
    pub fn begin(&self) {
        self.0.has_begun.send_replace(true);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.has_begun.borrow()
    }

    /// Resolves when the shutdown begins, or at once if it has begun.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        async move {
            // The sender lives as long as `this`.
            let _ = this.0.has_begun.subscribe().wait_for(|begun| *begun).await;
        }
    }

    /// A future that begins the shutdown when `signal` resolves, and then resolves too. Pass it to
    /// `with_graceful_shutdown` of `axum::serve`. It also resolves when [`begin`](Self::begin) is called.
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

    /// Waits until the background tasks of requests, and those that [`track`](Self::track) was called for, have ended,
    /// for at most `limit`. Call it when the server has stopped. Returns how many tasks are still running.
    ///
    /// The tasks of requests roll back what cancelled or late requests have begun in the store, and repeat failed
    /// log-outs. If such a task does not end in time, what it would have rolled back expires by itself. The call begins
    /// the shutdown if it has not begun.
    pub async fn finish(&self, limit: Duration) -> usize {
        self.begin();
        let mut tasks = self.0.tasks.subscribe();
        let _ = timeout(limit, tasks.wait_for(|tasks| *tasks == 0)).await;
        *tasks.borrow()
    }

    /// Counts a background task, until the returned guard is dropped: [`finish`](Self::finish) waits for it. Call it
    /// before the task is spawned, and move the guard into the task.
    ///
    /// ```
    /// use cloakroom::{Sessions, Shutdown};
    ///
    /// /// Ends the sessions of these users, or of as many as there is time for.
    /// fn end_later(sessions: Sessions, shutdown: &Shutdown, users: Vec<String>) {
    ///     let (task, shutdown) = (shutdown.track(), shutdown.clone());
    ///     tokio::spawn(async move {
    ///         let _task = task;
    ///         for user in users {
    ///             if shutdown.has_begun() || sessions.revoke_user(&user).await.is_err() {
    ///                 break;
    ///             }
    ///         }
    ///     });
    /// }
    /// ```
    pub fn track(&self) -> TrackedTask {
        self.0.tasks.send_modify(|tasks| *tasks += 1);
        TrackedTask(self.clone())
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}

/// A background task that [`Shutdown::finish`] waits for, until this is dropped. [`Shutdown::track`] returns it.
#[derive(Debug)]
#[must_use = "the task counts as ended when this is dropped"]
pub struct TrackedTask(Shutdown);

impl Drop for TrackedTask {
    fn drop(&mut self) {
        self.0.0.tasks.send_modify(|tasks| *tasks -= 1);
    }
}
