//! Sessions in Redis or Valkey, on one server or in a cluster: [`RedisStore`].
//!
//! Under the prefix, `cloakroom:` by default, there are
//!
//! ```text
//! {67}67e55044-…   a session: a hash of r (the record), v (its version), s (last
//!                  seen), e (expiry, or empty) and u (whose, as a hash, or empty)
//! {67}             the ids that begin with the byte 67, in their order
//! user:5f1d…       the ids of a user, under a hash of the user's name
//! ```

mod failure;
mod index;
mod keys;
mod link;
mod reply;
mod script;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::redis::{Value, aio::ConnectionManager, cluster_async::ClusterConnection};
use parking_lot::Mutex;

use self::{
    index::Position,
    keys::{Keys, UserHash, user_hash},
    link::{Batch, Call, Link, only},
    reply::{Fields, number},
    script::{
        CONFIRM, CREATE, DELETE, DONE, DONE_BEFORE, DONE_OTHER_USER, MISSING, OTHER_VERSION,
        Script, TOUCH, UPDATE,
    },
};
use super::{
    Created, Filter, Page, Reaped, SessionStore, StoreError, StoreErrorKind, Touched, Updated,
};
use crate::{Activity, Record, SessionId, Timestamp, Version, record::Kept};

/// Sessions in Redis or Valkey, on one server or in a cluster, shared by any
/// number of processes.
///
/// Cheap to clone; every clone uses the same connections, and they mend
/// themselves. Needs the feature `redis`, Redis 7 or Valkey, and eviction
/// switched off (`maxmemory-policy noeviction`, the default).
///
/// ```no_run
/// # async fn example() -> Result<(), cloakroom::StoreError> {
/// use cloakroom::{SessionLayer, store::RedisStore};
///
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let layer = SessionLayer::new(store.prefix("shop:"));
/// # Ok(())
/// # }
/// ```
///
/// # What it guarantees
///
/// Compare-and-swap and touch are scripts on the keys of one slot, so they are
/// exact on one server and in a cluster. A command that is sent again after a
/// lost connection does no harm: versions tell (rule M5). What outlasts a
/// crash of the server is the server's to say:
///
/// | `appendonly` | `appendfsync` | a crash takes back | a write costs |
/// | --- | --- | --- | --- |
/// | `yes` | `always` | nothing that was answered | a sync of the disk, shared by those that wait together |
/// | `yes` | `everysec` | up to two seconds of writes where the machine goes down, none where the process does | next to nothing |
/// | `yes` | `no` | what the kernel had not written yet, some 30 seconds, where the machine goes down | nothing |
/// | `no` | | all since the last snapshot | nothing |
///
/// A replica follows a moment later. So a failover without warning can take
/// back what was answered in the moments before: a session that was
/// destroyed can be back, an update gone, a new session unknown. A planned one
/// (`CLUSTER FAILOVER`) takes nothing back.
/// [`wait_replicas`](Self::wait_replicas) closes that window, except where the
/// replica that is promoted is not among those that confirmed.
///
/// # What it costs
///
/// A round trip for each call, and one more for an update that binds another user. Redis
/// expires sessions by itself, five minutes past their deadline, and reports no endings.
/// `delete_expired` takes their entries out of the indexes, and those of users' deleted
/// sessions: it looks at 16,000 entries at most in a call and goes on there in the next,
/// and what it takes out counts as removed.
/// The indexes take some 100 bytes a session.
#[derive(Clone)]
pub struct RedisStore {
    link: Link,
    keys: Keys,
    replicas: Option<Replicas>,
    position: Arc<Mutex<Position>>,
}

/// How many replicas must have a write, and how long they may take.
#[derive(Clone, Copy, Debug)]
struct Replicas {
    count: usize,
    timeout: Duration,
}

/// How long past its deadline a session stays: what clocks of different machines may differ by.
const GRACE: Duration = Duration::from_secs(5 * 60);

impl RedisStore {
    /// Connects to one server: `redis://user:password@host:port/database`.
    ///
    /// Connections that break are made anew, by up to six attempts in about a
    /// second; requests wait for that, up to their `store_timeout`. A connection over which
    /// nothing has come for a second when a request gives up is replaced.
    ///
    /// # Errors
    ///
    /// `Unavailable` where it does not connect: the error's source names host
    /// and port. `Other` for what is no URL of Redis.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Ok(Self::over(Link::one(url).await?))
    }

    /// Connects to a cluster by any of its nodes.
    ///
    /// Sessions spread over it by the first byte of their id. It is database 0; user
    /// and password are the same for all nodes. After a failover, requests are sent
    /// again to the new primary, up to their `store_timeout`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, StoreError> {
        Ok(Self::over(Link::cluster(urls).await?))
    }

    /// Uses connections to one server that the application has already, with their own
    /// settings: the driver's default gives an answer half a second, which is short.
    #[must_use]
    pub fn from_connection(connection: ConnectionManager) -> Self {
        Self::over(connection.into())
    }

    /// Uses connections to a cluster that the application has already.
    #[must_use]
    pub fn from_cluster(connection: ClusterConnection) -> Self {
        Self::over(connection.into())
    }

    fn over(link: Link) -> Self {
        // Nodes that start together sweep in different places.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().subsec_nanos();
        let position = Position {
            bucket: since.to_be_bytes()[2],
            after: None,
        };
        Self {
            link,
            keys: Keys {
                prefix: "cloakroom:".to_owned(),
            },
            replicas: None,
            position: Arc::new(Mutex::new(position)),
        }
    }

    /// What the name of every key begins with; `cloakroom:` by default.
    ///
    /// Applications that share a server need different ones, and none may
    /// begin with another's. One with braces, `{shop}:`, puts all of it into one slot.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.keys.prefix = prefix.into();
        self
    }

    /// After each write of a session, waits until `count` replicas have it, for
    /// at most `timeout`, at least a millisecond; by default it does not wait.
    ///
    /// Where fewer have confirmed, the call fails with `Timeout`: it
    /// happened, and may yet be lost, so the visitor gets a 503. A touch is not waited
    /// for. The wait holds up what shares the connection, and
    /// `load_latest` becomes a write, so that it only tells what replicas have.
    #[must_use]
    pub fn wait_replicas(mut self, count: usize, timeout: Duration) -> Self {
        self.replicas = (count > 0).then_some(Replicas { count, timeout });
        self
    }

    /// Sends what must not be lost, and waits for replicas if it should.
    async fn write(&self, batches: Vec<Batch>) -> Result<Vec<Value>, StoreError> {
        let Some(replicas) = self.replicas else {
            return self.link.send(batches).await;
        };
        let mut batches = self.link.gather(batches);
        let mut waits = Vec::new();
        for batch in &mut batches {
            let timeout = replicas.timeout.as_millis().max(1);
            let wait = Call::command("WAIT")
                .arg(replicas.count.to_string())
                .arg(timeout.to_string());
            let before = waits.last().map_or(0, |place| place + 1);
            waits.push(before + batch.calls.len());
            batch.calls.push(wait);
        }
        let mut replies = self.link.send(batches).await?;
        for place in waits.into_iter().rev() {
            let confirmed = number(&replies.remove(place))?;
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

    /// A call of `CREATE` or `UPDATE`.
    fn store(
        &self,
        script: &'static Script,
        id: SessionId,
        record: &Record,
        activity: Activity,
        user: &UserHash,
    ) -> Call {
        let keys = vec![self.keys.session(id), self.keys.bucket(id.as_bytes()[0])];
        Call::script(script, keys)
            .arg(*id.as_bytes())
            .arg(record.to_bytes())
            .arg(record.version().to_string())
            .args(times(activity))
            .arg(user.clone())
            .arg(native(activity))
    }

    fn fields(&self, id: SessionId) -> Call {
        Call::command("HMGET")
            .arg(self.keys.session(id))
            .args(Fields::NAMES.map(|name| name.into()))
    }

    fn route(&self, id: SessionId, call: Call) -> Batch {
        Batch::one(&self.keys.bucket(id.as_bytes()[0]), call)
    }
}

/// Last seen and expiry, as they are kept.
fn times(activity: Activity) -> [Vec<u8>; 2] {
    let text = |at: Timestamp| at.as_millis().to_string().into_bytes();
    [
        text(activity.last_seen_at),
        activity.expires_at.map(text).unwrap_or_default(),
    ]
}

/// When Redis may delete it, in milliseconds since the epoch; empty: never.
fn native(activity: Activity) -> String {
    let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
    activity.expires_at.map_or_else(String::new, |at| {
        at.as_millis().saturating_add(grace).to_string()
    })
}

impl SessionStore for RedisStore {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        let user = user_hash(record.user());
        let create = self.store(&CREATE, id, record, activity, &user);
        let mut batches = vec![self.route(id, create)];
        if !user.is_empty() {
            batches.push(self.enter(id, &user));
        }
        let replies = self.write(batches).await?;
        let replies = replies.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        match replies.first() {
            Some(&DONE) => Ok(Created::Yes),
            _ => Ok(Created::Exists),
        }
    }

    async fn load(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        let batch = self.route(id, self.fields(id));
        Fields::read(only(self.link.send(vec![batch]).await?)?)?.decode()
    }

    async fn load_latest(&self, id: SessionId) -> Result<Option<Kept>, StoreError> {
        if self.replicas.is_none() {
            return self.load(id).await;
        }
        let confirm = Call::script(&CONFIRM, vec![self.keys.session(id)]);
        let replies = self.write(vec![self.route(id, confirm)]).await?;
        Fields::read(only(replies)?)?.decode()
    }

    async fn update(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
        expected: Version,
    ) -> Result<Updated, StoreError> {
        let user = user_hash(record.user());
        let update = self
            .store(&UPDATE, id, record, activity, &user)
            .arg(expected.to_string());
        let done = number(&only(self.write(vec![self.route(id, update)]).await?)?)?;
        if matches!(done, DONE_OTHER_USER | DONE_BEFORE) && !user.is_empty() {
            number(&only(self.write(vec![self.enter(id, &user)]).await?)?)?;
        }
        Ok(match done {
            DONE | DONE_OTHER_USER => Updated::Saved,
            MISSING => Updated::Missing,
            _ => Updated::Conflict,
        })
    }

    async fn touch(
        &self,
        id: SessionId,
        expected: Version,
        activity: Activity,
    ) -> Result<Touched, StoreError> {
        let touch = Call::script(&TOUCH, vec![self.keys.session(id)])
            .arg(expected.to_string())
            .args(times(activity))
            .arg(native(activity));
        let replies = self.link.send(vec![self.route(id, touch)]).await?;
        Ok(match number(&only(replies)?)? {
            MISSING => Touched::Missing,
            OTHER_VERSION => Touched::Stale,
            _ => Touched::Yes,
        })
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        let keys = vec![self.keys.session(id), self.keys.bucket(id.as_bytes()[0])];
        let delete = Call::script(&DELETE, keys)
            .arg(*id.as_bytes())
            .arg(if self.replicas.is_some() { "w" } else { "" });
        let replies = self.write(vec![self.route(id, delete)]).await?;
        Ok(number(&only(replies)?)? == 1)
    }

    /// Redis has deleted them: what is left are their entries in the indexes.
    async fn delete_expired(&self, _: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.sweep(limit).await
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        match &filter.user {
            Some(user) => self.list_user(user, filter, after, limit).await,
            None => self.list_all(filter, after, limit).await,
        }
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.count_all().await
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
