use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

use super::{
    super::process::{self, Directory, Process, free_port},
    PASSWORD, USER, finish, give, run_as, unique_name,
};

/// A MariaDB or MySQL server with nothing in it, durable as by default.
pub(crate) struct MySql {
    /// The first that is dropped: it ends on what it has on disk.
    process: Mutex<Option<Process>>,
    port: u16,
    directory: Directory,
    program: PathBuf,
    make: Make,
}

#[derive(Clone, Copy)]
enum Make {
    MySql,
    MariaDb,
}

impl MySql {
    /// The one that all tests share which do not kill it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<MySql> = LazyLock::new(MySql::start);
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
        let names = ["mariadbd", "mysqld"];
        let program = process::server("CLOAKROOM_MYSQL_SERVER", &names, "mariadb-server");
        let make = Make::of(&program);
        finish(&mut make.install(&program, &directory.path().join("data")));
        let server = Self {
            port: free_port(),
            directory,
            program,
            make,
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
        let mut command = run_as("mysql", &self.program);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", path.join("data").display()))
            .arg(format!("--socket={}", path.join("socket").display()))
            .arg(format!("--pid-file={}", path.join("pid").display()))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--max-connections=300"])
            .arg("--innodb-buffer-pool-size=32M")
            .args(self.make.settings())
            .args(arguments);
        let log = self.log();
        let said = fs::read_to_string(&log).map_or(0, |log| log.len());
        // It would take its time, and MySQL for ever where its directory goes first.
        let mut process = Process::start(&command, &log, "KILL");
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

impl Make {
    fn of(program: &Path) -> Self {
        let version = Command::new(program).arg("--version").output().unwrap();
        match String::from_utf8_lossy(&version.stdout).contains("MariaDB") {
            true => Self::MariaDb,
            false => Self::MySql,
        }
    }

    /// What makes an empty data directory.
    fn install(self, program: &Path, data: &Path) -> Command {
        let data = format!("--datadir={}", data.display());
        match self {
            Self::MySql => {
                let mut install = run_as("mysql", program);
                install.args(["--no-defaults", "--initialize-insecure", &data]);
                install
            }
            Self::MariaDb => {
                // That of the same version lies beside it, or is the machine's only one.
                let beside = program.with_file_name("mariadb-install-db");
                let found = beside.is_file().then_some(beside);
                let found = found
                    .unwrap_or_else(|| process::program("mariadb-install-db", "mariadb-server"));
                let mut install = run_as("mysql", &found);
                install
                    .args(["--no-defaults", "--skip-test-db"])
                    .args(["--auth-root-authentication-method=normal", &data]);
                install
            }
        }
    }

    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &[
                "--innodb-redo-log-capacity=32M",
                "--mysqlx=OFF",
                "--secure-file-priv=NULL",
            ],
            Self::MariaDb => &["--innodb-log-file-size=16M"],
        }
    }
}
