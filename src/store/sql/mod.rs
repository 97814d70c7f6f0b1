//! Sessions in a database, through sqlx: [`SqlStore`], with a name for each database.

mod calls;
mod connections;
mod detach;
mod driver;
mod failure;
mod lease;
mod listing;
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod retry;
mod selecting;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod table;
mod value;
mod verdict;

use std::{fmt, sync::Arc, time::Duration};

pub use self::migrate::PendingMigration;
use parking_lot::RwLock;
use sqlx::{Connection as _, Pool, pool::PoolOptions};

use self::{
    connections::Connections,
    driver::{Driver, Lifetime, Options},
    failure::store_error,
    lease::Lease,
    statements::Statements,
    table::TableName,
};
use super::{RemovalSink, StoreError, StoreErrorKind};
use crate::{error::ConfigError, queue::Queues, record::token::SessionId, throttle::Throttle};

/// Sessions in a PostgreSQL database, from version 12 on.
///
/// [`SqlStore`] documents what all SQL stores have in common.
///
/// # Durability
///
/// With PostgreSQL's defaults (`fsync` and `synchronous_commit` on) a crash loses nothing
/// that was answered. With `synchronous_commit = off` it may lose the writes of the
/// last fraction of a second. A standby that takes over lacks writes that were not replicated.
///
/// # Costs
///
/// Each write makes a new version of its row, and autovacuum removes the old one. On busy
/// tables, set a lower `fillfactor` and a more frequent autovacuum:
/// `ALTER TABLE sessions SET (autovacuum_vacuum_scale_factor = 0.02)`.
///
/// # Operation
///
/// A pooler in transaction mode (PgBouncer) must support prepared statements;
/// otherwise set `statement_cache_capacity(0)` in the pool's options. See
/// [the module](super#tls) for TLS.
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
/// [`SqlStore`] documents what all SQL stores have in common.
///
/// # Durability
///
/// With InnoDB's default (`innodb_flush_log_at_trx_commit = 1`) a crash loses nothing that
/// was answered. With 2, a crash of the machine loses writes that the operating system had not
/// flushed; with 0, a crash loses up to a second of writes. A replica that takes over lacks
/// writes that were not replicated. In a Galera cluster, let all nodes write to one member,
/// because another member may return an older version.
///
/// # Costs
///
/// Ids are random, so writes are spread over the whole table. The table should fit into
/// `innodb_buffer_pool_size`. The server refuses a session larger than `max_allowed_packet`
/// (at least 16 MiB). The background task deletes expired sessions in a transaction of
/// four statements.
///
/// # Operation
///
/// MySQL accepts a password over TLS, or with RSA encryption, for which you need the feature
/// `mysql-rsa`. See [the module](super#tls) for TLS.
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
/// [`SqlStore`] documents what all SQL stores have in common.
///
/// # Durability
///
/// With SQLite's default (`synchronous = FULL`) a crash of the process or the machine loses
/// nothing that was answered. `NORMAL` is much faster and loses nothing
/// if only the process ends. If the machine fails, the last writes may be
/// lost; the file is never damaged.
///
/// # Costs
///
/// One process writes at a time, for as long as a sync of the disk takes.
/// Readers do not wait. Other writers wait up to the `busy_timeout` of
/// the pool's options (sqlx: 5 seconds); then the call is `Unavailable`.
///
/// # Operation
///
/// Use a local disk. [`migrate`](SqlStore::migrate) switches
/// the file to WAL mode, which adds two files beside it.
///
/// A database in memory (`sqlite::memory:`) ends with its last connection. From `migrate` on, the store
/// keeps a connection open. If the options give each connection a database of its own
/// (`cache=private`), your pool must have exactly one connection and keep it: `max_connections(1)`,
/// `idle_timeout(None)`, `max_lifetime(None)`. Otherwise `migrate` returns an error.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cloakroom::{SessionLayer, store::SqliteStore};
/// use sqlx::sqlite::SqlitePoolOptions;
///
/// let pool = SqlitePoolOptions::new().max_connections(1);
/// let pool = pool.connect("sqlite::memory:").await?;
/// let store = SqliteStore::new(pool).table("sessions")?;
/// store.migrate().await?;
/// let layer = SessionLayer::new(store);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "sqlite")]
pub type SqliteStore = SqlStore<sqlx::Sqlite>;

/// Sessions in a table of a database. The application may bring its own pool.
///
/// A clone is cheap, and is the same store. Use it under the name of
/// its database: `PostgresStore`, `MySqlStore`, `SqliteStore`. Each of these has an example.
///
/// # The table
///
/// [`migrate`](Self::migrate) creates it. Its columns:
///
/// | column | content |
/// | --- | --- |
/// | `id` | the session's id |
/// | `counter`, `writer` | the version, the 64 bits of each number as a signed one |
/// | `user_hash` | the SHA-256 of the user's bytes, indexed; NULL without a user |
/// | `created_at`, `last_seen_at` | milliseconds since the Unix epoch |
/// | `begun_at` | milliseconds since the Unix epoch: when the session got its id, indexed; NULL in rows of an earlier version, where `created_at` is used; 0 in a marker of a session that never was, which `count` leaves out |
/// | `expires_at` | milliseconds since the Unix epoch; NULL if the session never expires |
/// | `record` | the JSON of [`Record::to_bytes`](crate::Record::to_bytes), for people and other programs to read |
///
/// [The module](super#looking-into-an-sql-table) has queries for the table: the sessions of a user, counts.
/// A `DELETE` ends sessions safely, also while the application runs.
///
/// # Costs
///
/// Each call is one statement, which is one round trip after a connection has
/// prepared it. If an update or a touch changes no row, a second statement
/// finds out why.
///
/// A pool with sqlx's defaults pings a connection before each use. Turn that off with
/// `test_before_acquire(false)`: if a connection is dead, the store repeats the call on another one, and
/// recognises its own write. [`connect`](Self::connect) makes such a pool. sqlx also pings a connection
/// that goes back to its pool, which costs the server as much as a load. The store therefore keeps a
/// connection for the next call, for about 2 milliseconds and at most 32 calls in a row. Then other users
/// of the pool get the connection.
///
/// If a call is dropped, because the client gave up or the `store_timeout` has passed, it continues in the
/// background for at most two seconds. If there is no answer by then, the store closes the connection, and
/// the pool opens another one.
///
/// # Errors
///
/// Errors name the place, the database's code and what to do. They contain no data, users
/// or passwords. If the database rolled the statement back, or if the statement was not sent, the error
/// is marked as [not applied](StoreError::is_not_applied). A missing table is `Other`, and the error
/// names `migrate()`.
pub struct SqlStore<D: Driver> {
    connections: Arc<Connections<D>>,
    table: Arc<(TableName, Statements)>,
    sinks: Arc<RwLock<Vec<RemovalSink>>>,
    /// A queue for the writes to each session, because the database locks the session's row. If another program has locked
    /// a row, the writes that wait for it use one connection, not all.
    writing: Arc<Queues<SessionId>>,
    /// How often a record that does not decode is logged.
    left_out: Arc<Throttle>,
}

/// How many expired sessions one statement deletes, and so locks. With a list of 1000 MariaDB chooses another plan.
const REAP_BATCH: usize = 500;

/// How long [`SqlStore::connect`] and its pool try to get a connection.
const CONNECT: Duration = Duration::from_secs(5);

impl<D: Driver> SqlStore<D> {
    /// Uses the table `sessions` through this pool.
    #[must_use]
    pub fn new(pool: Pool<D>) -> Self {
        Self::over(Connections::of(pool), TableName::default())
    }

    /// Connects with a pool of its own, of sqlx's default size, and uses the table `sessions`.
    ///
    /// # Errors
    ///
    /// `Other`, with a [`ConfigError`] as its source, if `url` is not one of this database. `Unavailable` if it
    /// does not connect within 5 seconds: the error names host and port, but
    /// not the password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let scheme = url.split(':').next().unwrap_or_default();
        let is_ours = D::URL_SCHEMES.contains(&scheme);
        let parsed = url.parse::<Options<D>>().ok().filter(|_| is_ours);
        let Some(options) = parsed.map(D::adjust) else {
            // The parser's message may repeat parts of the URL.
            let expected = format!("not a URL of {}: expected {}", D::TITLE, D::URL);
            return Err(StoreError::new(
                StoreErrorKind::Other,
                ConfigError::new(expected),
            ));
        };
        let pool = PoolOptions::new()
            .acquire_timeout(CONNECT)
            .test_before_acquire(false);
        let pool = match D::lifetime(&options) {
            Lifetime::Lasting => pool,
            // It lives in that one connection.
            Lifetime::WhileConnected | Lifetime::OfConnection => pool
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None),
        };
        let reopening = match D::lifetime(&options) {
            Lifetime::Lasting => D::reopening(options.clone()),
            Lifetime::WhileConnected | Lifetime::OfConnection => options.clone(),
        };
        let store = Self::new(pool.connect_lazy_with(reopening));
        // Not through the pool, because its error does not say why it cannot connect.
        match tokio::time::timeout(CONNECT, D::Connection::connect_with(&options)).await {
            Ok(connected) => {
                let connection = connected.map_err(|error| store.error(error))?;
                // It has answered, so an error here does not matter.
                let _ = connection.close().await;
                Ok(store)
            }
            Err(_) => Err(store.error(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Uses another table than `sessions`, optionally in a schema: `"app.sessions"`.
    /// The name is case-sensitive.
    ///
    /// # Errors
    ///
    /// If the name has anything but letters (a to z), digits and
    /// underscores, has more than 48 of them, or begins with a digit.
    pub fn table(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self::over(self.connections, TableName::new(name)?))
    }

    fn over(connections: Arc<Connections<D>>, table: TableName) -> Self {
        let statements = D::statements(&table);
        Self {
            connections,
            table: Arc::new((table, statements)),
            sinks: Arc::default(),
            writing: Arc::default(),
            left_out: Arc::default(),
        }
    }

    /// The pool that the store uses.
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
}

// Not derived, which would require `D: Clone`.
impl<D: Driver> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self {
            connections: Arc::clone(&self.connections),
            table: Arc::clone(&self.table),
            sinks: Arc::clone(&self.sinks),
            writing: Arc::clone(&self.writing),
            left_out: Arc::clone(&self.left_out),
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
