//! A connection for one call: [`Lease`].

use std::sync::Arc;

use super::{
    connections::{Connections, LeasedConnection, Place},
    detach::DetachOnDrop,
    driver::Driver,
    value::{Answer, Value, Wanted},
};
use crate::{queue::Turn, record::token::SessionId};

/// A connection for one call. It is used again only if the call was completed.
///
/// Otherwise its reply may still come, so the connection is closed. No other call must read that reply, or wait for it.
pub(super) struct Lease<D: Driver> {
    connections: Arc<Connections<D>>,
    leased: Option<LeasedConnection<D>>,
    /// Released after the connection, so that the next call finds the connection.
    _place: Place,
    is_sound: bool,
    /// The place in a session's queue, kept until the statement has ended, even if the call is dropped.
    turn: Option<WriteTurn>,
}

/// The place of a call in the queue of the session that it writes to.
pub(super) type WriteTurn = Arc<Turn<SessionId>>;

impl<D: Driver> Lease<D> {
    pub(super) async fn of(connections: &Arc<Connections<D>>) -> Result<Self, sqlx::Error> {
        let (leased, place) = connections.lease().await?;
        Ok(Self {
            connections: Arc::clone(connections),
            leased: Some(leased),
            _place: place,
            is_sound: true,
            turn: None,
        })
    }

    pub(super) fn in_turn(mut self, turn: Option<WriteTurn>) -> Self {
        self.turn = turn;
        self
    }

    pub(super) fn connection(&mut self) -> &mut D::Connection {
        // Only `drop` takes it.
        self.leased
            .as_mut()
            .expect("a lease has a connection")
            .connection()
    }

    /// Runs one statement that is a transaction of its own. It is finished even if the call is dropped.
    pub(super) async fn ask(
        self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<Answer<D>, sqlx::Error> {
        let (sql, arguments) = (sql.to_owned(), D::arguments(values)?);
        let asking = async move {
            let mut lease = self;
            lease.is_sound = !D::CLOSES_ABANDONED;
            let answer = D::ask(lease.connection(), sql, arguments, wanted).await;
            lease.is_sound = match &answer {
                Ok(_) | Err(sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }) => true,
                Err(sqlx::Error::Database(error)) => {
                    !matches!(D::judge(&**error), super::verdict::Verdict::Lost)
                }
                Err(_) => false,
            };
            answer
        };
        DetachOnDrop::new(asking).await
    }

    /// Runs one statement of a transaction that stays open.
    pub(super) async fn ask_within(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        wanted: Wanted,
    ) -> Result<Answer<D>, sqlx::Error> {
        self.is_sound = false;
        let arguments = D::arguments(values)?;
        D::ask(self.connection(), sql.to_owned(), arguments, wanted).await
    }

    /// Notes that the last statement, or the transaction, has ended.
    pub(super) fn settle(&mut self) {
        self.is_sound = true;
    }
}

impl<D: Driver> Drop for Lease<D> {
    fn drop(&mut self) {
        match self.leased.take() {
            Some(leased) if self.is_sound => self.connections.keep(leased),
            Some(leased) => leased.close(),
            None => {}
        }
    }
}
