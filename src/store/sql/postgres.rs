use sqlx::{
    Arguments as _, AssertSqlSafe, Database, Postgres, Row as _, error::DatabaseError,
    postgres::PgConnectOptions,
};

use super::{
    driver::{Driver, through_sqlx},
    statements::{Dialect, Migration, Reap, Statements},
    table::TableName,
    value::{Answer, SessionRow, Value, Wanted},
    verdict::Verdict,
};
use crate::error::store::StoreErrorKind;

const DIALECT: Dialect = Dialect {
    quote: '"',
    unless_there: " ON CONFLICT (id) DO NOTHING",
    record: "record",
    later_seen: "GREATEST(last_seen_at, $1)",
    // GREATEST ignores NULL here.
    later_expiry: "CASE WHEN expires_at IS NOT NULL THEN \
                   CASE WHEN $2 IS NOT NULL THEN GREATEST(expires_at, $2) END END",
    begun: "COALESCE(begun_at, created_at)",
    compares_pairs: true,
    numbers: true,
};

impl Driver for Postgres {
    const TITLE: &'static str = "PostgreSQL";
    const URL: &'static str = "postgres://user:password@host:5432/database";
    const CLOSES_ABANDONED: bool = true;

    fn place(options: &PgConnectOptions) -> String {
        match options.get_socket() {
            Some(folder) => format!("{} (port {})", folder.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }

    fn statements(table: &TableName) -> Statements {
        Statements::new(&DIALECT, table, reap, migration(table))
    }

    fn judge(error: &dyn DatabaseError) -> Verdict {
        use StoreErrorKind::{Other, Timeout, Unavailable};
        let code = error.code().unwrap_or_default();
        match &*code {
            "23505" => Verdict::Duplicate,
            "42P01" | "42703" => Verdict::NoTable,
            // serialization_failure, deadlock_detected, transaction_rollback
            "40001" | "40P01" | "40000" => Verdict::RolledBack,
            // statement_completion_unknown, transaction_resolution_unknown
            "40003" | "08007" => Verdict::Failed(
                Unavailable,
                "it does not know whether the statement was completed",
            ),
            // admin_shutdown, crash_shutdown, idle_session_timeout
            "57P01" | "57P02" | "57P05" => Verdict::Lost,
            "57014" => Verdict::Refused(Timeout, "its statement_timeout has passed"),
            "57P03" => Verdict::Refused(Unavailable, "it is starting or stopping"),
            "53300" => Verdict::Refused(Unavailable, "it has no connection left for this user"),
            "25006" => Verdict::Refused(Unavailable, "it is a standby, or read-only"),
            "3D000" => Verdict::Refused(Other, "there is no such database: create it"),
            "3F000" => Verdict::Refused(Other, "there is no such schema: create it"),
            "42501" => Verdict::Refused(Other, "the user lacks a privilege on the table or schema"),
            "22021" => Verdict::Refused(Other, "the database's encoding must be UTF8"),
            _ => match code.get(..2) {
                Some("08") => Verdict::Lost,
                Some("28") => Verdict::Refused(
                    Unavailable,
                    "it refuses the user or the password, or a connection without TLS",
                ),
                Some("53" | "55") => Verdict::Refused(Unavailable, "it refuses for now"),
                Some("57") => Verdict::Failed(Unavailable, "it interrupts the statement"),
                // A statement with such an error has been rolled back.
                Some(
                    "0A" | "21" | "22" | "23" | "25" | "2B" | "34" | "3D" | "3F" | "42" | "44"
                    | "54",
                ) => Verdict::Refused(Other, "it refuses the statement"),
                _ => Verdict::Failed(Other, "it fails at the statement"),
            },
        }
    }

    through_sqlx!(text: str);
}

fn reap(table: &str, columns: &str) -> Reap {
    // An array, not IN, so that the rows are chosen and locked once, whatever plan the database chooses. Sessions that
    // were touched since are checked again.
    let silent = format!(
        "DELETE FROM {table} WHERE id = ANY(ARRAY(\
         SELECT id FROM {table} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 \
         FOR UPDATE SKIP LOCKED))"
    );
    let reporting = format!("{silent} RETURNING {columns}");
    Reap::Delete { silent, reporting }
}

fn migration(table: &TableName) -> Migration {
    let versions = table.with("_schema").quoted('"');
    let expires = table.with("_expires_at").bare('"');
    let user = table.with("_user").bare('"');
    let begun = table.with("_begun").bare('"');
    let lock = table.number();
    let columns = |table: &TableName| {
        // The schema in which the table would be created, not the whole search path.
        let name = match table.schema() {
            Some(_) => format!("'{}'", table.quoted('"')),
            None => format!("quote_ident(current_schema()) || '.{}'", table.quoted('"')),
        };
        format!(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass({name}) \
             AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    };
    let (columns, version_columns) = (columns(table), columns(&table.with("_schema")));
    let table = table.quoted('"');
    Migration {
        columns,
        version_columns,
        lock: vec![
            "BEGIN".to_owned(),
            format!("SELECT count(pg_advisory_xact_lock({lock}))"),
        ],
        unlock: vec!["COMMIT".to_owned()],
        begin: format!("CREATE TABLE IF NOT EXISTS {versions} (version bigint PRIMARY KEY)"),
        version: format!("SELECT max(version) FROM {versions}"),
        done: format!("INSERT INTO {versions} (version) VALUES ($1)"),
        steps: vec![
            vec![
                // text, because json would check it again at each write, and jsonb
                // changes it (order, numbers, repeated keys) and refuses \u0000.
                format!(
                    "CREATE TABLE IF NOT EXISTS {table} (\
                 id uuid PRIMARY KEY, \
                 counter bigint NOT NULL, \
                 writer bigint NOT NULL, \
                 user_hash bytea, \
                 created_at bigint NOT NULL, \
                 last_seen_at bigint NOT NULL, \
                 expires_at bigint, \
                 record text NOT NULL)"
                ),
                format!(
                    "CREATE INDEX IF NOT EXISTS {expires} ON {table} (expires_at) WHERE expires_at IS NOT NULL"
                ),
                format!(
                    "CREATE INDEX IF NOT EXISTS {user} ON {table} (user_hash, id) WHERE user_hash IS NOT NULL"
                ),
            ],
            vec![
                format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS begun_at bigint"),
                // As of rows without: nothing is rewritten, and nodes of an earlier version go on writing.
                format!(
                    "CREATE INDEX IF NOT EXISTS {begun} ON {table} ((COALESCE(begun_at, created_at)), id)"
                ),
            ],
        ],
    }
}
