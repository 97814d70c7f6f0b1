//! Servers that the tests start, on free ports and in temporary directories.
//! They end with the tests, even if the test process is killed: a shell waits until its input is closed, which the
//! kernel does when the test process is gone.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A port on loopback that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The path of a server's program, or a panic that says which package has it.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing: on Debian, apt-get install {package}"))
}

/// The path of a server with several implementations: the value of the environment variable `instead`, or the first of
/// `names` that is installed.
pub(crate) fn server(instead: &str, names: &[&str], package: &str) -> PathBuf {
    if let Some(named) = std::env::var_os(instead) {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "{instead} names no program: {path:?}");
        return path;
    }
    let found = names.iter().find_map(|name| find(name));
    found.unwrap_or_else(|| program(names[0], package))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut places = folders.iter().map(|folder| folder.join(name));
    places.find(|program| program.is_file())
}

/// A directory that is removed when this is dropped, or when the tests end.
pub(crate) struct Directory {
    path: PathBuf,
    keeper: Child,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let made = Command::new("mktemp")
            .args(["-d", "-t", "cloakroom.XXXXXXXX"])
            .output();
        let path = String::from_utf8(made.unwrap().stdout).unwrap();
        let path = PathBuf::from(path.trim_end());
        assert!(path.is_dir());
        const KEEP: &str = r#"trap '' INT
cat >/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" 2>/dev/null && exit; sleep 0.2; done"#;
        let keeper = Command::new("sh")
            .args(["-c", KEEP, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { path, keeper }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A running program that is ended when this is dropped, or when the tests end.
pub(crate) struct Process {
    pid: u32,
    keeper: Child,
}

impl Process {
    /// Starts `command`, which must not put itself into the background; what
    /// it prints goes to the file `log`. It is asked to end by the signal `end_by`.
    pub(crate) fn start(command: &Command, log: &Path, end_by: &str) -> Self {
        const KEEP: &str = r#"trap '' INT
log=$1 signal=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
program=$!
echo $program
cat >/dev/null
kill -s "$signal" $program 2>/dev/null
# Where a test failed while the program was stopped.
kill -s CONT $program 2>/dev/null
(sleep 20; kill -s KILL $program) 2>/dev/null &
wait $program
kill $! 2>/dev/null"#;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEP, "sh"])
            .arg(log)
            .arg(end_by)
            .arg(command.get_program())
            .args(command.get_args())
            .envs(
                command
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The shell would report here that its child was killed.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        let stdout = keeper.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut pid).unwrap();
        let pid = pid.trim_end().parse().unwrap();
        Self { pid, keeper }
    }

    /// Waits until `is_ready`, for at most 60 seconds.
    pub(crate) fn wait_until(&mut self, log: &Path, is_ready: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_ready() {
            let has_ended = !Path::new(&format!("/proc/{}", self.pid)).exists();
            if has_ended || started.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                panic!("the server did not start; it says:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it at once, like a crash, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        signal(self.pid, "KILL");
        self.end();
    }

    /// The same as [`kill`](Self::kill), with the processes that it started.
    pub(crate) fn kill_with_children(self) {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = std::fs::read_to_string(children).unwrap();
        let children: Vec<u32> = children
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect();
        // The process itself first, or it would start new ones.
        self.kill();
        let started = Instant::now();
        for child in children {
            let path = format!("/proc/{child}");
            while Path::new(&path).exists() {
                assert!(started.elapsed() < Duration::from_secs(60), "{child} stays");
                // It may be gone already.
                let _ = Command::new("kill")
                    .args(["-s", "KILL", &child.to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }

    /// Stops or continues it: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    fn end(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}
