//! Sessions in a database that sqlx talks to: [`SqlStore`], under the names
//! of its databases.

mod calls;
mod connections;
mod driver;
mod failure;
mod lease;
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod table;
mod value;
mod verdict;

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use sqlx::{Connection as _, Pool, pool::PoolOptions};

use self::{
    connections::Connections,
    driver::{Driver, Options},
    failure::{failure, store_error, verdict},
    lease::Lease,
    statements::Statements,
    table::TableName,
    value::{Answer, Value, Wanted},
    verdict::Verdict,
};
use super::{RemovalSink, StoreError, StoreErrorKind};
use crate::{deadline::back_off, error::ConfigError};

/// Sessions in a PostgreSQL database, from version 12 on.
///
/// What all SQL stores have in common says [`SqlStore`].
///
/// # What a crash costs
///
/// With PostgreSQL's defaults (`fsync` and `synchronous_commit` on) nothing
/// that was answered: a saved session is on the server's disk. With
/// `synchronous_commit = off` the last fraction of a second may be lost, whole
/// writes at a time. A standby that takes over has what had been replicated.
///
/// # What it costs
///
/// Each write makes a new version of its row, which autovacuum takes away. It
/// is worth a lower `fillfactor` and a keener autovacuum on busy tables:
/// `ALTER TABLE sessions SET (autovacuum_vacuum_scale_factor = 0.02)`.
///
/// # How to run it
///
/// Behind a pooler that lends a connection for each transaction (PgBouncer),
/// it must know prepared statements, or the pool's options say
/// `statement_cache_capacity(0)`. How TLS is turned on says
/// [the module](super#tls).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use cloakroom::{SessionLayer, store::PostgresStore};
///
/// let pool = sqlx::PgPool::connect("postgres://app@localhost/app").await?;
/// let store = PostgresStore::new(pool).table("sessions")?;
/// store.migrate().await?;
/// let layer = SessionLayer::new(store);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "postgres")]
pub type PostgresStore = SqlStore<sqlx::Postgres>;

/// Sessions in a MySQL (from 8.0.1 on) or MariaDB (from 10.6 on) database.
///
/// What all SQL stores have in common says [`SqlStore`].
///
/// # What a crash costs
///
/// With InnoDB's default (`innodb_flush_log_at_trx_commit = 1`) nothing that
/// was answered. With 2, what the operating system had not written when the
/// machine failed; with 0, a second. A replica that takes over has what had
/// been replicated: in a Galera cluster, let all nodes write to one member, or
/// a version that was read on another may be an older one.
///
/// # What it costs
///
/// Ids are random, so rows come and go all over the table: it should fit into
/// `innodb_buffer_pool_size`. A session of more than `max_allowed_packet`
/// (16 MiB and more) is refused. Deleting expired ones, in the background, is
/// a transaction of four statements.
///
/// # How to run it
///
/// MySQL takes a password over TLS, or by RSA: that is the feature `mysql-rsa`.
/// How TLS is turned on says [the module](super#tls).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use cloakroom::{SessionLayer, store::MySqlStore};
///
/// let pool = sqlx::MySqlPool::connect("mysql://app@localhost/app").await?;
/// let store = MySqlStore::new(pool).table("sessions")?;
/// store.migrate().await?;
/// let layer = SessionLayer::new(store);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "mysql")]
pub type MySqlStore = SqlStore<sqlx::MySql>;

/// Sessions in an SQLite database: a file that the processes of one machine share.
///
/// What all SQL stores have in common says [`SqlStore`].
///
/// # What a crash costs
///
/// With SQLite's default (`synchronous = FULL`) nothing that was answered,
/// also where the machine fails. `NORMAL` is faster by far and loses nothing
/// where the process alone ends; a machine that fails may lose the last
/// writes, whole ones, and never damages the file.
///
/// # What it costs
///
/// One process writes at a time, for as long as a sync of the disk takes;
/// reading goes on meanwhile. Others wait for it up to the `busy_timeout` of
/// the pool's options (sqlx: 5 seconds), then the call is `Unavailable`.
///
/// # How to run it
///
/// On a local disk, not a network's. [`migrate`](SqlStore::migrate) switches
/// the file to WAL, which it remembers: two more files appear beside it. A
/// database in memory ends with its connection, so the pool must have just
/// one, which never goes: `max_connections(1)`, no `idle_timeout`, no
/// `max_lifetime`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cloakroom::{SessionLayer, store::SqliteStore};
/// use sqlx::sqlite::SqlitePoolOptions;
///
/// let pool = SqlitePoolOptions::new().max_connections(1);
/// # let pool = pool.idle_timeout(None).max_lifetime(None);
/// let pool = pool.connect("sqlite::memory:").await?;
/// let store = SqliteStore::new(pool).table("sessions")?;
/// store.migrate().await?;
/// let layer = SessionLayer::new(store);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "sqlite")]
pub type SqliteStore = SqlStore<sqlx::Sqlite>;

/// Sessions in a table, from a pool the application already has.
///
/// Cheap to clone; every clone is the same store. Use it under the name of
/// its database: `PostgresStore`, `MySqlStore`, `SqliteStore`.
///
/// # The table
///
/// [`migrate`](Self::migrate) makes it. The record is text, the JSON of
/// [`Record::to_bytes`](crate::Record::to_bytes), for people and other
/// programs to read. Beside it stand the version (`counter` and `writer`, the
/// 64 bits of each as a signed number), the times in milliseconds since the
/// Unix epoch (`expires_at` is NULL where the session never ends), and
/// `user_hash`, the SHA-256 of the user's bytes, which finds a user of any
/// length and any characters by an index.
///
/// # What it costs
///
/// Each call is one statement, and so one round trip, once a connection has
/// prepared it; only where an update or a touch hits nothing, a second one
/// asks why. A pool made with sqlx's defaults adds a ping before each:
/// `test_before_acquire(false)` saves that, for a call that finds its
/// connection dead is asked again on another (rule M5 makes that harmless).
/// [`connect`](Self::connect) makes such a pool. When a connection goes back,
/// sqlx pings it once more, which no call waits for, and which costs the server as
/// much as a load. So a connection is first kept for the next call: for some 2
/// milliseconds, and for 32 calls in a row at most, that an application may
/// have to wait for its turn at the pool.
///
/// A call that is dropped, as at the `store_timeout`, closes its connection,
/// so that no other call waits behind it. The pool opens another.
///
/// # Errors
///
/// They name the place, the database's code and what to do, and neither data
/// nor users nor passwords. A table that is not there is `Other`, and names
/// `migrate()`.
pub struct SqlStore<D: Driver> {
    connections: Arc<Connections<D>>,
    table: Arc<(TableName, Statements)>,
    sinks: Arc<RwLock<Vec<RemovalSink>>>,
}

/// How many expired sessions are deleted by one statement, and so under one
/// lock. MariaDB makes another plan of a list of 1000.
const REAP_BATCH: usize = 500;

/// How long [`SqlStore::connect`] and its pool try to get a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a call is asked again that the database undid in favour of others.
const MAX_UNDONE: u32 = 20;

impl<D: Driver> SqlStore<D> {
    /// A store in the table `sessions`.
    #[must_use]
    pub fn new(pool: Pool<D>) -> Self {
        Self::over(Connections::of(pool), TableName::default())
    }

    /// A store with a pool of its own, of sqlx's default size, in the table `sessions`.
    ///
    /// # Errors
    ///
    /// `Other` where `url` is none of this database. `Unavailable` where it
    /// does not connect within 5 seconds: the error names host and port, and
    /// not the password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let scheme = url.split(':').next().unwrap_or_default();
        let is_ours = D::URL_SCHEMES.contains(&scheme);
        let Some(options) = url.parse::<Options<D>>().ok().filter(|_| is_ours) else {
            // What the parser says may repeat parts of the URL.
            let expected = format!("not a URL of {}: expected {}", D::TITLE, D::URL);
            return Err(failure(StoreErrorKind::Other, expected));
        };
        let pool = PoolOptions::new()
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .connect_lazy_with(D::adjust(options));
        let store = Self::new(pool);
        // By itself, for the pool would not say why it does not connect.
        let options = store.pool().connect_options();
        match tokio::time::timeout(CONNECT, D::Connection::connect_with(&options)).await {
            Ok(connected) => {
                let connection = connected.map_err(|error| store.error(error))?;
                // It has answered; how it takes its leave does not matter.
                let _ = connection.close().await;
                Ok(store)
            }
            Err(_) => Err(store.error(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Another table than `sessions`, perhaps in a schema: `"app.sessions"`.
    /// The name is taken as it is, capitals included.
    ///
    /// # Errors
    ///
    /// A name of anything but up to 48 letters (a to z), digits and
    /// underscores, or one that begins with a digit.
    pub fn table(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self::over(self.connections, TableName::new(name)?))
    }

    fn over(connections: Arc<Connections<D>>, table: TableName) -> Self {
        let statements = D::statements(&table);
        Self {
            connections,
            table: Arc::new((table, statements)),
            sinks: Arc::default(),
        }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool<D> {
        &self.connections.pool
    }

    fn table_name(&self) -> &TableName {
        &self.table.0
    }

    fn statements(&self) -> &Statements {
        &self.table.1
    }

    fn error(&self, error: sqlx::Error) -> StoreError {
        store_error::<D>(error, &self.pool().connect_options(), self.table_name())
    }

    async fn lease(&self) -> Result<Lease<D>, StoreError> {
        let lease = Lease::of(&self.connections).await;
        // Without a connection nothing was sent.
        lease.map_err(|error| self.error(error).not_applied())
    }

    /// Asks one statement; again where the connection turns out to be dead, or
    /// the database undid it. With the answer comes the error of a connection
    /// that was lost on the way: what was asked may have happened twice.
    async fn ask(
        &self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<(Asked<D>, Option<StoreError>), StoreError> {
        let mut lost = None;
        let mut undone = 0;
        // After a restart of the server all connections are dead, but none twice.
        let mut dead = self.pool().size();
        loop {
            let mut lease = match self.lease().await {
                Ok(lease) => lease,
                // What was sent before may have been applied.
                Err(error) => return Err(lost.unwrap_or(error)),
            };
            let error = match lease.ask(sql, values, wanted).await {
                Ok(answer) => return Ok((Asked::Answer(answer), lost)),
                Err(error) => error,
            };
            drop(lease);
            match verdict::<D>(&error) {
                Verdict::Duplicate => return Ok((Asked::Duplicate, lost)),
                Verdict::Lost if dead > 0 => {
                    dead -= 1;
                    lost = Some(self.error(error));
                }
                Verdict::Undone if undone < MAX_UNDONE => {
                    back_off(undone).await;
                    undone += 1;
                }
                _ => return Err(lost.unwrap_or_else(|| self.error(error))),
            }
        }
    }

    /// How many rows a statement hit.
    async fn count_hit(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let (asked, _) = self.ask(sql, values, Wanted::Count).await?;
        Ok(asked.count())
    }

    async fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<D::Row>, StoreError> {
        match self.ask(sql, values, Wanted::Rows).await? {
            (Asked::Answer(answer), _) => Ok(answer.rows),
            (Asked::Duplicate, _) => Ok(Vec::new()),
        }
    }
}

/// What a statement came to.
enum Asked<D: Driver> {
    Answer(Answer<D>),
    /// The row was there already.
    Duplicate,
}

impl<D: Driver> Asked<D> {
    fn count(&self) -> u64 {
        match self {
            Self::Answer(answer) => answer.count,
            Self::Duplicate => 0,
        }
    }
}

// By hand, because a derived one would ask the same of the driver.
impl<D: Driver> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self {
            connections: Arc::clone(&self.connections),
            table: Arc::clone(&self.table),
            sinks: Arc::clone(&self.sinks),
        }
    }
}

impl<D: Driver> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("database", &D::TITLE)
            .field("table", &format_args!("{}", self.table_name()))
            .finish_non_exhaustive()
    }
}
