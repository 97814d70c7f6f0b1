//! The store behind a URL: [`Store`].

use std::{env, fs, path::Path, time::Duration};

#[cfg(feature = "mysql")]
use cloakroom::store::MySqlStore;
#[cfg(feature = "postgres")]
use cloakroom::store::PostgresStore;
#[cfg(feature = "redis")]
use cloakroom::store::RedisStore;
#[cfg(feature = "sqlite")]
use cloakroom::store::SqliteStore;
use cloakroom::{
    Error, ErrorKind, SessionFilter, SessionLayer, Sessions,
    store::{DynStore, FileStore},
};

#[cfg(feature = "sqlite")]
use crate::arguments::Command;
use crate::{Failure, arguments::Arguments};

const VARIABLE: &str = "CLOAKROOM_STORE";

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
        let (scheme, rest) = url.split_once(':').unwrap_or((&url, ""));
        Ok(match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Self::Postgres(
                PostgresStore::connect(&url)
                    .await?
                    .table(&arguments.table)?,
            ),
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => {
                Self::MySql(MySqlStore::connect(&url).await?.table(&arguments.table)?)
            }
            #[cfg(feature = "sqlite")]
            "sqlite" if !may_create(arguments) && !has_file(rest) => {
                return Err(Failure::Store(
                    "the URL names no SQLite database that exists; `cloakroom migrate` creates it"
                        .to_owned(),
                ));
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => Self::Sqlite(SqliteStore::connect(&url).await?.table(&arguments.table)?),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => {
                Self::Redis(prefixed(RedisStore::connect(&url).await?, arguments)?)
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
                return Err(Failure::Store(
                    "the store's URL begins with none of postgres:, mysql:, sqlite:, redis:, rediss:, \
                     redis-cluster: and file:, or this program was built without that kind of store"
                        .to_owned(),
                ));
            }
        })
    }

    /// The operator's handle. The application's timeouts are not known here, so the stored deadlines decide which sessions
    /// have expired.
    pub(crate) fn sessions(&self) -> Sessions {
        let store = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => DynStore::new(store.clone()),
            #[cfg(feature = "mysql")]
            Self::MySql(store) => DynStore::new(store.clone()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => DynStore::new(store.clone()),
            #[cfg(feature = "redis")]
            Self::Redis(store) => DynStore::new(store.clone()),
            Self::File(store) => DynStore::new(store.clone()),
        };
        SessionLayer::new(store)
            .idle_timeout(None)
            .absolute_timeout(None)
            .reap_every(None)
            .circuit_breaker(None)
            // No other program waits for the answer.
            .store_timeout(Duration::from_secs(60))
            .sessions()
    }

    /// # Errors
    ///
    /// If the store has no table. The store's errors.
    pub(crate) async fn migrate(&self) -> Result<(), Failure> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(store.migrate().await?),
            #[cfg(feature = "mysql")]
            Self::MySql(store) => Ok(store.migrate().await?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Ok(store.migrate().await?),
            _ => Err(Failure::Store(
                "this store has no table to migrate".to_owned(),
            )),
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

    pub(crate) fn has_table(&self) -> bool {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(_) => false,
            Self::File(_) => false,
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            _ => true,
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

#[cfg(feature = "sqlite")]
fn may_create(arguments: &Arguments) -> bool {
    matches!(arguments.command, Command::Migrate { .. })
}

/// Whether what the driver would open is there. It creates what is not, and a mistake in a path would leave a file.
#[cfg(feature = "sqlite")]
fn has_file(rest: &str) -> bool {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or(path);
    // Some paths mean no file by this name.
    path.contains([':', '%']) || rest.contains("mode=memory") || Path::new(path).is_file()
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
            .map_err(|error| Failure::Store(format!("{}: {error}", path.display())))?
            .lines()
            .next()
            .map(str::to_owned),
        None => match env::var(VARIABLE) {
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Failure::Store(format!("{VARIABLE} is not UTF-8")));
            }
            url => url.ok(),
        },
    };
    let url = url.map(|url| url.trim().to_owned());
    url.filter(|url| !url.is_empty()).ok_or_else(|| {
        Failure::Store(format!(
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
