//! Redis or Valkey servers: alone, with a replica, in a cluster.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::support::process::{self, Directory, Process, free_port};

/// A server that keeps every write it has answered: `appendfsync always`.
pub(crate) struct Redis {
    /// The first that is dropped: it ends on what it has on disk.
    process: Mutex<Option<Process>>,
    port: u16,
    directory: Directory,
    settings: Vec<String>,
}

impl Redis {
    /// The one for tests that do it no harm.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Redis> = LazyLock::new(Redis::start);
        &SHARED
    }

    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these beside the settings that all have.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let server = Self {
            port: free_port(),
            directory: Directory::new(),
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            process: Mutex::new(None),
        };
        server.restart();
        server
    }

    pub(crate) fn replica_of(master: &Self) -> Self {
        let server = Self::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let info = ["INFO", "replication"];
        eventually("the replica follows, and its master knows", || {
            server.ask(&info).contains("master_link_status:up")
                && master.ask(&info).contains("state=online")
        });
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As a crash would.
    pub(crate) fn kill(&self) {
        self.process.lock().take().unwrap().kill();
    }

    /// Stops or continues it: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.lock().as_ref().unwrap().signal(name);
    }

    /// Starts it on the same port with what it has kept, and waits until it serves.
    pub(crate) fn restart(&self) {
        let path = self.directory.path();
        let log = path.join("log");
        let mut command = Command::new(program());
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .arg("--dir")
            .arg(path)
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--repl-diskless-sync-delay", "0"])
            .args(&self.settings);
        let mut process = Process::start(&command, &log, "TERM");
        // One with a password says so.
        let is_ready = |reply: String| reply == "PONG" || reply.starts_with("NOAUTH");
        process.wait_until(&log, || self.try_ask(&["PING"]).is_some_and(is_ready));
        *self.process.lock() = Some(process);
    }

    /// What it replies, over a connection of its own; of a nested reply, line by line.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).unwrap()
    }

    /// As [`ask`](Self::ask), with any bytes.
    pub(crate) fn ask_bytes(&self, command: &[&[u8]]) -> String {
        self.try_ask_bytes(command).unwrap()
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let command: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
        self.try_ask_bytes(&command)
    }

    fn try_ask_bytes(&self, command: &[&[u8]]) -> Option<String> {
        let mut wire = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        wire.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            request.extend(format!("${}\r\n", part.len()).into_bytes());
            request.extend_from_slice(part);
            request.extend_from_slice(b"\r\n");
        }
        wire.write_all(&request).ok()?;
        read(&mut BufReader::new(wire))
    }
}

/// Redis, or Valkey where that is all there is.
fn program() -> PathBuf {
    let names = ["redis-server", "valkey-server"];
    process::server("CLOAKROOM_REDIS_SERVER", &names, "redis-server")
}

fn read(wire: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    wire.read_line(&mut line).ok()?;
    let (kind, rest) = line.trim_end().split_at_checked(1)?;
    match (kind, rest.parse::<i64>()) {
        ("$" | "*", Ok(-1)) => Some(String::new()),
        ("$", Ok(length)) => {
            let mut bytes = vec![0; usize::try_from(length).ok()? + 2];
            wire.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        ("*", Ok(count)) => {
            let items: Option<Vec<String>> = (0..count).map(|_| read(wire)).collect();
            Some(items?.join("\n"))
        }
        _ => Some(rest.to_owned()),
    }
}

/// Three masters, each with a replica.
pub(crate) struct RedisCluster {
    nodes: Vec<Redis>,
}

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

impl RedisCluster {
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<RedisCluster> = LazyLock::new(RedisCluster::start);
        &SHARED
    }

    pub(crate) fn start() -> Self {
        let nodes: Vec<Redis> = (0..2 * MASTERS)
            .map(|_| {
                let bus = free_port().to_string();
                let settings = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "1000",
                    "--cluster-replica-validity-factor",
                    "0",
                ];
                Redis::with(&settings)
            })
            .collect();
        let cluster = Self { nodes };
        for (place, node) in cluster.nodes[..MASTERS].iter().enumerate() {
            let (from, to) = (SLOTS * place / MASTERS, SLOTS * (place + 1) / MASTERS - 1);
            let add = [
                "CLUSTER",
                "ADDSLOTSRANGE",
                &from.to_string(),
                &to.to_string(),
            ];
            assert_eq!(node.ask(&add), "OK");
            // Otherwise two of them may claim the same epoch, and have to find out.
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        // On a busy machine some nodes do not meet in time, and forget it.
        eventually("the nodes know each other", || {
            cluster.meet();
            within(Duration::from_secs(5), || cluster.has_met())
        });
        for place in 0..MASTERS {
            let master = cluster.nodes[place].ask(&["CLUSTER", "MYID"]);
            let replicate = ["CLUSTER", "REPLICATE", &master];
            assert_eq!(cluster.nodes[MASTERS + place].ask(&replicate), "OK");
        }
        cluster.settle();
        cluster
    }

    fn meet(&self) {
        let (first, rest) = self.nodes.split_first().unwrap();
        for node in rest {
            let (port, bus) = (node.port.to_string(), node.bus_port());
            assert_eq!(
                first.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]),
                "OK"
            );
        }
    }

    fn has_met(&self) -> bool {
        self.nodes.iter().all(|node| {
            let known = node.ask(&["CLUSTER", "NODES"]);
            known.lines().count() == 2 * MASTERS && !known.contains("handshake")
        })
    }

    /// Waits until every node says that all is well, and every replica follows.
    pub(crate) fn settle(&self) {
        eventually("the cluster is well", || {
            self.nodes.iter().all(|node| {
                let info = node.ask(&["CLUSTER", "INFO"]);
                let role = node.ask(&["INFO", "replication"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_size:3")
                    && (role.contains("role:master") || role.contains("master_link_status:up"))
                    && node.ask(&["CLUSTER", "SHARDS"]).matches("online").count() == 2 * MASTERS
            })
        });
    }

    /// All nodes, so that any may be gone.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    pub(crate) fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// A master of now, and its replica.
    pub(crate) fn pair(&self) -> (&Redis, &Redis) {
        self.pairs()[0]
    }

    /// The masters of now, each with its replica.
    pub(crate) fn pairs(&self) -> Vec<(&Redis, &Redis)> {
        let follows = |node: &&Redis, master: &Redis| {
            let port = format!("master_port:{}", master.port);
            node.ask(&["INFO", "replication"]).contains(&port)
        };
        let masters = self.nodes.iter().filter(|node| node.is_master());
        masters
            .map(|master| {
                let replica = self.nodes.iter().find(|node| follows(node, master));
                (master, replica.unwrap())
            })
            .collect()
    }
}

impl Redis {
    pub(crate) fn is_master(&self) -> bool {
        self.ask(&["INFO", "replication"]).contains("role:master")
    }

    fn bus_port(&self) -> String {
        let place = self
            .settings
            .iter()
            .position(|setting| setting == "--cluster-port");
        self.settings[place.unwrap() + 1].clone()
    }
}

/// A prefix that no other test of this run has.
pub(crate) fn unique_prefix() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test-{}:", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Asks again until it is so, for at most a minute.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    let is_so = within(Duration::from_secs(60), is_so);
    assert!(is_so, "not within a minute: {what}");
}

/// Asks again until it is so, for at most so long.
fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
