//! The differences between the databases: [`Driver`].

#![allow(
    missing_debug_implementations,
    reason = "nobody outside can name these, and they hold data"
)]

use sqlx::{Connection, Database, error::DatabaseError};
use uuid::Uuid;

use super::{
    statements::Statements,
    table::TableName,
    value::{Answer, SessionRow, Value, Wanted},
    verdict::Verdict,
};

/// A database that sessions can be kept in: sqlx's `Postgres`, `MySql` or `Sqlite`.
///
/// Other crates cannot implement it.
pub trait Driver: Database {
    /// The database's name.
    #[doc(hidden)]
    const TITLE: &'static str;

    /// The form of its URLs.
    #[doc(hidden)]
    const URL: &'static str;

    /// Whether the connection of an abandoned call is closed, because the next reply on it may be that call's.
    #[doc(hidden)]
    const CLOSES_ABANDONED: bool;

    /// The advice if the driver cannot log in.
    #[doc(hidden)]
    const NO_LOG_IN: &'static str = "no log-in with these settings: look at the user, the password, \
                                     and the certificate and key in the options";

    /// Adds options of the store to those of a URL, for `connect`.
    #[doc(hidden)]
    fn adjust(options: Options<Self>) -> Options<Self> {
        options
    }

    /// The options of the pool, once a first connection has succeeded. Not for databases in memory.
    #[doc(hidden)]
    fn reopening(options: Options<Self>) -> Options<Self> {
        options
    }

    /// The server's host and port, or the file's path, for errors.
    #[doc(hidden)]
    fn place(options: &Options<Self>) -> String;

    /// The lifetime of a database with these options.
    #[doc(hidden)]
    fn lifetime(options: &Options<Self>) -> Lifetime {
        let _ = options;
        Lifetime::Lasting
    }

    /// Every statement for this table.
    #[doc(hidden)]
    fn statements(table: &TableName) -> Statements;

    /// The meaning of an error of the database.
    #[doc(hidden)]
    fn judge(error: &dyn DatabaseError) -> Verdict;

    /// The arguments for the placeholders, in order. `None` if there are no values.
    #[doc(hidden)]
    fn arguments(values: &[Value<'_>]) -> Result<Option<Self::Arguments>, sqlx::Error>;

    /// Runs one statement. A statement without arguments is not prepared.
    #[doc(hidden)]
    fn ask(
        connection: &mut Self::Connection,
        sql: String,
        arguments: Option<Self::Arguments>,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Answer<Self>, sqlx::Error>> + Send;

    /// Reads a row of a session.
    #[doc(hidden)]
    fn session(row: &Self::Row) -> Result<SessionRow<'_>, sqlx::Error>;

    /// Reads the id, and when the session came to it, of a row of a list.
    #[doc(hidden)]
    fn key(row: &Self::Row) -> Result<(Uuid, i64), sqlx::Error>;

    /// Reads a row of one number.
    #[doc(hidden)]
    fn number(row: &Self::Row) -> Result<Option<i64>, sqlx::Error>;

    /// Reads a row of one text.
    #[doc(hidden)]
    fn text(row: &Self::Row) -> Result<String, sqlx::Error>;

    /// Prepares a migration before it locks anything.
    #[doc(hidden)]
    fn before_migrating(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }
}

/// The lifetime of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The database exists without a connection.
    Lasting,
    /// The database exists as long as a connection is open. All connections share it.
    WhileConnected,
    /// Each connection has a database of its own.
    OfConnection,
}

pub(super) type Options<D> = <<D as Database>::Connection as Connection>::Options;

/// The methods of [`Driver`] whose code is the same for each database, with other types.
///
/// `text` is the type that a record is bound as.
macro_rules! through_sqlx {
    (text: $text:ty) => {
        fn arguments(values: &[Value<'_>]) -> Result<Option<Self::Arguments>, sqlx::Error> {
            let mut arguments = <Self as Database>::Arguments::default();
            for value in values {
                match *value {
                    Value::Id(id) => arguments.add(id),
                    Value::Number(number) => arguments.add(number),
                    Value::Deadline(moment) => arguments.add(moment),
                    Value::Hash(hash) => arguments.add(hash),
                    Value::Text(text) => arguments.add(AsRef::<$text>::as_ref(text)),
                }
                .map_err(sqlx::Error::Encode)?;
            }
            Ok((!values.is_empty()).then_some(arguments))
        }

        async fn ask(
            connection: &mut Self::Connection,
            sql: String,
            arguments: Option<Self::Arguments>,
            wanted: Wanted,
        ) -> Result<Answer<Self>, sqlx::Error> {
            // Only the name of the table is not ours, and that has been checked.
            let sql = AssertSqlSafe(sql);
            let (mut count, mut rows) = (0, Vec::new());
            match (arguments, wanted) {
                (None, Wanted::Count) => {
                    count = sqlx::raw_sql(sql)
                        .execute(connection)
                        .await?
                        .rows_affected();
                }
                (None, Wanted::Rows) => rows = sqlx::raw_sql(sql).fetch_all(connection).await?,
                (Some(arguments), Wanted::Count) => {
                    let statement = sqlx::query_with::<Self, _>(sql, arguments);
                    count = statement.execute(connection).await?.rows_affected();
                }
                (Some(arguments), Wanted::Rows) => {
                    let statement = sqlx::query_with::<Self, _>(sql, arguments);
                    rows = statement.fetch_all(connection).await?;
                }
            }
            Ok(Answer { count, rows })
        }

        fn session(row: &Self::Row) -> Result<SessionRow<'_>, sqlx::Error> {
            Ok(SessionRow {
                id: row.try_get(0)?,
                record: row.try_get_unchecked(1)?,
                last_seen_at: row.try_get(2)?,
                expires_at: row.try_get(3)?,
            })
        }

        fn key(row: &Self::Row) -> Result<(uuid::Uuid, i64), sqlx::Error> {
            Ok((row.try_get("id")?, row.try_get("begun")?))
        }

        fn number(row: &Self::Row) -> Result<Option<i64>, sqlx::Error> {
            row.try_get(0)
        }

        fn text(row: &Self::Row) -> Result<String, sqlx::Error> {
            row.try_get_unchecked(0)
        }
    };
}
pub(super) use through_sqlx;
