use sqlx::{
    Arguments as _, AssertSqlSafe, Database, MySql, Row as _,
    error::DatabaseError,
    mysql::{MySqlConnectOptions, MySqlDatabaseError},
};

use super::{
    REAP_BATCH,
    driver::{Driver, through_sqlx},
    statements::{Dialect, Migration, Reap, Statements},
    table::TableName,
    value::{Answer, SessionRow, Value, Wanted},
    verdict::Verdict,
};
use crate::error::store::StoreErrorKind;

const DIALECT: Dialect = Dialect {
    quote: '`',
    // ON DUPLICATE KEY counts the row as affected, and IGNORE hides all other errors too.
    unless_there: "",
    // In bytes, whatever the connection's character set is.
    record: "CAST(record AS BINARY)",
    later_seen: "GREATEST(last_seen_at, $1)",
    // NULL if one of them is.
    later_expiry: "GREATEST(expires_at, $2)",
    begun: "listed_at",
    compares_pairs: false,
    numbers: false,
};

impl Driver for MySql {
    const TITLE: &'static str = "MySQL";
    const URL: &'static str = "mysql://user:password@host:3306/database";
    const CLOSES_ABANDONED: bool = true;
    const NO_LOG_IN: &'static str = "no log-in with these settings: without TLS, MySQL takes a password \
                                     by RSA alone, so turn on sqlx's feature tls-rustls or tls-native-tls, \
                                     or cloakroom's mysql-rsa";

    fn place(options: &MySqlConnectOptions) -> String {
        match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }

    fn statements(table: &TableName) -> Statements {
        Statements::new(&DIALECT, table, reap, migration(table))
    }

    fn judge(error: &dyn DatabaseError) -> Verdict {
        use StoreErrorKind::{Other, Timeout, Unavailable};
        let error = error.try_downcast_ref::<MySqlDatabaseError>();
        match error.map_or(0, MySqlDatabaseError::number) {
            // A column, a key, a row
            1060..=1062 => Verdict::Duplicate,
            1054 | 1146 => Verdict::NoTable,
            // Lock wait timeout, deadlock, MariaDB's snapshot isolation
            1205 | 1213 | 1020 => Verdict::RolledBack,
            // Shutdown, killed by an administrator, idle for too long
            1053 | 1927 | 4031 | 3169 => Verdict::Lost,
            // From a proxy or a cluster during a failover, which may have lost the reply to a commit.
            1047 | 1105 | 2002..=2013 | 3100 | 9000..=9099 => Verdict::Failed(
                Unavailable,
                "a proxy or a node of the cluster fails, perhaps at a failover",
            ),
            1317 | 1969 | 3024 => Verdict::Failed(Timeout, "it interrupted the statement"),
            1044 | 1045 | 1698 => {
                Verdict::Refused(Unavailable, "it refuses the user or the password")
            }
            1040 | 1203 | 1226 => {
                Verdict::Refused(Unavailable, "it has no connection left for this user")
            }
            1290 | 1792 | 1836 => Verdict::Refused(Unavailable, "it is a replica, or read-only"),
            1114 => Verdict::Refused(Unavailable, "the table has no room left"),
            1021 | 1037 | 1041 => Verdict::Failed(Unavailable, "it has no room left"),
            1049 => Verdict::Refused(Other, "there is no such database: create it"),
            1142 | 1143 => Verdict::Refused(Other, "the user lacks a privilege on the table"),
            1153 => Verdict::Refused(
                Other,
                "the record is larger than max_allowed_packet: raise that",
            ),
            // Data too long, a wrong value, a check
            1264 | 1366 | 1406 | 3819 | 4025 => Verdict::Refused(Other, "it refuses a value"),
            1064 => Verdict::Refused(
                Other,
                "it is too old: this needs MySQL 8.0.1 or MariaDB 10.6",
            ),
            _ => Verdict::Failed(Other, "it fails at the statement"),
        }
    }

    // Bytes are stored unchanged, whatever the character set of the connection is.
    through_sqlx!(text: [u8]);
}

fn reap(table: &str, columns: &str) -> Reap {
    let lock = |columns: &str| {
        format!(
            "SELECT {columns} FROM {table} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 \
             FOR UPDATE SKIP LOCKED"
        )
    };
    let ids = vec!["?"; REAP_BATCH].join(", ");
    Reap::LockAndDelete {
        silent: lock("id, '', last_seen_at, expires_at"),
        reporting: lock(columns),
        delete: format!("DELETE FROM {table} WHERE id IN ({ids})"),
    }
}

fn migration(table: &TableName) -> Migration {
    let versions = table.with("_schema").quoted('`');
    // At most 64 characters. Without MD5, which new versions of MySQL do not have.
    let lock = format!(
        "CONCAT('cloakroom.{:016x}.', LEFT(SHA2(COALESCE(DATABASE(), ''), 256), 32))",
        table.number()
    );
    let columns = |table: &TableName| {
        let (schema, name) = (table.schema(), table.name());
        let schema = schema.map_or("DATABASE()".to_owned(), |schema| format!("'{schema}'"));
        format!(
            "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
             WHERE table_schema = {schema} AND table_name = '{name}' ORDER BY ordinal_position"
        )
    };
    let (columns, version_columns) = (columns(table), columns(&table.with("_schema")));
    let table = table.quoted('`');
    Migration {
        columns,
        version_columns,
        // Statements that change tables commit by themselves, so no transaction keeps others out.
        lock: vec![format!("SELECT GET_LOCK({lock}, 60)")],
        unlock: vec![format!("DO RELEASE_LOCK({lock})")],
        begin: format!(
            "CREATE TABLE IF NOT EXISTS {versions} (version BIGINT PRIMARY KEY) ENGINE = InnoDB"
        ),
        version: format!("SELECT MAX(version) FROM {versions}"),
        done: format!("INSERT INTO {versions} (version) VALUES ($1)"),
        steps: vec![
            vec![format!(
                "CREATE TABLE IF NOT EXISTS {table} (\
             id BINARY(16) NOT NULL PRIMARY KEY, \
             counter BIGINT NOT NULL, \
             writer BIGINT NOT NULL, \
             user_hash BINARY(32), \
             created_at BIGINT NOT NULL, \
             last_seen_at BIGINT NOT NULL, \
             expires_at BIGINT, \
             record LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
             KEY expires_at (expires_at), \
             KEY user_hash (user_hash, id)\
             ) ENGINE = InnoDB"
            )],
            vec![
                format!("ALTER TABLE {table} ADD COLUMN begun_at BIGINT"),
                // Virtual: nothing is rewritten, and nodes of an earlier version go on writing.
                format!(
                    "ALTER TABLE {table} ADD COLUMN listed_at BIGINT \
                 AS (COALESCE(begun_at, created_at)) VIRTUAL"
                ),
                format!("ALTER TABLE {table} ADD KEY begun (listed_at, id)"),
            ],
        ],
    }
}
