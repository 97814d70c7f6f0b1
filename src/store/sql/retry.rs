//! Retries a statement: on another connection if the first one is dead, and after a back-off if the database rolled it
//! back in favour of another one.

use std::sync::Arc;

use super::{
    SqlStore,
    driver::Driver,
    failure::verdict,
    lease::WriteTurn,
    value::{Answer, Value, Wanted},
    verdict::Verdict,
};
use crate::{deadline::back_off, error::store::StoreError, record::token::SessionId};

/// How often a statement is retried that the database rolled back in favour of another one.
pub(super) const MAX_RETRIES: u32 = 20;

impl<D: Driver> SqlStore<D> {
    /// Runs one statement, and retries it. If a connection was lost on the way, its error is returned with the answer:
    /// the statement may have been applied twice.
    pub(super) async fn ask(
        &self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<(Asked<D>, Option<StoreError>), StoreError> {
        self.ask_in_turn(None, sql, values, wanted).await
    }

    /// The same for a statement that locks the row of this session. It waits for its turn without a connection.
    pub(super) async fn write(
        &self,
        id: SessionId,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<(Asked<D>, Option<StoreError>), StoreError> {
        let turn = Arc::new(self.writing.enter(id).await);
        self.ask_in_turn(Some(turn), sql, values, Wanted::Count)
            .await
    }

    async fn ask_in_turn(
        &self,
        turn: Option<WriteTurn>,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<(Asked<D>, Option<StoreError>), StoreError> {
        let mut lost = None;
        let mut retries = 0;
        // After a restart of the server all connections are dead, each of them once.
        let mut dead = self.pool().size();
        loop {
            let lease = match self.lease().await {
                Ok(lease) => lease.in_turn(turn.clone()),
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
                Verdict::RolledBack if retries < MAX_RETRIES => {
                    back_off(retries).await;
                    retries += 1;
                }
                _ => return Err(lost.unwrap_or_else(|| self.error(error))),
            }
        }
    }

    /// How many rows a statement affected.
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
