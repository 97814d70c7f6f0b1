//! The connection to the server, or to the cluster's servers: [`Link`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{
    Client, Cmd, ConnectionInfo, IntoConnectionInfo as _, Pipeline, RedisError, RedisResult,
    ServerErrorKind, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{
        MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo, SingleNodeRoutingInfo,
        SlotAddr,
    },
    io::tcp::TcpSettings,
};
use parking_lot::Mutex;
use tokio::{runtime::Handle, task::JoinSet};

use super::{failure::failed, script};
use crate::error::{
    ConfigError,
    store::{StoreError, StoreErrorKind},
};

/// How long a connection may take to be made, hand-shake included.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long one server may take to answer. A layer's `store_timeout` is shorter; this is for calls that no request
/// waits for any more.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// After a call that was dropped without an answer, a `PING` is sent. If it is not answered for so long, the connection
/// is replaced.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// How long the operating system waits for the other machine to confirm what was sent. The default is a quarter of an
/// hour.
#[cfg(target_os = "linux")]
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// Commands for one slot.
pub(super) struct Batch {
    /// A key of the slot.
    pub(super) route: Vec<u8>,
    pub(super) commands: Vec<Cmd>,
}

/// Connections that are replaced when they break. Every clone uses the same ones.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    connection: Mutex<Connection>,
    is_cluster: bool,
    source: Source,
    /// How often the connection was replaced.
    renewals: AtomicU64,
    /// A bit for each share of the keys: whether its server is being probed.
    probed: AtomicU64,
    /// How long a `WAIT` may delay the other commands of the connection, in milliseconds.
    held_up: AtomicU64,
}

#[derive(Clone)]
enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

/// How another connection is made.
enum Source {
    One(Client, ConnectionManagerConfig),
    Cluster(ClusterClient),
    /// The application made it.
    Given,
}

impl From<ConnectionManager> for Link {
    fn from(manager: ConnectionManager) -> Self {
        Self::new(Connection::One(manager), Source::Given)
    }
}

impl From<ClusterConnection> for Link {
    fn from(connection: ClusterConnection) -> Self {
        Self::new(Connection::Cluster(connection), Source::Given)
    }
}

impl Link {
    fn new(connection: Connection, source: Source) -> Self {
        Self(Arc::new(Shared {
            is_cluster: matches!(connection, Connection::Cluster(_)),
            connection: Mutex::new(connection),
            source,
            renewals: AtomicU64::new(0),
            probed: AtomicU64::new(0),
            held_up: AtomicU64::new(0),
        }))
    }

    pub(super) async fn one(url: &str) -> Result<Self, StoreError> {
        let info = parse(url)?;
        let address = info.addr().to_string();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN))
            // About a second: long enough for a restart of the server, short enough to report that there is none.
            .set_number_of_retries(6)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(400));
        let client = Client::open(info).map_err(|error| unreachable_at(&address, error))?;
        let manager = ConnectionManager::new_with_config(client.clone(), config.clone()).await;
        let manager = manager.map_err(|error| unreachable_at(&address, error))?;
        let source = Source::One(client, config);
        Ok(Self::new(Connection::One(manager), source))
    }

    pub(super) async fn cluster<'a>(
        urls: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, StoreError> {
        let infos: Vec<ConnectionInfo> = urls.into_iter().map(parse).collect::<Result<_, _>>()?;
        let addresses: Vec<String> = infos.iter().map(|info| info.addr().to_string()).collect();
        let addresses = addresses.join(", ");
        let client = ClusterClientBuilder::new(infos)
            .tcp_settings(tcp())
            .connection_timeout(CONNECT_WITHIN)
            .response_timeout(ANSWER_WITHIN)
            // Long enough for a failover. A request gives up at its `store_timeout`.
            .retries(60)
            .min_retry_wait(10)
            .max_retry_wait(200)
            .build()
            .map_err(|error| unreachable_at(&addresses, error))?;
        let connection = client.get_async_connection().await;
        let connection = connection.map_err(|error| unreachable_at(&addresses, error))?;
        let source = Source::Cluster(client);
        Ok(Self::new(Connection::Cluster(connection), source))
    }

    /// Whether the driver sends a command again by itself after a lost reply.
    pub(super) fn sends_again(&self) -> bool {
        self.is_cluster()
    }

    /// Whether the keys of one command must be in one slot.
    pub(super) fn is_cluster(&self) -> bool {
        self.0.is_cluster
    }

    /// Sets how long a call may wait for replicas. It delays all other calls meanwhile.
    pub(super) fn set_replica_wait(&self, timeout: Duration) {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.0.held_up.fetch_max(millis, Ordering::Relaxed);
    }

    /// Combines the batches if there is only one server.
    pub(super) fn combine(&self, batches: Vec<Batch>) -> Vec<Batch> {
        if self.is_cluster() {
            return batches;
        }
        let all = batches.into_iter().reduce(|mut all, batch| {
            all.commands.extend(batch.commands);
            all
        });
        all.into_iter().collect()
    }

    /// The reply to one command, for the slot of the key `route`.
    pub(super) async fn ask(&self, route: &[u8], command: Cmd) -> Result<Value, StoreError> {
        match self.send_one(route, &command).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                let command = script::with_source(&command);
                self.send_one(route, &command).await.map_err(failed)
            }
            reply => reply.map_err(failed),
        }
    }

    /// Asks the server, or each primary of the cluster, whether it answers.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let ping = ::redis::cmd("PING");
        let answer = async {
            match self.connection() {
                Connection::One(mut manager) => manager.send_packed_command(&ping).await,
                Connection::Cluster(mut connection) => {
                    let all = Some(ResponsePolicy::AllSucceeded);
                    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, all));
                    connection.route_command(ping.clone(), all).await
                }
            }
        };
        let answered = self.watch(b"", answer).await;
        let answered = answered.and_then(Value::extract_error);
        answered.map(drop).map_err(failed)
    }

    /// All replies, in the order of the commands: one round trip.
    pub(super) async fn send(&self, batches: Vec<Batch>) -> Result<Vec<Value>, StoreError> {
        let mut batches = self.combine(batches);
        if batches.len() == 1 {
            return self.ask_all(batches.remove(0)).await;
        }
        // When this is dropped, the remaining ones are aborted.
        let mut tasks = JoinSet::new();
        let mut replies: Vec<Vec<Value>> = Vec::new();
        for (place, batch) in batches.into_iter().enumerate() {
            let link = self.clone();
            replies.push(Vec::new());
            tasks.spawn(async move { (place, link.ask_all(batch).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (place, reply) =
                done.map_err(|error| StoreError::new(StoreErrorKind::Other, error))?;
            replies[place] = reply?;
        }
        Ok(replies.concat())
    }

    async fn ask_all(&self, batch: Batch) -> Result<Vec<Value>, StoreError> {
        let Batch { route, commands } = batch;
        let all = pipeline(commands);
        let replies = self.send_all(&route, &all).await.map_err(failed)?;
        if !replies.iter().any(is_unknown_script) {
            return Ok(replies);
        }
        let with_sources = pipeline(all.cmd_iter().map(script::with_source));
        // Commands that were applied already are applied twice, which is harmless (rule M5).
        self.send_all(&route, &with_sources).await.map_err(failed)
    }

    async fn send_one(&self, route: &[u8], command: &Cmd) -> RedisResult<Value> {
        let answer = self.connection().ask(route, command);
        // One server's error comes as a reply, a cluster's does not.
        self.watch(route, answer).await?.extract_error()
    }

    async fn send_all(&self, route: &[u8], all: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = all.len();
        let connection = self.connection();
        let answers = async {
            match connection {
                Connection::One(mut manager) => manager.send_packed_commands(all, 0, count).await,
                Connection::Cluster(mut connection) => {
                    let route = primary(route);
                    connection
                        .route_pipeline(all.clone(), 0, count, route)
                        .await
                }
            }
        };
        self.watch(route, answers).await
    }

    fn connection(&self) -> Connection {
        self.0.connection.lock().clone()
    }

    /// Waits for the answer. If the call is dropped before it has one, the server is probed.
    async fn watch<T>(
        &self,
        route: &[u8],
        answer: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        let mut pending = PendingCall {
            link: self,
            route,
            is_answered: false,
        };
        let answer = answer.await;
        pending.is_answered = !matches!(&answer, Err(error) if error.is_timeout());
        answer
    }

    /// Asks whether the server of this key still answers, and replaces the connection if it does not. Each share of
    /// the keys is probed once at a time, so that many dropped calls cost little.
    fn probe(&self, route: &[u8]) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let Some(probe) = Probe::begin(self, route) else {
            return;
        };
        let route = route.to_vec();
        runtime.spawn(async move {
            let link = &probe.link;
            let renewals = link.0.renewals.load(Ordering::Relaxed);
            let held_up = Duration::from_millis(link.0.held_up.load(Ordering::Relaxed));
            let ping = ::redis::cmd("PING");
            let answer = link.connection().ask(&route, &ping);
            let answer = tokio::time::timeout(SILENT_FOR + held_up, answer).await;
            if answer.is_err() {
                link.replace(renewals);
            }
        });
    }

    /// Replaces a connection that does not answer. Does nothing if it was replaced meanwhile: `renewals` is the number of
    /// earlier replacements.
    fn replace(&self, renewals: u64) {
        let counter = &self.0.renewals;
        let next = renewals.wrapping_add(1);
        let counted =
            counter.compare_exchange(renewals, next, Ordering::Relaxed, Ordering::Relaxed);
        if counted.is_err() {
            return;
        }
        match &self.0.source {
            Source::Given => {}
            Source::One(client, config) => {
                let made = ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
                if let Ok(manager) = made {
                    *self.0.connection.lock() = Connection::One(manager);
                }
            }
            Source::Cluster(client) => {
                let (client, link) = (client.clone(), self.clone());
                tokio::spawn(async move {
                    if let Ok(connection) = client.get_async_connection().await {
                        *link.0.connection.lock() = Connection::Cluster(connection);
                    }
                });
            }
        }
    }
}

impl Connection {
    async fn ask(self, route: &[u8], command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(mut manager) => manager.send_packed_command(command).await,
            Self::Cluster(mut connection) => {
                let route = RoutingInfo::SingleNode(primary(route));
                connection.route_command(command.clone(), route).await
            }
        }
    }
}

/// A call to the server. If it is dropped without an answer, the connection may be dead.
struct PendingCall<'a> {
    link: &'a Link,
    route: &'a [u8],
    is_answered: bool,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.link.probe(self.route);
        }
    }
}

/// The probe of one share of the keys. The keys are divided into shares, because in a cluster a single node may be silent.
struct Probe {
    link: Link,
    share: u64,
}

impl Probe {
    /// `None` if that share is being probed already.
    fn begin(link: &Link, route: &[u8]) -> Option<Self> {
        let sum: usize = route.iter().map(|byte| usize::from(*byte)).sum();
        let share = if link.is_cluster() {
            1 << (sum % 64)
        } else {
            1
        };
        let probed = link.0.probed.fetch_or(share, Ordering::Relaxed);
        (probed & share == 0).then(|| Self {
            link: link.clone(),
            share,
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.link.0.probed.fetch_and(!self.share, Ordering::Relaxed);
    }
}

fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let commands = commands.into_iter();
    let mut pipeline = Pipeline::with_capacity(commands.size_hint().0);
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// The server that has the slot of this key.
fn primary(key: &[u8]) -> SingleNodeRoutingInfo {
    SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master))
}

fn parse(url: &str) -> Result<ConnectionInfo, StoreError> {
    let info = url.into_connection_info().map_err(|_| {
        let what = match lacks_tls(url) {
            Some(address) => format!(
                "cannot connect to Redis at {address} over TLS: turn on the feature \
                 tokio-rustls-comp or tokio-native-tls-comp of the crate redis"
            ),
            None => "not a URL of Redis: it should read redis://host:port, \
                     or redis://user:password@host:port/database"
                .to_owned(),
        };
        StoreError::new(StoreErrorKind::Other, ConfigError::new(what))
    })?;
    Ok(info.set_tcp_settings(tcp()))
}

/// The address in a URL that only fails because the driver was built without TLS.
fn lacks_tls(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let is_over_tls = matches!(scheme, "rediss" | "valkeys");
    let rest = rest.strip_suffix("#insecure").unwrap_or(rest);
    if !is_over_tls || rest.contains('#') {
        return None;
    }
    let info = format!("redis://{rest}").into_connection_info().ok()?;
    Some(info.addr().to_string())
}

fn tcp() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(CONFIRM_WITHIN);
    settings
}

/// The error names the server, but neither user nor password.
fn unreachable_at(address: &str, error: RedisError) -> StoreError {
    use std::error::Error as _;

    let error = failed(error);
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let kind = match error.kind() {
        StoreErrorKind::Timeout => StoreErrorKind::Unavailable,
        kind => kind,
    };
    StoreError::new(
        kind,
        format!("cannot connect to Redis at {address}: {cause}"),
    )
}
