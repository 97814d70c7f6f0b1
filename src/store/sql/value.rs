//! What goes into a statement, and what comes out of it.

#![allow(
    missing_debug_implementations,
    reason = "nobody outside can name these, and they hold data"
)]

use sqlx::Database;
use uuid::Uuid;

/// What is bound to a placeholder.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Id(Uuid),
    Number(i64),
    /// A deadline; `None`: never.
    Deadline(Option<i64>),
    /// A hash; `None`: no user.
    Hash(Option<&'a [u8]>),
    Text(&'a str),
}

/// What a statement is asked for.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// How many rows it hit.
    Count,
    Rows,
}

/// What a statement gave.
pub struct Answer<D: Database> {
    pub(super) count: u64,
    pub(super) rows: Vec<D::Row>,
}

/// The columns of a session that a statement gives, in this order.
pub struct SessionRow<'a> {
    pub(super) id: Uuid,
    pub(super) record: &'a [u8],
    pub(super) last_seen_at: i64,
    pub(super) expires_at: Option<i64>,
}
