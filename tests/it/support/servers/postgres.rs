use std::{fs, net::TcpStream, path::PathBuf, sync::LazyLock};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    super::process::{Directory, Process, free_port, program},
    PASSWORD, USER, finish, give, run_as, unique_name,
};

/// A PostgreSQL server with nothing in it, durable as by default.
pub(crate) struct Postgres {
    /// The first that is dropped: it ends on what it has on disk.
    process: Mutex<Option<Process>>,
    port: u16,
    directory: Directory,
}

impl Postgres {
    /// The one that all tests share which do not kill it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    pub(crate) fn start() -> Self {
        let directory = Directory::new();
        let password = directory.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        give("postgres", directory.path());
        let mut initdb = run_as("postgres", &program("initdb", "postgresql"));
        initdb
            .args([
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "--auth=password",
            ])
            .args(["--username", USER, "--pwfile"])
            .arg(&password)
            .arg("--pgdata")
            .arg(directory.path().join("data"));
        finish(&mut initdb);
        let server = Self {
            port: free_port(),
            directory,
            process: Mutex::new(None),
        };
        server.restart();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, through `port`, which may be a proxy's.
    pub(crate) fn url(port: u16, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// The name of a new, empty database.
    pub(crate) async fn new_database(&self) -> String {
        let name = unique_name();
        let url = Self::url(self.port, "postgres");
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        connection.execute(AssertSqlSafe(create)).await.unwrap();
        connection.close().await.unwrap();
        name
    }

    /// The URL of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        Self::url(self.port, &self.new_database().await)
    }

    /// Kills it with all its processes, as a power failure would.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.lock().take() {
            process.kill_with_children();
        }
    }

    /// Starts it again, on what it had on disk.
    pub(crate) fn restart(&self) {
        let mut command = run_as("postgres", &program("postgres", "postgresql"));
        command
            .arg("-D")
            .arg(self.directory.path().join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(self.directory.path())
            .args(["-c", "max_connections=300", "-c", "shared_buffers=32MB"]);
        let log = self.log();
        let mut process = Process::start(&command, &log, "INT");
        process.wait_until(&log, || {
            let is_ready = fs::read_to_string(&log).unwrap_or_default();
            let is_ready = is_ready.rsplit("starting PostgreSQL").next();
            is_ready.is_some_and(|said| said.contains("ready to accept connections"))
                && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        *self.process.lock() = Some(process);
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}
