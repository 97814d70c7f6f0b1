//! A connection for one call: [`Lease`].

use std::time::Duration;

use sqlx::{Pool, pool::PoolConnection};

use super::driver::{Answer, Driver, Value, Wanted};

/// How long a connection may take to prove that it is fit for the next call.
const RETURN: Duration = Duration::from_secs(5);

/// A connection that goes back to its pool only if the last call came to its end.
///
/// A call may be dropped at any await point. Its reply is then still to come,
/// perhaps never: such a connection is closed, so that no other call reads
/// that reply, and none waits behind it.
pub(super) struct Lease<D: Driver> {
    connection: Option<PoolConnection<D>>,
    is_sound: bool,
}

impl<D: Driver> Lease<D> {
    pub(super) async fn of(pool: &Pool<D>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: Some(pool.acquire().await?),
            is_sound: true,
        })
    }

    pub(super) fn connection(&mut self) -> &mut D::Connection {
        // Only `drop` takes it.
        self.connection.as_mut().expect("a lease has a connection")
    }

    /// Asks one statement that is a transaction of its own.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<Answer<D>, sqlx::Error> {
        self.is_sound = !D::CLOSES_ABANDONED;
        let answer = D::ask(self.connection(), sql, values, wanted).await;
        self.is_sound = match &answer {
            Ok(_) | Err(sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }) => true,
            Err(sqlx::Error::Database(error)) => {
                !matches!(D::judge(&**error), super::failure::Verdict::Lost)
            }
            Err(_) => false,
        };
        answer
    }

    /// Asks one statement of a transaction that is still open afterwards.
    pub(super) async fn ask_within(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<Answer<D>, sqlx::Error> {
        self.is_sound = false;
        D::ask(self.connection(), sql, values, wanted).await
    }

    /// The transaction has come to its end.
    pub(super) fn settle(&mut self) {
        self.is_sound = true;
    }
}

impl<D: Driver> Drop for Lease<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Nobody is left to talk to the server.
            drop(connection.detach());
            return;
        };
        if self.is_sound {
            // By itself the pool would wait for a server that hangs for as long as it
            // hangs, and lend the connection's place to nobody meanwhile.
            runtime.spawn(tokio::time::timeout(RETURN, connection.return_to_pool()));
        } else {
            connection.close_on_drop();
        }
    }
}
