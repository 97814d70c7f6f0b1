//! The text of every statement: [`Statements`].

use super::{
    selecting::{Request, Selecting, Term},
    table::TableName,
    value::Value,
};

/// How the databases' SQL differs.
pub(super) struct Dialect {
    pub(super) quote: char,
    /// Follows an `INSERT`, so that an existing row stays unchanged and does not count.
    pub(super) unless_there: &'static str,
    /// The record as bytes.
    pub(super) record: &'static str,
    /// The later of `last_seen_at` and `$1`.
    pub(super) later_seen: &'static str,
    /// The later of `expires_at` and `$2`, where NULL is later than anything.
    pub(super) later_expiry: &'static str,
    /// The expression for the time when a session got its id, as in its index.
    pub(super) begun: &'static str,
    /// Whether the database uses an index to compare pairs, as in `(a, b) < (c, d)`.
    pub(super) compares_pairs: bool,
    /// Whether placeholders have numbers.
    pub(super) numbers: bool,
}

/// Every statement for one table. Placeholders without numbers occur once each, in order.
#[derive(Debug)]
pub struct Statements {
    pub(super) create: String,
    pub(super) load: String,
    pub(super) update: String,
    pub(super) touch: String,
    pub(super) exists: String,
    pub(super) delete: String,
    pub(super) reap: Reap,
    pub(super) migration: Migration,
    selecting: Selecting,
}

/// Deletes a batch of expired sessions. `$1` is the deadline, `$2` the limit.
#[derive(Debug)]
pub(super) enum Reap {
    /// In one statement. `reporting` returns the deleted rows.
    Delete { silent: String, reporting: String },
    /// In one transaction that locks them first. `delete` takes [`REAP_BATCH`](super::REAP_BATCH) ids.
    LockAndDelete {
        silent: String,
        reporting: String,
        delete: String,
    },
}

/// The statements of a migration.
#[derive(Debug)]
pub(super) struct Migration {
    /// Lock out other nodes. The last one returns 1 if that worked.
    pub(super) lock: Vec<String>,
    pub(super) unlock: Vec<String>,
    /// Creates the table of versions if it is missing.
    pub(super) begin: String,
    /// The names of the columns of the table. No row if there is no such table.
    pub(super) columns: String,
    /// The same for the table of versions.
    pub(super) version_columns: String,
    /// The version of the tables. NULL if there is none yet.
    pub(super) version: String,
    /// Stores version `$1`.
    pub(super) done: String,
    /// For each version, the statements that migrate the tables from the previous one. They may be interrupted and run
    /// again.
    pub(super) steps: Vec<Vec<String>>,
}

/// The columns that [`SessionRow`](super::value::SessionRow) reads.
fn columns(dialect: &Dialect) -> String {
    format!("id, {}, last_seen_at, expires_at", dialect.record)
}

impl Statements {
    pub(super) fn new(
        dialect: &Dialect,
        table: &TableName,
        reap: impl FnOnce(&str, &str) -> Reap,
        migration: Migration,
    ) -> Self {
        let columns = columns(dialect);
        let table = &table.quoted(dialect.quote);
        let text = |sql: String| dialect.placeholders(sql);
        let Dialect {
            unless_there,
            later_seen,
            later_expiry,
            ..
        } = dialect;
        Self {
            create: text(format!(
                "INSERT INTO {table} (counter, writer, user_hash, created_at, last_seen_at, \
                 expires_at, record, id, begun_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)\
                 {unless_there}"
            )),
            load: text(format!("SELECT {columns} FROM {table} WHERE id = $1")),
            update: text(format!(
                "UPDATE {table} SET counter = $1, writer = $2, user_hash = $3, created_at = $4, \
                 last_seen_at = $5, expires_at = $6, record = $7 \
                 WHERE id = $8 AND counter = $9 AND writer = $10"
            )),
            touch: text(format!(
                "UPDATE {table} SET last_seen_at = {later_seen}, expires_at = {later_expiry} \
                 WHERE id = $3 AND counter = $4 AND writer = $5"
            )),
            exists: text(format!("SELECT id FROM {table} WHERE id = $1")),
            delete: text(format!("DELETE FROM {table} WHERE id = $1")),
            reap: reap(table, &columns).map(text),
            migration: Migration {
                done: text(migration.done),
                ..migration
            },
            selecting: Selecting {
                table: table.clone(),
                columns,
                begun: dialect.begun,
                numbers: dialect.numbers,
                compares_pairs: dialect.compares_pairs,
            },
        }
    }

    /// A page of sessions.
    pub(super) fn list<'a>(&self, request: &Request<'a>) -> (String, Vec<Value<'a>>) {
        self.selecting.list(request)
    }

    /// The last row that the request's window looks at. `None` if there is no window.
    pub(super) fn end_of_window<'a>(
        &self,
        request: &Request<'a>,
    ) -> Option<(String, Vec<Value<'a>>)> {
        self.selecting.end_of_window(request)
    }

    /// How many sessions meet the terms, counted up to `limit`.
    pub(super) fn count<'a>(
        &self,
        terms: &[Term<'a>],
        limit: Option<i64>,
    ) -> (String, Vec<Value<'a>>) {
        self.selecting.count(terms, limit)
    }
}

impl Reap {
    fn map(self, text: impl Fn(String) -> String) -> Self {
        match self {
            Self::Delete { silent, reporting } => Self::Delete {
                silent: text(silent),
                reporting: text(reporting),
            },
            Self::LockAndDelete {
                silent,
                reporting,
                delete,
            } => Self::LockAndDelete {
                silent: text(silent),
                reporting: text(reporting),
                delete: text(delete),
            },
        }
    }
}

impl Dialect {
    /// Replaces `$1`, `$2` and so on by this dialect's placeholders.
    fn placeholders(&self, sql: String) -> String {
        if self.numbers {
            return sql;
        }
        let mut parts = sql.split('$');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text.push('?');
            text.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
        }
        text
    }
}
