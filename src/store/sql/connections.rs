//! Where connections come from and go to: [`Connections`].

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
use tokio::sync::oneshot;

use super::{detach::DetachOnDrop, driver::Driver};

/// How long a connection is kept for the next call. The application that
/// shares the pool may be waiting for it.
const KEPT: Duration = Duration::from_millis(2);

/// After how many calls in a row a connection goes back, however many more
/// wait here: who waits at the pool has a turn.
const CALLS: u32 = 32;

/// How long a connection may take to prove that it is fit for the pool.
const RETURN: Duration = Duration::from_secs(5);

/// The pool, and the connections that were just used.
///
/// sqlx pings a connection that goes back to its pool, and that is as much
/// work for the server as loading a session. Where many calls follow each
/// other the next one takes it from here.
pub(super) struct Connections<D: Driver> {
    pub(super) pool: Pool<D>,
    /// Keeps a database there that is gone when nobody is connected.
    pub(super) anchor: Mutex<Option<D::Connection>>,
    kept: Mutex<Kept<D>>,
}

struct Kept<D: Driver> {
    /// With the time since when, the latest last.
    connections: Vec<(Instant, LeasedConnection<D>)>,
    /// Calls that found neither a connection here nor place in the pool for another.
    waiting: VecDeque<oneshot::Sender<LeasedConnection<D>>>,
    /// Whether a task takes back to the pool what stays too long.
    is_watched: bool,
}

/// A connection, and how many calls it has served since it left the pool, to
/// which it goes back when this is dropped.
pub(super) struct LeasedConnection<D: Driver> {
    connection: Option<PoolConnection<D>>,
    calls: u32,
}

impl<D: Driver> Connections<D> {
    pub(super) fn of(pool: Pool<D>) -> Arc<Self> {
        Arc::new(Self {
            pool,
            anchor: Mutex::new(None),
            kept: Mutex::new(Kept {
                connections: Vec::new(),
                waiting: VecDeque::new(),
                is_watched: false,
            }),
        })
    }

    pub(super) async fn lease(&self) -> Result<LeasedConnection<D>, sqlx::Error> {
        if self.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let offered = {
            let mut kept = self.kept.lock();
            if let Some((_, leased)) = kept.connections.pop() {
                return Ok(leased);
            }
            // Where the pool can open another, what comes first here would cut that off.
            let is_full = self.pool.size() >= self.pool.options().get_max_connections();
            (is_full && self.pool.num_idle() == 0).then(|| {
                while kept.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                    kept.waiting.pop_front();
                }
                let (offer, offered) = oneshot::channel();
                kept.waiting.push_back(offer);
                offered
            })
        };
        let Some(offered) = offered else {
            let pool = self.pool.clone();
            // If nobody waits any longer, the pool gets the connection that is being made.
            let acquired = async move { pool.acquire().await.map(LeasedConnection::new) };
            return DetachOnDrop::new(acquired).await;
        };
        let (mut offered, mut acquired) = (pin!(offered), pin!(self.pool.acquire()));
        poll_fn(|context| match offered.as_mut().poll(context) {
            Poll::Ready(Ok(leased)) => Poll::Ready(Ok(leased)),
            // Promises are kept for as long as `self` is there.
            _ => acquired
                .as_mut()
                .poll(context)
                .map_ok(LeasedConnection::new),
        })
        .await
    }

    /// Keeps a connection for the next call; nothing is open on it.
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
                // Who waited has gone, or got another.
                Err(back) => leased = back,
            }
        }
        kept.connections.push((Instant::now(), leased));
        let was_watched = mem::replace(&mut kept.is_watched, true);
        // A runtime that ends drops the task at once, which takes the lock.
        drop(kept);
        if !was_watched {
            runtime.spawn(watch(Watched(Arc::downgrade(self))));
        }
    }

    /// What was kept too long, and when the next will have been.
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

/// The task's hold: where its runtime ends before it does, another may begin.
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
        // Only what ends it takes it.
        self.connection.as_mut().expect("a connection was lent")
    }

    /// Not to be used again.
    pub(super) fn close(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            connection.close_on_drop();
        } else {
            // Nobody is left to talk to the server.
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
            // By itself the pool would wait for a server that hangs for as long as it
            // hangs, and lend the connection's place to nobody meanwhile.
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
