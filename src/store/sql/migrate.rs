//! Creates the tables, and brings them up to date: [`SqlStore::migrate`].

use super::{
    SqlStore,
    driver::Driver,
    failure::{failure, verdict},
    lease::Lease,
    statements::Migration,
    value::{Value, Wanted},
    verdict::Verdict,
};
use crate::error::store::{StoreError, StoreErrorKind};

impl<D: Driver> SqlStore<D> {
    /// Creates the tables, or brings them up to date. Call it at each start; any
    /// number of nodes may do so at once. If the tables are up to date, it is one
    /// query, and needs no privilege to create tables.
    ///
    /// A second table, whose name ends in `_schema`, holds the version of the tables.
    ///
    /// # Errors
    ///
    /// `Other` if the tables are of a later version than this version of the crate knows:
    /// they stay as they are. `Timeout` if another node has been migrating
    /// for a minute. Otherwise the errors of every call.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migration = &self.statements().migration;
        let mut lease = self.lease().await?;
        let version = lease.ask(&migration.version, &[], Wanted::Rows).await;
        match version
            .and_then(|answer| Ok(answer.rows.first().map(D::number).transpose()?.flatten()))
        {
            Ok(version) if self.is_current(version)? => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(verdict::<D>(&error), Verdict::NoTable) => {}
            Err(error) => return Err(self.error(error)),
        }
        let prepared = D::before_migrating(lease.connection()).await;
        prepared.map_err(|error| self.error(error))?;
        self.upgrade(&mut lease, migration).await
    }

    /// Whether nothing is to be done.
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

    /// Migrates on one connection. If anything fails, it is closed, which rolls back and releases the lock.
    async fn upgrade(&self, lease: &mut Lease<D>, migration: &Migration) -> Result<(), StoreError> {
        let mut held = None;
        for sql in &migration.lock {
            held = self.number(lease, sql).await?;
        }
        if held != Some(1) {
            return Err(failure(
                StoreErrorKind::Timeout,
                "another node is migrating, and has been for long: try again later",
            ));
        }
        self.tell(lease, &migration.begin, &[]).await?;
        let version = self.number(lease, &migration.version).await?;
        if !self.is_current(version)? {
            let done = usize::try_from(version.unwrap_or(0)).unwrap_or(0);
            for (number, step) in (1..).zip(&migration.steps).skip(done) {
                for sql in step {
                    self.tell(lease, sql, &[]).await?;
                }
                self.tell(lease, &migration.done, &[Value::Number(number)])
                    .await?;
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
            // A step that was interrupted, and is there already.
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
