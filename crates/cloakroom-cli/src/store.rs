//! The store behind a URL: [`Store`].

use std::{
    env, fs,
    path::Path,
    time::{Duration, SystemTime},
};

#[cfg(feature = "mysql")]
use cloakroom::store::MySqlStore;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use cloakroom::store::PendingMigration;
#[cfg(feature = "postgres")]
use cloakroom::store::PostgresStore;
#[cfg(feature = "redis")]
use cloakroom::store::RedisStore;
#[cfg(feature = "sqlite")]
use cloakroom::store::SqliteStore;
use cloakroom::{
    Error, ErrorKind, SessionFilter, SessionLayer, Sessions, StoreError, Timestamp,
    store::{DynStore, FileStore, Query, SessionStore as _, StoreErrorKind},
};
use indicatif::ProgressBar;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqliteConnectOptions;

use crate::{Failure, arguments::Arguments};

const VARIABLE: &str = "CLOAKROOM_STORE";

/// How long a call may take. No other program waits for the answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records are deleted this long after their deadline, see [`Sessions::reap`].
const DELETED_AFTER: Duration = Duration::from_secs(5 * 60);

/// How many records are read at once.
const CHUNK: usize = 1000;

/// What a migration would do.
pub(crate) enum Migration {
    CreateFile,
    CreateTables,
    UpgradeTables,
    Nothing,
}

/// The store that the arguments name.
pub(crate) enum Store {
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
    #[cfg(feature = "mysql")]
    MySql(MySqlStore),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    #[cfg(feature = "redis")]
    Redis(RedisStore),
    File(FileStore),
}

impl Store {
    /// # Errors
    ///
    /// If there is no URL, or it names no store. No error repeats the URL, which may have a password.
    pub(crate) async fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let url = url(arguments.store_file.as_deref())?;
        #[cfg(feature = "sqlite")]
        if lacks_file(&url) {
            return Err(Failure::Store(
                "the URL names no SQLite database that exists; `cloakroom migrate` creates it"
                    .to_owned(),
            ));
        }
        Self::at(&url, arguments).await
    }

    /// # Errors
    ///
    /// If there is no URL, or it names no store with tables. The store's errors.
    pub(crate) async fn migrate(arguments: &Arguments) -> Result<(), Failure> {
        let url = url(arguments.store_file.as_deref())?;
        match Self::at(&url, arguments).await? {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(store.migrate().await?),
            #[cfg(feature = "mysql")]
            Self::MySql(store) => Ok(store.migrate().await?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Ok(store.migrate().await?),
            _ => Err(no_table()),
        }
    }

    /// What [`migrate`](Self::migrate) would do. This changes nothing.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) async fn pending_migration(arguments: &Arguments) -> Result<Migration, Failure> {
        let url = url(arguments.store_file.as_deref())?;
        #[cfg(feature = "sqlite")]
        if lacks_file(&url) {
            return Ok(Migration::CreateFile);
        }
        match Self::at(&url, arguments).await? {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(store.pending_migration().await?.into()),
            #[cfg(feature = "mysql")]
            Self::MySql(store) => Ok(store.pending_migration().await?.into()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Ok(store.pending_migration().await?.into()),
            _ => Err(no_table()),
        }
    }

    async fn at(url: &str, arguments: &Arguments) -> Result<Self, Failure> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        Ok(match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                Self::Postgres(PostgresStore::connect(url).await?.table(&arguments.table)?)
            }
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => {
                Self::MySql(MySqlStore::connect(url).await?.table(&arguments.table)?)
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => Self::Sqlite(SqliteStore::connect(url).await?.table(&arguments.table)?),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => {
                Self::Redis(prefixed(RedisStore::connect(url).await?, arguments)?)
            }
            #[cfg(feature = "redis")]
            "redis-cluster" | "rediss-cluster" => {
                let nodes = cluster_nodes(scheme, rest);
                let store = RedisStore::cluster(nodes.iter().map(String::as_str)).await?;
                Self::Redis(prefixed(store, arguments)?)
            }
            "file" => {
                let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
                if !path.is_dir() {
                    return Err(Failure::Store(
                        "the URL names no directory that exists".to_owned(),
                    ));
                }
                Self::File(FileStore::open(path)?)
            }
            _ => {
                return Err(Failure::Usage(
                    "the store's URL begins with none of postgres:, mysql:, mariadb:, sqlite:, redis:, rediss:, \
                     redis-cluster:, rediss-cluster: and file:, or this program was built without that kind of \
                     store"
                        .to_owned(),
                ));
            }
        })
    }

    /// The operator's handle. The application's timeouts are not known here, so the stored deadlines decide which sessions
    /// have expired.
    pub(crate) fn sessions(&self) -> Sessions {
        SessionLayer::new(self.of_any_kind())
            .idle_timeout(None)
            .absolute_timeout(None)
            .reap_every(None)
            .circuit_breaker(None)
            .store_timeout(PATIENCE)
            .sessions()
    }

    /// How many records [`Sessions::reap`] would delete. This reads each record.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(crate) async fn count_reapable(&self, bar: &ProgressBar) -> Result<u64, Failure> {
        let store = self.of_any_kind();
        let before = Timestamp::from(SystemTime::now()).saturating_sub(DELETED_AFTER);
        let (mut count, mut after) = (0, None);
        loop {
            let query = Query::default();
            let page = store.list(&query, after.as_ref(), CHUNK);
            let page = tokio::time::timeout(PATIENCE, page).await;
            let page = page.map_err(|late| StoreError::new(StoreErrorKind::Timeout, late))??;
            let deadlines = page.sessions.iter().map(|it| it.activity.expires_at);
            let is_due = |deadline: &Option<Timestamp>| deadline.is_some_and(|it| it < before);
            count += deadlines.filter(is_due).count() as u64;
            bar.inc(page.sessions.len() as u64);
            after = page.next;
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    fn of_any_kind(&self) -> DynStore {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => DynStore::new(store.clone()),
            #[cfg(feature = "mysql")]
            Self::MySql(store) => DynStore::new(store.clone()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => DynStore::new(store.clone()),
            #[cfg(feature = "redis")]
            Self::Redis(store) => DynStore::new(store.clone()),
            Self::File(store) => DynStore::new(store.clone()),
        }
    }

    /// Adds advice to the error of a store that cannot list the newest sessions.
    pub(crate) fn explained(&self, error: Error, is_newest: bool) -> Failure {
        let is_refused = is_newest && error.kind() == ErrorKind::Unsupported;
        if is_refused && self.may_be_indexed() {
            return Failure::Usage(
                "on Redis, the newest of all sessions are found by an index that the application writes: if its \
                 RedisStore has `index_begun`, add --index-begun; if not, set it on every node first, or list \
                 by id or by --user"
                    .to_owned(),
            );
        }
        error.into()
    }

    /// Checks an empty list of the newest sessions.
    ///
    /// # Errors
    ///
    /// If the store has sessions, but no index of the newest.
    pub(crate) async fn check_indexed(&self, sessions: &Sessions) -> Result<(), Failure> {
        if !self.may_be_indexed() {
            return Ok(());
        }
        let all = SessionFilter::default();
        let newest = sessions.list(&all.clone().newest_first(), None, 1).await?;
        if newest.sessions.is_empty() && !sessions.list(&all, None, 1).await?.sessions.is_empty() {
            return Err(Failure::Usage(
                "the store has sessions, and no index of the newest: the application has to set `index_begun` of \
                 its RedisStore on every node; sessions that are there already are listed by id alone"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn may_be_indexed(&self) -> bool {
        #[cfg(feature = "redis")]
        return matches!(self, Self::Redis(_));
        #[cfg(not(feature = "redis"))]
        false
    }
}

fn no_table() -> Failure {
    Failure::Usage("this store has no table to migrate".to_owned())
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
impl From<PendingMigration> for Migration {
    fn from(pending: PendingMigration) -> Self {
        match pending {
            PendingMigration::Create => Self::CreateTables,
            PendingMigration::Nothing => Self::Nothing,
            _ => Self::UpgradeTables,
        }
    }
}

#[cfg(feature = "redis")]
fn prefixed(store: RedisStore, arguments: &Arguments) -> Result<RedisStore, Failure> {
    let store = match &arguments.prefix {
        Some(prefix) => store.prefix(prefix)?,
        None => store,
    };
    Ok(match arguments.index_begun {
        true => store.index_begun(),
        false => store,
    })
}

/// Whether `url` names a file that is not there. The driver would create it, also for a mistake in a path.
#[cfg(feature = "sqlite")]
fn lacks_file(url: &str) -> bool {
    let is_in_memory = url.contains(":memory:") || url.contains("mode=memory");
    if !url.starts_with("sqlite:") || is_in_memory {
        return false;
    }
    // The driver says what is wrong with a URL.
    url.parse::<SqliteConnectOptions>().is_ok_and(|options| {
        let name = options.get_filename().to_string_lossy();
        !Path::new(name.strip_prefix("file:").unwrap_or(&name)).exists()
    })
}

/// `user:password@host:1,host:2` as a URL for each node.
#[cfg(feature = "redis")]
fn cluster_nodes(scheme: &str, rest: &str) -> Vec<String> {
    let scheme = scheme.trim_end_matches("-cluster");
    let rest = rest.trim_start_matches('/');
    let (credentials, hosts) = match rest.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), rest),
    };
    hosts
        .split(',')
        .map(|host| format!("{scheme}://{credentials}{host}"))
        .collect()
}

fn url(file: Option<&Path>) -> Result<String, Failure> {
    let url = match file {
        Some(path) if path.to_string_lossy().contains("://") => {
            return Err(Failure::Usage(
                "--store-file takes the path of a file that holds the store's URL, and not the URL itself"
                    .to_owned(),
            ));
        }
        Some(path) => fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?
            .lines()
            .next()
            .map(str::to_owned),
        None => match env::var(VARIABLE) {
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Failure::Usage(format!("{VARIABLE} is not UTF-8")));
            }
            url => url.ok(),
        },
    };
    let url = url.map(|url| url.trim().to_owned());
    url.filter(|url| !url.is_empty()).ok_or_else(|| {
        Failure::Usage(format!(
            "no store: set {VARIABLE} to its URL, or give a file with --store-file; see --help"
        ))
    })
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn each_node_of_a_cluster_gets_the_password() {
        assert_eq!(
            cluster_nodes("rediss-cluster", "//:se,cret@one:1,two:2"),
            ["rediss://:se,cret@one:1", "rediss://:se,cret@two:2"]
        );
        assert_eq!(cluster_nodes("redis-cluster", "//one:1"), ["redis://one:1"]);
    }
}
