//! Keeps a connection for the next call before it goes back to the pool: [`Connections`].

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sqlx::{Pool, pool::PoolConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{detach::DetachOnDrop, driver::Driver};

/// How long a connection is kept for the next call. The application that
/// shares the pool may be waiting for it.
const KEPT: Duration = Duration::from_millis(2);

/// A connection goes back to the pool after so many calls in a row, so that other users of the pool get it.
const CALLS: u32 = 32;

/// How long the pool may take to check a connection that goes back.
const RETURN: Duration = Duration::from_secs(5);

/// The pool, and the connections that were just used.
///
/// sqlx pings a connection that goes back to its pool, which costs the server as much as a load. So the next call
/// takes it from here.
pub(super) struct Connections<D: Driver> {
    pub(super) pool: Pool<D>,
    /// An open connection. A database in memory ends with its last connection.
    pub(super) anchor: Mutex<Option<D::Connection>>,
    /// As many as the pool may have connections.
    places: Arc<Semaphore>,
    kept: Mutex<Kept<D>>,
}

/// Allows a call to wait for a connection of the pool, and to use it.
///
/// Calls wait for a place first. A call that is dropped while it waits costs nothing. A call with a place is finished, even
/// if it is dropped.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

struct Kept<D: Driver> {
    /// The kept connections, each with the time since when, the latest last.
    connections: Vec<(Instant, LeasedConnection<D>)>,
    /// Calls with a place that found no connection here, and wait for one of the pool.
    waiting: VecDeque<oneshot::Sender<LeasedConnection<D>>>,
    /// Whether a task is running that returns connections to the pool.
    is_watched: bool,
}

/// A connection of the pool, and how many calls it has served. It goes back to the pool when this is dropped.
pub(super) struct LeasedConnection<D: Driver> {
    connection: Option<PoolConnection<D>>,
    calls: u32,
}

impl<D: Driver> Connections<D> {
    pub(super) fn of(pool: Pool<D>) -> Arc<Self> {
        let size = pool.options().get_max_connections() as usize;
        Arc::new(Self {
            pool,
            places: Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS))),
            anchor: Mutex::new(None),
            kept: Mutex::new(Kept {
                connections: Vec::new(),
                waiting: VecDeque::new(),
                is_watched: false,
            }),
        })
    }

    pub(super) async fn lease(&self) -> Result<(LeasedConnection<D>, Place), sqlx::Error> {
        if self.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let place = Arc::clone(&self.places).acquire_owned();
        let place = match timeout(self.pool.options().get_acquire_timeout(), place).await {
            // Nobody closes the semaphore.
            Ok(place) => Arc::new(place.map_err(|_| sqlx::Error::PoolClosed)?),
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        let offered = {
            let mut kept = self.kept.lock();
            if let Some((_, leased)) = kept.connections.pop() {
                return Ok((leased, place));
            }
            while kept.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                kept.waiting.pop_front();
            }
            let (offer, offered) = oneshot::channel();
            kept.waiting.push_back(offer);
            offered
        };
        let (pool, held) = (self.pool.clone(), Arc::clone(&place));
        // A pool closes a connection that it is opening or checking for a call that is dropped.
        let acquired = DetachOnDrop::new(async move {
            let _held = held;
            pool.acquire().await.map(LeasedConnection::new)
        });
        let (mut offered, mut acquired) = (pin!(offered), pin!(acquired));
        let leased = poll_fn(|context| match offered.as_mut().poll(context) {
            Poll::Ready(Ok(leased)) => Poll::Ready(Ok(leased)),
            // A waiting sender lives as long as `self`.
            _ => acquired.as_mut().poll(context),
        });
        Ok((leased.await?, place))
    }

    /// Keeps a connection for the next call. It must have no open transaction.
    pub(super) fn keep(self: &Arc<Self>, mut leased: LeasedConnection<D>) {
        leased.calls += 1;
        let is_tired = leased.calls >= CALLS || self.pool.is_closed();
        let Some(runtime) = tokio::runtime::Handle::try_current()
            .ok()
            .filter(|_| !is_tired)
        else {
            return;
        };
        let mut kept = self.kept.lock();
        while let Some(offer) = kept.waiting.pop_front() {
            match offer.send(leased) {
                Ok(()) => return,
                // The call that waited was dropped, or has another connection.
                Err(back) => leased = back,
            }
        }
        kept.connections.push((Instant::now(), leased));
        let was_watched = mem::replace(&mut kept.is_watched, true);
        // Before the task starts: a runtime that ends drops it at once, which takes the lock.
        drop(kept);
        if !was_watched {
            runtime.spawn(watch(Watched(Arc::downgrade(self))));
        }
    }

    /// The connections that were kept too long, and when the next one will be.
    fn idle(&self) -> (Vec<(Instant, LeasedConnection<D>)>, Option<Instant>) {
        let mut kept = self.kept.lock();
        let young = |(since, _): &(Instant, _)| since.elapsed() < KEPT;
        let old = kept.connections.iter().position(young);
        let old = old.unwrap_or(kept.connections.len());
        let idle = kept.connections.drain(..old).collect();
        kept.is_watched = !kept.connections.is_empty();
        let next = kept.connections.first().map(|(since, _)| *since + KEPT);
        (idle, next)
    }
}

/// Held by the task. When its runtime ends, this allows another task to start.
struct Watched<D: Driver>(Weak<Connections<D>>);

impl<D: Driver> Drop for Watched<D> {
    fn drop(&mut self) {
        if let Some(connections) = self.0.upgrade() {
            connections.kept.lock().is_watched = false;
        }
    }
}

async fn watch<D: Driver>(watched: Watched<D>) {
    let mut pause = KEPT;
    loop {
        tokio::time::sleep(pause).await;
        let Some(connections) = watched.0.upgrade() else {
            return;
        };
        let (idle, next) = connections.idle();
        drop(idle);
        let Some(next) = next else {
            return;
        };
        pause = next.saturating_duration_since(Instant::now());
    }
}

impl<D: Driver> LeasedConnection<D> {
    fn new(connection: PoolConnection<D>) -> Self {
        Self {
            connection: Some(connection),
            calls: 0,
        }
    }

    pub(super) fn connection(&mut self) -> &mut D::Connection {
        // Taken only when this ends.
        self.connection.as_mut().expect("a connection was lent")
    }

    /// Closes the connection.
    pub(super) fn close(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            connection.close_on_drop();
        } else {
            // Without a runtime, the connection cannot be closed properly.
            drop(connection.detach());
        }
    }
}

impl<D: Driver> Drop for LeasedConnection<D> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            // The pool itself would wait as long as the server hangs, and not open another connection meanwhile.
            Ok(runtime) => {
                let mut connection = connection;
                runtime.spawn(async move {
                    let _ = tokio::time::timeout(RETURN, connection.return_to_pool()).await;
                });
            }
            Err(_) => drop(connection.detach()),
        }
    }
}
