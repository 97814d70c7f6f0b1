//! Creates the tables, and brings them up to date: [`SqlStore::migrate`].

use sqlx::Connection as _;

use super::{
    SqlStore,
    driver::{Driver, Lifetime},
    failure::{failure, verdict},
    lease::Lease,
    statements::Migration,
    value::{Value, Wanted},
    verdict::Verdict,
};
use crate::error::store::{StoreError, StoreErrorKind};

/// The columns of the table of sessions.
const COLUMNS: [&str; 8] = [
    "id",
    "counter",
    "writer",
    "user_hash",
    "created_at",
    "last_seen_at",
    "expires_at",
    "record",
];

/// What [`SqlStore::migrate`] would do. [`SqlStore::pending_migration`] returns it.
///
/// ```no_run
/// # async fn run() -> Result<(), cloakroom::StoreError> {
/// use cloakroom::store::{PendingMigration, SqliteStore};
///
/// let store = SqliteStore::connect("sqlite:sessions.db").await?;
/// if store.pending_migration().await? != PendingMigration::Nothing {
///     eprintln!("run the migration first");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PendingMigration {
    /// It would create the tables.
    Create,
    /// It would bring the tables up to date.
    Upgrade,
    /// The tables are up to date.
    Nothing,
}

impl<D: Driver> SqlStore<D> {
    /// Creates the tables, or brings them up to date. Call it at each start; any
    /// number of nodes may do so at once. If the tables are up to date, it only reads,
    /// and needs no privilege to create tables.
    ///
    /// A second table, whose name ends in `_schema`, holds the version of the tables.
    ///
    /// # Errors
    ///
    /// `Other` if another table has one of these names already: the error says which columns it
    /// has, and [`table`](Self::table) chooses another name. `Other` also if the tables are of a later
    /// version than this version of the crate knows. Either way nothing is changed. `Timeout` if another
    /// node has been migrating for a minute. Otherwise the errors of every call.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.anchor().await?;
        let mut lease = self.lease().await?;
        let pending = self.pending(&mut lease).await?;
        // A restored file may have the tables, and another journal.
        let prepared = D::before_migrating(lease.connection()).await;
        prepared.map_err(|error| self.error(error))?;
        if pending == PendingMigration::Nothing {
            return Ok(());
        }
        let is_there = pending != PendingMigration::Create;
        let migration = &self.statements().migration;
        self.upgrade(&mut lease, migration, is_there).await
    }

    /// What [`migrate`](Self::migrate) would do. This only reads.
    ///
    /// # Errors
    ///
    /// `Other` if `migrate` would refuse the tables. Otherwise the errors of every call.
    pub async fn pending_migration(&self) -> Result<PendingMigration, StoreError> {
        let mut lease = self.lease().await?;
        self.pending(&mut lease).await
    }

    async fn pending(&self, lease: &mut Lease<D>) -> Result<PendingMigration, StoreError> {
        let migration = &self.statements().migration;
        let is_there = self.is_there(lease, &migration.columns, &COLUMNS).await?;
        let is_versioned = self.is_there(lease, &migration.version_columns, &["version"]);
        let mut version = None;
        if is_versioned.await? {
            version = self.number(lease, &migration.version).await?;
            lease.settle();
        }
        let is_current = self.is_current(version)?;
        Ok(match is_there {
            false => PendingMigration::Create,
            true if is_current => PendingMigration::Nothing,
            true => PendingMigration::Upgrade,
        })
    }

    /// Keeps a database in memory alive as long as the store exists.
    async fn anchor(&self) -> Result<(), StoreError> {
        let pool = self.pool();
        let options = pool.connect_options();
        match D::lifetime(&options) {
            Lifetime::Lasting => {}
            Lifetime::WhileConnected => {
                let connected = D::Connection::connect_with(&options).await;
                let connection = connected.map_err(|error| self.error(error))?;
                *self.connections.anchor.lock() = Some(connection);
            }
            Lifetime::OfConnection => {
                let pool = pool.options();
                let is_kept =
                    pool.get_idle_timeout().is_none() && pool.get_max_lifetime().is_none();
                if pool.get_max_connections() > 1 || !is_kept {
                    return Err(failure(
                        StoreErrorKind::Other,
                        "with these options each connection has a database in memory of its own, which ends \
                         with it: use sqlite::memory:, or a pool with max_connections(1), \
                         idle_timeout(None) and max_lifetime(None)",
                    )
                    .not_applied());
                }
            }
        }
        Ok(())
    }

    /// Whether the table exists. The statement `columns` reads the names of its columns. An error if some of the `needed`
    /// ones are missing, because then the table belongs to something else.
    async fn is_there(
        &self,
        lease: &mut Lease<D>,
        columns: &str,
        needed: &[&str],
    ) -> Result<bool, StoreError> {
        let found = lease.ask_within(columns, &[], Wanted::Rows).await;
        let found = found.and_then(|found| found.rows.iter().map(D::text).collect());
        let found: Vec<String> = found.map_err(|error| self.error(error))?;
        lease.settle();
        let has = |needed: &&str| {
            found
                .iter()
                .any(|column| column.eq_ignore_ascii_case(needed))
        };
        if found.is_empty() || needed.iter().all(has) {
            return Ok(!found.is_empty());
        }
        let name = self.table_name();
        let name = if needed.len() == 1 {
            name.with("_schema")
        } else {
            name.clone()
        };
        Err(failure(
            StoreErrorKind::Other,
            format!(
                "the table {name} is there already and is not one of cloakroom: its columns are {}. \
                 Choose another name, for example .table(\"cloakroom_sessions\")",
                found.join(", ")
            ),
        )
        .not_applied())
    }

    /// Whether the tables are up to date.
    fn is_current(&self, version: Option<i64>) -> Result<bool, StoreError> {
        let known = self.statements().migration.known();
        let Some(version) = version.filter(|version| *version > known) else {
            return Ok(version == Some(known));
        };
        Err(failure(
            StoreErrorKind::Other,
            format!(
                "the table {} is of version {version}, and this version of cloakroom knows {known}: \
                 use the one that the other nodes use",
                self.table_name()
            ),
        ))
    }

    /// Runs the migration on one connection. If anything fails, the connection is closed, which rolls back the open
    /// transaction and releases the lock.
    async fn upgrade(
        &self,
        lease: &mut Lease<D>,
        migration: &Migration,
        is_there: bool,
    ) -> Result<(), StoreError> {
        let mut held = None;
        for sql in &migration.lock {
            held = self.number(lease, sql).await?;
        }
        if held != Some(1) {
            return Err(failure(
                StoreErrorKind::Timeout,
                "another node is still migrating: try again later",
            ));
        }
        self.tell(lease, &migration.begin, &[]).await?;
        let version = self.number(lease, &migration.version).await?;
        if !self.is_current(version)? || !is_there {
            let noted = version.unwrap_or(0);
            // Somebody has dropped the table, so it is created again.
            let done = if is_there { noted } else { 0 };
            for (number, step) in (1..).zip(&migration.steps) {
                if number <= done {
                    continue;
                }
                for sql in step {
                    self.tell(lease, sql, &[]).await?;
                }
                if number > noted {
                    self.tell(lease, &migration.done, &[Value::Number(number)])
                        .await?;
                }
            }
        }
        for sql in &migration.unlock {
            self.tell(lease, sql, &[]).await?;
        }
        lease.settle();
        Ok(())
    }

    async fn tell(
        &self,
        lease: &mut Lease<D>,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<(), StoreError> {
        let told = lease.ask_within(sql, values, Wanted::Count).await;
        match told {
            // An earlier migration was interrupted after this step.
            Err(error) if matches!(verdict::<D>(&error), Verdict::Duplicate) => Ok(()),
            told => told.map(drop).map_err(|error| self.error(error)),
        }
    }

    async fn number(&self, lease: &mut Lease<D>, sql: &str) -> Result<Option<i64>, StoreError> {
        let answer = lease.ask_within(sql, &[], Wanted::Rows).await;
        let number = answer.and_then(|answer| answer.rows.first().map(D::number).transpose());
        number
            .map(Option::flatten)
            .map_err(|error| self.error(error))
    }
}

impl Migration {
    /// The version after the last step.
    fn known(&self) -> i64 {
        i64::try_from(self.steps.len()).unwrap_or(i64::MAX)
    }
}
