//! The values of a statement, and its results.

#![allow(
    missing_debug_implementations,
    reason = "nobody outside can name these, and they hold data"
)]

use sqlx::Database;
use uuid::Uuid;

/// A value that is bound to a placeholder.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Id(Uuid),
    Number(i64),
    /// A deadline. `None` for never.
    Deadline(Option<i64>),
    /// A user's hash. `None` without a user.
    Hash(Option<&'a [u8]>),
    Text(&'a str),
}

/// The rows that a statement returns.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// How many rows it affected.
    Count,
    Rows,
}

/// The result of a statement.
pub struct Answer<D: Database> {
    pub(super) count: u64,
    pub(super) rows: Vec<D::Row>,
}

/// The columns of a session, in this order.
pub struct SessionRow<'a> {
    pub(super) id: Uuid,
    pub(super) record: &'a [u8],
    pub(super) last_seen_at: i64,
    pub(super) expires_at: Option<i64>,
}
