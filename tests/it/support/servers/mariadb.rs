use std::{fs, net::TcpStream, path::PathBuf, process::Command, sync::LazyLock};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

use super::{
    super::process::{Directory, Process, free_port, program},
    PASSWORD, USER, finish, give, run_as, unique_name,
};

/// A MariaDB server with nothing in it, durable as by default.
pub(crate) struct MariaDb {
    port: u16,
    directory: Directory,
    process: Mutex<Option<Process>>,
}

impl MariaDb {
    /// The one that all tests share which do not kill it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<MariaDb> = LazyLock::new(MariaDb::start);
        &SHARED
    }

    pub(crate) fn start() -> Self {
        let directory = Directory::new();
        fs::write(
            directory.path().join("init.sql"),
            format!(
                "CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL ON *.* TO {USER}@'127.0.0.1';\n"
            ),
        )
        .unwrap();
        give("mysql", directory.path());
        let mut install = run_as("mysql", &program("mariadb-install-db", "mariadb-server"));
        install
            .args([
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .arg(format!(
                "--datadir={}",
                directory.path().join("data").display()
            ));
        finish(&mut install);
        let server = Self {
            port: free_port(),
            directory,
            process: Mutex::new(None),
        };
        let init = server.directory.path().join("init.sql");
        server.run(&[format!("--init-file={}", init.display())]);
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, through `port`, which may be a proxy's.
    pub(crate) fn url(port: u16, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// The name of a new, empty database.
    pub(crate) async fn new_database(&self) -> String {
        let name = unique_name();
        let url = Self::url(self.port, "mysql");
        let mut connection = MySqlConnection::connect(&url).await.unwrap();
        // A character set that no user's name and no session fits into.
        let create = format!("CREATE DATABASE {name} CHARACTER SET latin1");
        connection.execute(AssertSqlSafe(create)).await.unwrap();
        connection.close().await.unwrap();
        name
    }

    /// The URL of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        Self::url(self.port, &self.new_database().await)
    }

    /// Kills it, as a power failure would.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.lock().take() {
            process.kill();
        }
    }

    /// Starts it again, on what it had on disk.
    pub(crate) fn restart(&self) {
        self.run(&[]);
    }

    fn run(&self, arguments: &[String]) {
        let path = self.directory.path();
        let mut command: Command = run_as("mysql", &program("mariadbd", "mariadb-server"));
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", path.join("data").display()))
            .arg(format!("--socket={}", path.join("socket").display()))
            .arg(format!("--pid-file={}", path.join("pid").display()))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--max-connections=300"])
            .args([
                "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=16M",
            ])
            .args(arguments);
        let log = self.log();
        let said = fs::read_to_string(&log).map_or(0, |log| log.len());
        let mut process = Process::start(&command, &log, "TERM");
        process.wait_until(&log, || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log[said..].contains("ready for connections")
                && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        *self.process.lock() = Some(process);
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}
