//! Many processes on one store. A worker is a test of this binary, which
//! another process runs alone:
//!
//! ```ignore
//! #[tokio::test]
//! async fn increments_of_four_processes_add_up() {
//!     let store = FileStore::open(path)?;
//!     processes::add_up("store::file::worker", path, store).await;
//! }
//!
//! /// Does nothing unless another process is started for it.
//! #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
//! async fn worker() {
//!     if let Some(path) = processes::place() {
//!         processes::increment(FileStore::open(path)?).await;
//!     }
//! }
//! ```

use std::{
    convert::Infallible,
    env,
    io::{Read as _, stdin},
    process::{Child, Command, Stdio, abort},
    thread,
    time::{Duration, Instant},
};

use cloakroom::{SessionHandle, SessionLayer, SessionStore};
use http::{Request, Response, header};
use tower::{Layer as _, ServiceExt as _, service_fn};

const PROCESSES: u64 = 4;
const TASKS: u64 = 8;
const INCREMENTS: u64 = 250;

/// On the slowest machine. A worker that has not ended by now never does.
const TOO_LONG: Duration = Duration::from_secs(15 * 60);

const PLACE: &str = "CLOAKROOM_TEST_PLACE";
const COOKIE: &str = "CLOAKROOM_TEST_COOKIE";

/// Where the store is that this process is to work on; `None`: it is no worker.
#[allow(clippy::exit)] // A worker is a process of its own.
pub(crate) fn place() -> Option<String> {
    let place = env::var(PLACE).ok()?;
    // Ends with the process that started it, however that ends.
    thread::spawn(|| {
        let _ = stdin().read(&mut [0]);
        abort();
    });
    Some(place)
}

/// A process that runs one test of this binary. Killed when it is dropped.
pub(crate) struct Worker(Child);

impl Worker {
    /// Runs the test `name`, which finds `place` by [`place`], and `env` around it.
    pub(crate) fn start(name: &str, place: &str, env: &[(&str, &str)]) -> Self {
        let program = Command::new(env::current_exe().unwrap());
        Self::run(program, name, place, env)
    }

    /// The same in a process whose files cannot grow beyond a few KiB: there the disk is full.
    pub(crate) fn start_with_little_room(name: &str, place: &str) -> Self {
        const LIMITED: &str = r#"trap '' XFSZ; ulimit -f 8; exec "$0" "$@""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", LIMITED]).arg(env::current_exe().unwrap());
        Self::run(shell, name, place, &[])
    }

    fn run(mut program: Command, name: &str, place: &str, env: &[(&str, &str)]) -> Self {
        let started = program
            .args([name, "--exact", "--nocapture"])
            .env(PLACE, place)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(started.unwrap())
    }

    /// Waits until it has passed.
    pub(crate) fn pass(self) {
        self.passed();
    }

    /// Waits until it has passed. Returns what it said.
    fn passed(mut self) -> String {
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        let has_passed = self.0.wait().unwrap().success() && said.contains("1 passed");
        assert!(has_passed, "a worker failed:\n{said}");
        said
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 4 processes with 8 tasks each make 250 increments of one value in each,
/// and the sum must be exact. `store` is the same as the workers find at `place`.
pub(crate) async fn add_up(worker: &str, place: &str, store: impl SessionStore) {
    assert_eq!(add_up_in_doubt(worker, place, store).await, 0);
}

/// As [`add_up`], over a store that may answer a write with "unknown": an increment that was answered with 503 counts
/// once at most. Returns how many were.
pub(crate) async fn add_up_in_doubt(worker: &str, place: &str, store: impl SessionStore) -> u64 {
    let layer = layer(store);
    let (first, cookie) = increment_once(&layer, "").await.unwrap();
    assert_eq!(first, 1);
    let workers: Vec<_> = (0..PROCESSES)
        .map(|_| Worker::start(worker, place, &[(COOKIE, &cookie)]))
        .collect();
    let waiting = tokio::task::spawn_blocking(|| {
        let in_doubt = |said: String| -> u64 {
            let (_, count) = said.split_once(IN_DOUBT).unwrap();
            count.split_whitespace().next().unwrap().parse().unwrap()
        };
        workers
            .into_iter()
            .map(|worker| in_doubt(worker.passed()))
            .sum()
    });
    let in_doubt: u64 = waiting.await.unwrap();
    let (last, _) = increment_once(&layer, &cookie).await.unwrap();
    let answered = 2 + PROCESSES * TASKS * INCREMENTS;
    assert!(
        (answered..=answered + in_doubt).contains(&last),
        "{last}, {in_doubt} in doubt"
    );
    in_doubt
}

/// Before the number of increments that a worker does not know about.
const IN_DOUBT: &str = "in doubt: ";

/// A worker's part of [`add_up`].
pub(crate) async fn increment(store: impl SessionStore) {
    let cookie = env::var(COOKIE).unwrap();
    let layer = layer(store);
    let began = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (layer, cookie) = (layer.clone(), cookie.clone());
            tokio::spawn(async move {
                let (mut answered, mut in_doubt) = (0, 0_u64);
                while answered < INCREMENTS {
                    match increment_once(&layer, &cookie).await {
                        Some(_) => answered += 1,
                        None => in_doubt += 1,
                    }
                    assert!(began.elapsed() < TOO_LONG, "only {answered} were answered");
                }
                in_doubt
            })
        })
        .collect();
    let mut in_doubt = 0;
    for task in tasks {
        in_doubt += task.await.unwrap();
    }
    println!("{IN_DOUBT}{in_doubt} ");
}

fn layer(store: impl SessionStore) -> SessionLayer {
    SessionLayer::new(store).store_timeout(Duration::from_secs(60))
}

/// One request through the whole layer: the value as its handler saw it, and the cookie from then on; `None` for 503.
async fn increment_once(layer: &SessionLayer, cookie: &str) -> Option<(u64, String)> {
    let service = service_fn(|request: Request<()>| async move {
        let handle = request.extensions().get::<SessionHandle>().unwrap();
        let session = handle.load().await.unwrap();
        let sum = session.update("sum", |sum: Option<u64>| sum.unwrap_or(0) + 1);
        Ok::<_, Infallible>(Response::new(sum.unwrap().to_string()))
    });
    let request = Request::get("/").header(header::COOKIE, cookie);
    let response = layer.layer(service).oneshot(request.body(()).unwrap());
    let response = response.await.unwrap();
    if response.status() == 503 {
        return None;
    }
    assert_eq!(response.status(), 200);
    let set = response.headers().get(header::SET_COOKIE);
    let cookie = set.map_or(cookie, |set| {
        set.to_str().unwrap().split(';').next().unwrap()
    });
    Some((response.body().parse().unwrap(), cookie.to_owned()))
}
