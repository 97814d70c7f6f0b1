//! The store that a URL names: [`Opened`].

use std::{env, fs};

#[cfg(feature = "file")]
use cloakroom::store::FileStore;
#[cfg(feature = "mysql")]
use cloakroom::store::MySqlStore;
#[cfg(feature = "postgres")]
use cloakroom::store::PostgresStore;
#[cfg(feature = "redis")]
use cloakroom::store::RedisStore;
#[cfg(feature = "sqlite")]
use cloakroom::store::SqliteStore;
use cloakroom::{SessionLayer, Sessions, StoreError, store::DynStore};

use crate::{cli::Place, failure::Failure};

/// A store, and what it can be asked for beside sessions.
pub(crate) struct Opened {
    pub(crate) sessions: Sessions,
    pub(crate) kind: &'static str,
    tables: Tables,
}

/// What `migrate` brings up to date.
enum Tables {
    None,
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
    #[cfg(feature = "mysql")]
    MySql(MySqlStore),
}

impl Opened {
    /// Connects. Nothing of the URL is repeated in errors but host, port and path.
    pub(crate) async fn at(place: &Place) -> Result<Self, Failure> {
        let url = url(place)?;
        let scheme = url.split(':').next().unwrap_or_default();
        let (store, kind, tables) = match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let store = PostgresStore::connect(&url).await?.table(&place.table)?;
                (
                    DynStore::new(store.clone()),
                    "PostgreSQL",
                    Tables::Postgres(store),
                )
            }
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => {
                let url = format!("mysql{}", &url[scheme.len()..]);
                let store = MySqlStore::connect(&url).await?.table(&place.table)?;
                (DynStore::new(store.clone()), "MySQL", Tables::MySql(store))
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let store = SqliteStore::connect(&url).await?.table(&place.table)?;
                (
                    DynStore::new(store.clone()),
                    "SQLite",
                    Tables::Sqlite(store),
                )
            }
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => {
                let store = redis(&url, scheme).await?.prefix(&place.prefix)?;
                let store = if place.index_begun {
                    store.index_begun()
                } else {
                    store
                };
                (DynStore::new(store), "Redis", Tables::None)
            }
            #[cfg(feature = "file")]
            "file" => {
                let path = url.strip_prefix("file://").unwrap_or_default();
                // Not to make a directory out of a slip of the pen.
                if !fs::metadata(path).is_ok_and(|found| found.is_dir()) {
                    let message = format!("{path} is not a directory");
                    return Err(Failure::new(Failure::USAGE, message));
                }
                (DynStore::new(FileStore::open(path)?), "files", Tables::None)
            }
            _ => {
                let message = "the store's URL begins with postgres, mysql, sqlite, redis, redis-cluster or file, and this \
                               program may have been built without some of them";
                return Err(Failure::new(Failure::USAGE, message));
            }
        };
        // The application's timeouts are not known here: what is stored is judged by nothing but itself.
        let layer = SessionLayer::new(store)
            .idle_timeout(None)
            .absolute_timeout(None)
            .anonymous_idle_timeout(None)
            .store_timeout(place.timeout)
            .reap_every(None);
        Ok(Self {
            sessions: layer.sessions(),
            kind,
            tables,
        })
    }

    /// Brings the tables up to date. Returns whether there are any.
    pub(crate) async fn migrate(&self) -> Result<bool, StoreError> {
        match &self.tables {
            Tables::None => return Ok(false),
            #[cfg(feature = "sqlite")]
            Tables::Sqlite(store) => store.migrate().await?,
            #[cfg(feature = "postgres")]
            Tables::Postgres(store) => store.migrate().await?,
            #[cfg(feature = "mysql")]
            Tables::MySql(store) => store.migrate().await?,
        }
        Ok(true)
    }

    pub(crate) fn has_tables(&self) -> bool {
        !matches!(self.tables, Tables::None)
    }
}

#[cfg(feature = "redis")]
async fn redis(url: &str, scheme: &str) -> Result<RedisStore, StoreError> {
    let Some(single) = scheme.strip_suffix("-cluster") else {
        return RedisStore::connect(url).await;
    };
    let nodes = url[scheme.len()..].trim_start_matches("://").split(',');
    let nodes: Vec<String> = nodes.map(|node| format!("{single}://{node}")).collect();
    RedisStore::cluster(nodes.iter().map(String::as_str)).await
}

fn url(place: &Place) -> Result<String, Failure> {
    let text = match (&place.store_file, env::var("CLOAKROOM_STORE")) {
        (Some(path), _) => fs::read_to_string(path).map_err(|error| {
            let message = format!("{}: {error}", path.display());
            Failure::new(Failure::USAGE, message)
        })?,
        (None, Ok(url)) => url,
        (None, Err(_)) => String::new(),
    };
    let url = text.lines().next().unwrap_or_default().trim();
    if url.is_empty() {
        let message =
            "which store? Set CLOAKROOM_STORE to its URL, or name a file with --store-file";
        return Err(Failure::new(Failure::USAGE, message));
    }
    Ok(url.to_owned())
}
