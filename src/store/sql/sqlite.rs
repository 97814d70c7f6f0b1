use std::time::{Duration, Instant};

use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Database, Row as _, Sqlite,
    SqliteConnection, error::DatabaseError, sqlite::SqliteConnectOptions,
};

use super::{
    driver::{Driver, Lifetime, through_sqlx},
    statements::{Dialect, Migration, Reap, Statements},
    table::TableName,
    value::{Answer, SessionRow, Value, Wanted},
    verdict::Verdict,
};
use crate::{deadline::pause, error::store::StoreErrorKind};

const DIALECT: Dialect = Dialect {
    quote: '"',
    unless_there: " ON CONFLICT (id) DO NOTHING",
    record: "record",
    later_seen: "max(last_seen_at, $1)",
    // NULL if one of them is.
    later_expiry: "max(expires_at, $2)",
    begun: "listed_at",
    compares_pairs: true,
    numbers: true,
};

const BUSY: i32 = 5;
const LOCKED: i32 = 6;

/// How long a migration waits for a file that others use.
const PATIENCE: Duration = Duration::from_secs(30);

impl Driver for Sqlite {
    const TITLE: &'static str = "SQLite";
    const URL: &'static str = "sqlite:///path/to/sessions.db";
    // A thread of the driver completes each statement.
    const CLOSES_ABANDONED: bool = false;

    fn adjust(options: SqliteConnectOptions) -> SqliteConnectOptions {
        let name = options.get_filename().display().to_string();
        let options = match url_says(&options, "mode", "memory") && !name.starts_with("file:") {
            // By another name SQLite does not let connections share it.
            true => options.filename(format!("file:{name}")),
            false => options,
        };
        options.create_if_missing(true)
    }

    fn reopening(options: SqliteConnectOptions) -> SqliteConnectOptions {
        // If the file's disk is gone, SQLite would begin an empty one in another place.
        options.create_if_missing(false)
    }

    fn lifetime(options: &SqliteConnectOptions) -> Lifetime {
        let is_in_memory = url_says(options, "mode", "memory");
        let name = options.get_filename().to_string_lossy();
        let is_shared = url_says(options, "cache", "shared") && name.starts_with("file:");
        if is_in_memory && is_shared {
            Lifetime::WhileConnected
        } else if is_in_memory
            || matches!(&*name, "" | ":memory:")
            || name.starts_with("file::memory:")
        {
            Lifetime::OfConnection
        } else {
            Lifetime::Lasting
        }
    }

    fn place(options: &SqliteConnectOptions) -> String {
        options.get_filename().display().to_string()
    }

    fn statements(table: &TableName) -> Statements {
        Statements::new(&DIALECT, table, reap, migration(table))
    }

    fn judge(error: &dyn DatabaseError) -> Verdict {
        use StoreErrorKind::{Other, Unavailable};
        // The lowest byte of an extended code is the code.
        match code(error) & 0xff {
            1 if is_table_missing(error) => Verdict::NoTable,
            1 if error.message().starts_with("duplicate column name") => Verdict::Duplicate,
            BUSY | LOCKED => Verdict::Refused(
                Unavailable,
                "others kept it locked for longer than the busy_timeout",
            ),
            8 => Verdict::Refused(Unavailable, "it is read-only"),
            10 => Verdict::Failed(Unavailable, "the disk failed"),
            13 => Verdict::Refused(Unavailable, "the disk is full"),
            14 => Verdict::Failed(Unavailable, "the file cannot be opened, or not be made"),
            11 | 26 => Verdict::Failed(Other, "the file is damaged, or not a database"),
            19 if error.is_unique_violation() => Verdict::Duplicate,
            // An error in the statement, too big, a constraint, the wrong type
            1 | 18 | 19 | 20 => Verdict::Refused(Other, "it refuses the statement"),
            _ => Verdict::Failed(Other, "it fails at the statement"),
        }
    }

    through_sqlx!(text: str);

    /// Switches to WAL mode, in which readers and the writer do not wait for each other. The file keeps that mode.
    async fn before_migrating(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let started = Instant::now();
        loop {
            let switch = sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut *connection);
            match switch.await {
                // The busy_timeout does not apply to it.
                Err(sqlx::Error::Database(error))
                    if matches!(code(&*error) & 0xff, BUSY | LOCKED)
                        && started.elapsed() < PATIENCE => {}
                switched => return switched.map(drop),
            }
            pause(Duration::from_millis(10)).await;
        }
    }
}

fn code(error: &dyn DatabaseError) -> i32 {
    let code = error.code().and_then(|code| code.parse().ok());
    code.unwrap_or_default()
}

/// Whether the URL of these options has this parameter. The options have no other method for it.
fn url_says(options: &SqliteConnectOptions, name: &str, value: &str) -> bool {
    // The name of a database in memory does not fit into a URL.
    let url = options.clone().filename("sessions").to_url_lossy();
    let mut pairs = url.query_pairs();
    pairs.any(|(key, said)| key == name && said == value)
}

/// SQLite has no code for it.
fn is_table_missing(error: &dyn DatabaseError) -> bool {
    let message = error.message();
    message.starts_with("no such table")
        || message.starts_with("no such column")
        || message.contains(" has no column named ")
}

fn reap(table: &str, columns: &str) -> Reap {
    let silent = format!(
        "DELETE FROM {table} WHERE id IN \
         (SELECT id FROM {table} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
    );
    let reporting = format!("{silent} RETURNING {columns}");
    Reap::Delete { silent, reporting }
}

fn migration(table: &TableName) -> Migration {
    let versions = table.with("_schema").quoted('"');
    let expires = table.with("_expires_at").quoted('"');
    let user = table.with("_user").quoted('"');
    let begun = table.with("_begun").quoted('"');
    let (quoted, bare) = (table.quoted('"'), table.bare('"'));
    let columns = |table: &TableName| {
        let schema = table.schema().unwrap_or("main");
        format!(
            "SELECT name FROM pragma_table_info('{}', '{schema}') ORDER BY cid",
            table.name()
        )
    };
    Migration {
        columns: columns(table),
        version_columns: columns(&table.with("_schema")),
        lock: vec!["BEGIN IMMEDIATE".to_owned(), "SELECT 1".to_owned()],
        unlock: vec!["COMMIT".to_owned()],
        begin: format!("CREATE TABLE IF NOT EXISTS {versions} (version INTEGER PRIMARY KEY)"),
        version: format!("SELECT max(version) FROM {versions}"),
        done: format!("INSERT INTO {versions} (version) VALUES ($1)"),
        steps: vec![
            vec![
                format!(
                    "CREATE TABLE IF NOT EXISTS {quoted} (\
                 id BLOB NOT NULL PRIMARY KEY, \
                 counter INTEGER NOT NULL, \
                 writer INTEGER NOT NULL, \
                 user_hash BLOB, \
                 created_at INTEGER NOT NULL, \
                 last_seen_at INTEGER NOT NULL, \
                 expires_at INTEGER, \
                 record TEXT NOT NULL)"
                ),
                format!(
                    "CREATE INDEX IF NOT EXISTS {expires} ON {bare} (expires_at) WHERE expires_at IS NOT NULL"
                ),
                format!(
                    "CREATE INDEX IF NOT EXISTS {user} ON {bare} (user_hash, id) WHERE user_hash IS NOT NULL"
                ),
            ],
            vec![
                format!("ALTER TABLE {quoted} ADD COLUMN begun_at INTEGER"),
                // Virtual: nothing is rewritten, and processes of an earlier version go on writing.
                format!(
                    "ALTER TABLE {quoted} ADD COLUMN listed_at INTEGER \
                 GENERATED ALWAYS AS (COALESCE(begun_at, created_at)) VIRTUAL"
                ),
                format!("CREATE INDEX IF NOT EXISTS {begun} ON {bare} (listed_at, id)"),
            ],
        ],
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, SqliteConnection};
    use uuid::Uuid;

    use super::*;
    use crate::store::{
        Order,
        sql::selecting::{Request, Term},
    };

    #[tokio::test]
    async fn nothing_but_a_count_reads_the_whole_table() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let statements = Sqlite::statements(&TableName::default());
        for sql in statements.migration.steps.iter().flatten() {
            let made = Sqlite::ask(&mut connection, sql.clone(), None, Wanted::Count).await;
            made.unwrap();
        }
        let Reap::Delete { silent, reporting } = &statements.reap else {
            panic!("deleted at once");
        };
        let request = |order, bounds: &[Term<'static>], window: Option<i64>| Request {
            order,
            after: Some((5, Uuid::max())),
            bounds: bounds.to_vec(),
            conditions: window.map(|_| Term::LoggedIn(false)).into_iter().collect(),
            limit: 10,
            window,
        };
        let list = |request| statements.list(&request).0;
        let of_user = list(request(Order::Id, &[Term::User(Value::Hash(None))], None));
        let of_all = list(request(Order::Id, &[], None));
        let newest = list(request(Order::NewestFirst, &[], None));
        let begun = [Term::BegunSince(1), Term::BegunBefore(9)];
        let begun_within = list(request(Order::NewestFirst, &begun, None));
        let (end, _) = statements
            .end_of_window(&request(Order::NewestFirst, &[], Some(100)))
            .unwrap();
        let counted = [Term::LoggedIn(false), Term::BegunSince(1)];
        let (count, _) = statements.count(&counted, Some(10_001));
        let (count_all, _) = statements.count(&[], None);
        for (sql, index) in [
            (&count_all, "sessions_begun (listed_at=?"),
            (&count_all, "COVERING INDEX"),
            (&count, "sessions_begun (listed_at>?"),
            (&statements.load, "sqlite_autoindex_sessions_1"),
            (&statements.update, "sqlite_autoindex_sessions_1"),
            (&statements.touch, "sqlite_autoindex_sessions_1"),
            (&statements.delete, "sqlite_autoindex_sessions_1"),
            (&of_all, "sqlite_autoindex_sessions_1"),
            (&of_user, "sessions_user"),
            (&newest, "sessions_begun ((listed_at,id)<(?,?)"),
            (&begun_within, "sessions_begun (listed_at>? AND "),
            (&end, "sessions_begun ((listed_at,id)<(?,?)"),
            (silent, "sessions_expires_at"),
            (reporting, "sessions_expires_at"),
        ] {
            let plan = format!("EXPLAIN QUERY PLAN {sql}");
            let plan = Sqlite::ask(&mut connection, plan, None, Wanted::Rows).await;
            let steps = plan.unwrap().rows;
            let steps: Vec<String> = steps.iter().map(|row| row.get(3)).collect();
            let steps = steps.join("; ");
            assert!(steps.contains(index), "{sql}: {steps}");
            assert!(!steps.contains("TEMP B-TREE"), "{sql}: {steps}");
        }
    }
}
