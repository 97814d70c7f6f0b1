//! Retries a statement: on another connection if the first one is dead, and after a back-off if the database rolled it
//! back in favour of another one.

use super::{
    SqlStore,
    driver::Driver,
    failure::verdict,
    value::{Answer, Value, Wanted},
    verdict::Verdict,
};
use crate::{deadline::back_off, error::store::StoreError};

/// How often a statement is retried that the database rolled back in favour of another one.
pub(super) const MAX_UNDONE: u32 = 20;

impl<D: Driver> SqlStore<D> {
    /// Runs one statement, and retries it. If a connection was lost on the way, its error is returned with the answer:
    /// the statement may have been applied twice.
    pub(super) async fn ask(
        &self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<(Asked<D>, Option<StoreError>), StoreError> {
        let mut lost = None;
        let mut undone = 0;
        // After a restart of the server all connections are dead, each of them once.
        let mut dead = self.pool().size();
        loop {
            let lease = match self.lease().await {
                Ok(lease) => lease,
                // An earlier try may have been applied.
                Err(error) => return Err(lost.unwrap_or(error)),
            };
            let error = match lease.ask(sql, values, wanted).await {
                Ok(answer) => return Ok((Asked::Answer(answer), lost)),
                Err(error) => error,
            };
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
    pub(super) async fn count_hit(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let (asked, _) = self.ask(sql, values, Wanted::Count).await?;
        Ok(asked.count())
    }

    pub(super) async fn rows(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<D::Row>, StoreError> {
        match self.ask(sql, values, Wanted::Rows).await? {
            (Asked::Answer(answer), _) => Ok(answer.rows),
            (Asked::Duplicate, _) => Ok(Vec::new()),
        }
    }
}

/// The result of a statement.
pub(super) enum Asked<D: Driver> {
    Answer(Answer<D>),
    /// The row exists already.
    Duplicate,
}

impl<D: Driver> Asked<D> {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Answer(answer) => answer.count,
            Self::Duplicate => 0,
        }
    }
}
