//! Sessions in Redis or Valkey, on one server or in a cluster: [`RedisStore`].
//!
//! Under the prefix, `cloakroom:` by default, there are
//!
//! ```text
//! {67}67e55044-…   a session, in the layout of `stored.rs`
//! {67}begun        the ids that begin with the byte 67, by the time when sessions got them, if that is kept
//! {67}             the ids that begin with the byte 67, in order, with hashes of their users
//! user:5f1d…       the ids of a user, under a hash of the user's name
//! ```
//!
//! A record that was created as a marker is in no index.

mod begun;
mod failure;
mod index;
mod keys;
mod link;
mod native;
mod reply;
mod script;
mod stored;
mod writes;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::redis::{Cmd, Value, aio::ConnectionManager, cluster_async::ClusterConnection};
use parking_lot::Mutex;

use self::{
    failure::corrupt,
    index::Progress,
    keys::Keys,
    link::{Batch, Link},
    native::Support,
    reply::number,
    script::{CONFIRM, DELETE, NO_SESSION},
    stored::Stored,
};
use super::{
    Created, Former, Order, Position, Query, Reaped, SessionStore, StoreError, StoreErrorKind,
    StorePage, Touched, Updated,
};
use crate::{
    clock::Timestamp,
    error::ConfigError,
    record::{Activity, Kept, Record, token::SessionId},
    throttle::Throttle,
};

/// Sessions in Redis or Valkey, on one server or in a cluster. Any number of processes may share them.
///
/// It is cheap to clone, and every clone uses the same connections. A connection that breaks is replaced. The
/// store needs the feature `redis`, Redis 7 or Valkey, and a server that does not evict keys
/// (`maxmemory-policy noeviction`, the default).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cloakroom::{SessionLayer, store::RedisStore};
///
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let layer = SessionLayer::new(store.prefix("shop:")?);
/// # Ok(())
/// # }
/// ```
///
/// # Servers
///
/// On Valkey since 8.1 and Redis since 8.4, a touch, and an update that does not change the user, is one native command,
/// `SET … IFEQ`, which compares the whole stored string. It is a script if the server does not have the
/// command, if the data have more than 4 KiB, or if another string is stored than the request has read. The store learns from
/// the answers which servers have the command, so the nodes of a cluster may be of different versions. It asks a
/// server that did not have it again after a minute.
///
/// On one server, a session without a user is created by `ZADD` and `SET … NX` in one round trip. In a cluster, and with
/// a user, it is a script.
///
/// # Durability
///
/// A session is written by one command or one script on the keys of one slot, so writes are exact on one server and in a cluster.
/// If the driver sends a command twice after a lost connection, the store recognises its own write by the
/// version. The server's settings decide what a crash of the server loses:
///
/// | `appendonly` | `appendfsync` | a crash loses | cost of a write |
/// | --- | --- | --- | --- |
/// | `yes` | `always` | nothing that was answered | a sync of the disk, which concurrent writes share |
/// | `yes` | `everysec` | up to two seconds of writes if the machine fails, nothing if the process does | hardly any |
/// | `yes` | `no` | the last 30 seconds or so if the machine fails | none |
/// | `no` | | everything since the last snapshot | none |
///
/// Replicas follow with a short delay. An unplanned failover loses the writes that the replica has not
/// received: a destroyed session may be back, an update may be lost, a new session may be unknown. If the
/// link to the replica was broken before, everything since then is lost. A planned failover
/// (`CLUSTER FAILOVER`) loses nothing. With [`wait_replicas`](Self::wait_replicas), an unplanned failover
/// loses nothing if the promoted replica is one that confirmed the write.
///
/// # Costs
///
/// Each call is one round trip. In a cluster, a write that binds a user takes two, because the user's index is written
/// first. An update or a touch takes two if its native command finds another string. Redis deletes sessions by itself,
/// five minutes after their deadline, and reports no endings. `delete_expired` removes their entries from the indexes, and
/// counts these entries as removed. In a cluster, a user's entry whose session was never written goes with the entry of that
/// user's next expired session. `delete_expired` reads at most 16,000 entries in a call, and the next call continues there.
/// The indexes take about 100 bytes for each session.
#[derive(Clone)]
pub struct RedisStore {
    link: Link,
    keys: Keys,
    replicas: Option<Replicas>,
    /// Whether there is an index of the newest sessions.
    keeps_begun: bool,
    swept: Arc<Mutex<Progress>>,
    /// How often a record that does not decode is logged.
    left_out: Arc<Throttle>,
    support: Arc<Support>,
}

/// How many replicas must confirm a write, and within which time.
#[derive(Clone, Copy, Debug)]
struct Replicas {
    count: usize,
    timeout: Duration,
}

impl RedisStore {
    /// Connects to one server: `redis://user:password@host:port/database`, or
    /// `rediss://` over TLS, which [must be turned on](super#tls).
    ///
    /// If the connection breaks, the store tries to connect again, up to six times in about a second. Requests
    /// wait for that, up to their `store_timeout`. If a request is dropped without an answer, the store sends a `PING`.
    /// If the server does not answer within a second, the store replaces the connection.
    ///
    /// # Errors
    ///
    /// `Unavailable` if it does not connect. The error's source names the host and the port. `Other` if `url`
    /// is not a URL of Redis, or asks for TLS and the driver was built without TLS.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Ok(Self::over(Link::one(url).await?))
    }

    /// Connects to a cluster by any of its nodes.
    ///
    /// The first byte of a session's id decides which node has it. The database is 0, and all nodes need the
    /// same user and password. After a failover, requests are sent again to the new primary, up to their
    /// `store_timeout`.
    ///
    /// # Errors
    ///
    /// The same as [`connect`](Self::connect).
    pub async fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, StoreError> {
        Ok(Self::over(Link::cluster(urls).await?))
    }

    /// Uses the application's own connections to one server, with their settings. With the driver's default
    /// settings, a call fails after half a second without an answer. Set a longer time.
    #[must_use]
    pub fn from_connection(connection: ConnectionManager) -> Self {
        Self::over(connection.into())
    }

    /// Uses the application's own connection to a cluster, with its settings.
    #[must_use]
    pub fn from_cluster(connection: ClusterConnection) -> Self {
        Self::over(connection.into())
    }

    fn over(link: Link) -> Self {
        // Nodes that start together sweep in different places.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().subsec_nanos();
        let first = Progress {
            bucket: since.to_be_bytes()[2],
            after: None,
        };
        Self {
            link,
            keys: Keys {
                prefix: "cloakroom:".to_owned(),
            },
            replicas: None,
            keeps_begun: false,
            swept: Arc::new(Mutex::new(first)),
            left_out: Arc::default(),
            support: Arc::new(Support::new()),
        }
    }

    /// Sets the beginning of every key's name. Default: `cloakroom:`.
    ///
    /// If applications share a server, each needs a prefix of its own, and no prefix may begin with
    /// another one. A prefix with a name in braces, such as `{shop}:`, puts all keys into one slot of a
    /// cluster.
    ///
    /// # Errors
    ///
    /// If the prefix contains `{}`: a cluster would keep a session and its index entry in
    /// different slots.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Result<Self, ConfigError> {
        let prefix = prefix.into();
        if prefix.contains("{}") {
            return Err(ConfigError::new(format!(
                "the prefix {prefix:?} of Redis keys contains empty braces: put a name between them, \
                 as in \"{{shop}}:\", or leave them out"
            )));
        }
        self.keys.prefix = prefix;
        Ok(self)
    }

    /// Keeps an index of the sessions by the time when they got their ids, so that
    /// [`Sessions`](crate::Sessions) can list the newest first. Default: no index. Then such a list is
    /// `Unsupported`, except for a single user.
    ///
    /// Only `create` writes to the index. It takes about 130 bytes a session. Every node needs the same
    /// setting. Sessions that were created without the index are missing in such lists.
    #[must_use]
    pub fn index_begun(mut self) -> Self {
        self.keeps_begun = true;
        self
    }

    /// After each write of a session, waits until `count` replicas have it, for at most `timeout`. The shortest
    /// timeout is a millisecond. By default the store does not wait.
    ///
    /// If fewer replicas confirm in time, the call fails with `Timeout`, and the visitor gets a 503: the write
    /// was applied, but a failover may lose it. Touches do not wait. Waiting delays the other calls on the same
    /// connection. `load_latest` becomes a write, so that it returns only data that the replicas have.
    #[must_use]
    pub fn wait_replicas(mut self, count: usize, timeout: Duration) -> Self {
        if count > 0 {
            self.link.set_replica_wait(timeout);
        }
        self.replicas = (count > 0).then_some(Replicas { count, timeout });
        self
    }

    /// Sends a write, and waits for replicas if that is set.
    async fn write(&self, route: Vec<u8>, command: Cmd) -> Result<Value, StoreError> {
        if self.replicas.is_none() {
            return self.link.ask(&route, command).await;
        }
        let commands = vec![command];
        let mut replies = self.write_all(vec![Batch { route, commands }]).await?;
        Ok(replies.swap_remove(0))
    }

    /// Several [writes](Self::write) in one round trip.
    async fn write_all(&self, batches: Vec<Batch>) -> Result<Vec<Value>, StoreError> {
        let Some(replicas) = self.replicas else {
            return self.link.send(batches).await;
        };
        let mut batches = self.link.combine(batches);
        let mut waits = Vec::new();
        for batch in &mut batches {
            let timeout = u64::try_from(replicas.timeout.as_millis()).unwrap_or(u64::MAX);
            let mut wait = ::redis::cmd("WAIT");
            wait.arg(replicas.count).arg(timeout.max(1));
            let before = waits.last().map_or(0, |place| place + 1);
            waits.push(before + batch.commands.len());
            batch.commands.push(wait);
        }
        let mut replies = self.link.send(batches).await?;
        for place in waits.into_iter().rev() {
            let confirmed = number(&replies.remove(place)).map_err(StoreError::in_doubt)?;
            if confirmed < i64::try_from(replicas.count).unwrap_or(i64::MAX) {
                let what = format!(
                    "{confirmed} of {} replicas confirmed a write within {:?}",
                    replicas.count, replicas.timeout
                );
                return Err(StoreError::new(StoreErrorKind::Timeout, what));
            }
        }
        Ok(replies)
    }

    /// The keys of a session and of its bucket.
    fn places(&self, id: SessionId) -> [Vec<u8>; 2] {
        [self.keys.session(id), self.keys.bucket(id.as_bytes()[0])]
    }

    /// The reply of a script, or an error if it did not find a session of a known layout.
    async fn script_reply(&self, id: SessionId, reply: &Value) -> Result<i64, StoreError> {
        match number(reply)? {
            NO_SESSION => {
                // A load returns the right error.
                let error = self.load(id).await.err();
                Err(error.unwrap_or_else(|| corrupt("what a script found is no session")))
            }
            number => Ok(number),
        }
    }
}

pub(super) fn get(key: &[u8]) -> Cmd {
    let mut get = ::redis::cmd("GET");
    get.arg(key);
    get
}

impl SessionStore for RedisStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        if record.user().is_none() && !self.link.is_cluster() {
            return self.create_natively(id, record, activity).await;
        }
        let created = if record.is_moved() {
            self.create_natively(id, record, activity).await
        } else {
            self.enter_first(id, record).await?;
            self.create_once(id, record, activity).await
        };
        match self.in_doubt_if_resent(created)? {
            Created::Exists if self.has_written(id, record.version()).await? => Ok(Created::Yes),
            created => Ok(created),
        }
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let key = self.keys.session(id);
        let found = self.link.ask(&key, get(&key)).await?;
        Stored::read(found)?.map(Stored::decode).transpose()
    }

    async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        if self.replicas.is_none() {
            return self.load(id).await;
        }
        let key = self.keys.session(id);
        let confirm = CONFIRM.on(&[&key]);
        let found = self.write(key, confirm).await?;
        Stored::read(found)?.map(Stored::decode).transpose()
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        former: Former<'_>,
    ) -> Result<Updated, StoreError> {
        if record.user() != former.record().user() {
            self.enter_first(id, record).await?;
        } else {
            let updated = self.update_natively(id, record, activity, former).await;
            if self.in_doubt_if_resent(updated)? {
                return Ok(Updated::Saved);
            }
        }
        let updated = self.update_once(id, record, activity, former.version());
        match self.in_doubt_if_resent(updated.await)? {
            Updated::Conflict if self.has_written(id, record.version()).await? => {
                Ok(Updated::Saved)
            }
            updated => Ok(updated),
        }
    }

    async fn touch(
        &self,
        id: SessionId,
        former: Former<'_>,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        if self.in_doubt_if_resent(self.touch_natively(id, activity, former).await)? {
            return Ok(Touched::Yes);
        }
        let touched = self.touch_once(id, former.version(), activity).await;
        self.in_doubt_if_resent(touched)
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        let [key, bucket] = self.places(id);
        let begun = self.keys.begun(id.as_bytes()[0]);
        let keys: [&[u8]; 3] = [&key, &bucket, &begun];
        let mut delete = DELETE.on(&keys[..if self.keeps_begun { 3 } else { 2 }]);
        delete.arg(id.as_bytes());
        delete.arg(if self.replicas.is_some() { "w" } else { "" });
        let deleted = self.write(key, delete).await;
        let deleted = deleted.and_then(|deleted| number(&deleted));
        Ok(self.in_doubt_if_resent(deleted)? == 1)
    }

    /// Redis itself deletes the sessions. This removes their entries from the indexes.
    async fn delete_expired(&self, _: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.sweep(limit).await
    }

    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        match query.order() {
            Order::NewestFirst => self.newest(query, after, limit).await,
            Order::Id | Order::LastSeenFirst => {
                let selection = query.ordered_by_id()?;
                let after = after.map(Position::id).transpose()?;
                self.page(selection, after, limit).await
            }
        }
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.count_selected(query).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.link.ping().await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.keys.prefix)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}
