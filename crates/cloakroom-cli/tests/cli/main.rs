//! The command line, on every store that other processes can reach.

#[path = "../../../../tests/it/support"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the servers can do more than is tried here"
)]
mod support {
    pub(crate) mod process;
    pub(crate) mod servers;
}

use std::process::{Command, Output, Stdio};

use cloakroom::{
    Session, SessionHandle, SessionId, SessionLayer, SessionStore,
    store::{FileStore, MySqlStore, PostgresStore, RedisStore, SqliteStore},
};
use http::{Request, Response};
use support::{
    process::Directory,
    servers::{MySql, Postgres, Redis, redis::unique_prefix},
};
use tower::{Layer as _, ServiceExt as _};

const SECRET: &str = "hunter2-of-the-tests";

/// A command on one store.
struct Shell {
    url: String,
    options: Vec<String>,
}

impl Shell {
    fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            options: Vec::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command.args(&self.options).args(arguments);
        command.env("CLOAKROOM_STORE", &self.url);
        command
            .env_remove("CLOAKROOM_STORE_FILE")
            .stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(
                !text.contains(SECRET),
                "{arguments:?} prints the password: {text}"
            );
            assert!(!text.contains('\u{1b}'), "{arguments:?} colours a pipe");
        }
        output
    }

    /// What it prints, with this exit code.
    #[track_caller]
    fn prints(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        let text = if code == 0 {
            output.stdout
        } else {
            output.stderr
        };
        String::from_utf8(text).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.prints(0, &arguments)).unwrap()
    }
}

/// Sessions of visitors, of which those with a name log in.
async fn visitors(store: impl SessionStore, users: &[Option<&str>]) -> Vec<SessionId> {
    let layer = SessionLayer::new(store).reap_every(None);
    let mut ids = Vec::new();
    for user in users {
        let user = user.map(str::to_owned);
        let act = move |request: Request<()>| {
            let user = user.clone();
            async move {
                let handle = request.extensions().get::<SessionHandle>().unwrap();
                let session: Session = handle.load().await.unwrap();
                session.insert("plan", "tell nobody").unwrap();
                if let Some(user) = user {
                    session.log_in(user).unwrap();
                }
                Ok::<_, std::convert::Infallible>(Response::new(String::new()))
            }
        };
        let response = layer
            .layer(tower::service_fn(act))
            .oneshot(Request::new(()))
            .await;
        assert_eq!(response.unwrap().status(), 200);
    }
    let page = layer
        .sessions()
        .list(&cloakroom::SessionFilter::default(), None, 100)
        .await;
    ids.extend(
        page.unwrap()
            .sessions
            .iter()
            .map(cloakroom::SessionSummary::id),
    );
    ids
}

const USERS: [Option<&str>; 6] = [Some("ann"), Some("bob"), Some("ann"), None, None, None];

/// Every command, on a store with six sessions.
fn try_every_command(shell: &Shell, ids: &[SessionId], has_newest: bool) {
    assert!(shell.prints(0, &["ping"]).contains("answers in"));
    assert!(shell.json(&["ping"])["seconds"].is_f64());
    assert_eq!(shell.prints(0, &["count"]).trim(), "6");
    assert_eq!(shell.prints(0, &["count", "--anonymous"]).trim(), "3");
    assert_eq!(shell.json(&["count", "--user", "ann"])["count"], 2);
    let stats = shell.json(&["stats"]);
    assert_eq!(
        (&stats["records"], &stats["logged_in"]["count"]),
        (&6.into(), &3.into())
    );
    assert!(shell.prints(0, &["stats"]).contains("logged in"));

    let list = shell.prints(0, &["list"]);
    for id in ids {
        assert!(list.contains(&id.to_string()), "{list}");
    }
    let first = shell.json(&["list", "--limit", "4"]);
    assert_eq!(first["sessions"].as_array().unwrap().len(), 4);
    let next = first["next"].as_str().unwrap();
    let second = shell.json(&["list", "--limit", "4", "--after", next]);
    assert_eq!(second["sessions"].as_array().unwrap().len(), 2);
    assert!(second["next"].is_null());
    if has_newest {
        let newest = shell.json(&["list", "--order", "newest", "--begun-within", "1h"]);
        assert_eq!(newest["sessions"].as_array().unwrap().len(), 6);
        assert!(newest["sessions"][0]["user"].is_null());
    }

    let id = ids[0].to_string();
    let shown = shell.prints(0, &["show", &id]);
    assert!(shown.contains(&id) && shown.contains("plan") && !shown.contains("tell nobody"));
    assert!(
        shell
            .prints(0, &["show", &id, "--values"])
            .contains("tell nobody")
    );

    // Nothing ends unless it is confirmed.
    assert!(
        shell
            .prints(4, &["revoke", "--user", "ann"])
            .contains("--yes")
    );
    let dry = shell.prints(0, &["revoke", "--user", "ann", "--dry-run"]);
    assert!(dry.contains("2 sessions would end"), "{dry}");
    assert_eq!(shell.prints(0, &["count", "--user", "ann"]).trim(), "2");
    assert_eq!(
        shell.json(&["revoke", "--user", "ann", "--yes"])["ended"],
        2
    );
    assert_eq!(
        shell
            .prints(0, &["revoke", "--user", "ann", "--yes"])
            .trim(),
        "0 ended"
    );
    let left = shell.json(&["list"]);
    let id = left["sessions"][0]["id"].as_str().unwrap();
    assert_eq!(shell.prints(0, &["revoke", id, "--yes"]).trim(), "1 ended");
    assert!(
        shell
            .prints(3, &["revoke", id, "--yes"])
            .contains("none of these")
    );
    assert!(shell.prints(3, &["show", id]).contains("no session"));
    assert_eq!(
        shell
            .prints(0, &["revoke", "--anonymous", "--unused-for", "1h", "--yes"])
            .trim(),
        "0 ended"
    );
    assert!(
        shell
            .prints(0, &["revoke", "--all", "--dry-run"])
            .contains("every session")
    );
    assert_eq!(
        shell.prints(0, &["revoke", "--all", "--yes"]).trim(),
        "3 ended"
    );
    assert_eq!(shell.json(&["list"])["sessions"], serde_json::json!([]));

    assert_eq!(shell.json(&["reap", "--dry-run"])["would_delete"], 0);
    assert!(shell.prints(0, &["reap"]).contains("deleted"));
    let watched = shell.prints(0, &["--json", "watch", "--every", "1s", "--times", "2"]);
    assert_eq!(watched.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_files() {
    let directory = Directory::new();
    let store = FileStore::open(directory.path()).unwrap();
    let ids = visitors(store, &USERS).await;
    let shell = Shell::new(format!("file://{}", directory.path().display()));
    try_every_command(&shell, &ids, true);
    assert!(shell.prints(0, &["migrate"]).contains("nothing to do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_sqlite_and_makes_the_table() {
    let directory = Directory::new();
    let url = format!("sqlite://{}/sessions.db", directory.path().display());
    let shell = Shell::new(&url);
    assert!(shell.prints(1, &["count"]).contains("migrate"));
    assert!(
        shell
            .prints(0, &["migrate", "--dry-run"])
            .contains("would create")
    );
    assert!(shell.prints(1, &["count"]).contains("migrate"));
    assert!(shell.prints(0, &["migrate"]).contains("up to date"));
    let ids = visitors(SqliteStore::connect(&url).await.unwrap(), &USERS).await;
    let seen = shell.json(&["list", "--order", "seen"]);
    assert_eq!(seen["sessions"].as_array().unwrap().len(), 6);
    try_every_command(&shell, &ids, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_postgresql() {
    let url = Postgres::shared().database().await;
    let shell = Shell::new(&url);
    shell.prints(0, &["migrate"]);
    let ids = visitors(PostgresStore::connect(&url).await.unwrap(), &USERS).await;
    try_every_command(&shell, &ids, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_mysql() {
    let url = MySql::shared().database().await;
    let mut shell = Shell::new(&url);
    shell.options = vec!["--table".to_owned(), "visits".to_owned()];
    shell.prints(0, &["migrate"]);
    let store = MySqlStore::connect(&url)
        .await
        .unwrap()
        .table("visits")
        .unwrap();
    let ids = visitors(store, &USERS).await;
    try_every_command(&shell, &ids, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_redis() {
    let (url, prefix) = (Redis::shared().url(), unique_prefix());
    let store = RedisStore::connect(&url)
        .await
        .unwrap()
        .prefix(&prefix)
        .unwrap();
    let ids = visitors(store.index_begun(), &USERS).await;
    let mut shell = Shell::new(&url);
    shell.options = vec!["--prefix".to_owned(), prefix];
    let refused = shell.prints(1, &["list", "--order", "newest"]);
    assert!(refused.contains("index_begun"), "{refused}");
    shell.options.push("--index-begun".to_owned());
    try_every_command(&shell, &ids, true);
}

#[test]
fn wrong_usage_is_told_with_the_exit_code_2() {
    let directory = Directory::new();
    let shell = Shell::new(format!("file://{}", directory.path().display()));
    for arguments in [
        &["show", "no-uuid"][..],
        &["revoke"],
        &["revoke", "--yes"],
        &["revoke", "--all", "--user", "ann"],
        &["revoke", "67e55044-10b1-426f-9247-bb680e5fe0c8", "--all"],
        &["list", "--after", "forged"],
        &["list", "--limit", "0"],
        &["count", "--begun-within", "soon"],
        &["count", "--anonymous", "--logged-in"],
        &["dance"],
    ] {
        shell.prints(2, arguments);
    }
    for url in ["", "gopher://host", "file:///nowhere/at/all"] {
        Shell::new(url).prints(2, &["count"]);
    }
}

#[test]
fn a_store_that_does_not_answer_is_the_exit_code_1_and_its_password_is_not_told() {
    for url in [
        format!("postgres://ann:{SECRET}@127.0.0.1:1/app"),
        format!("redis://:{SECRET}@127.0.0.1:1"),
    ] {
        let error = Shell::new(url).prints(1, &["ping"]);
        assert!(
            error.starts_with("error: ") && error.contains("127.0.0.1:1"),
            "{error}"
        );
    }
}

#[test]
fn the_url_may_be_in_a_file() {
    let directory = Directory::new();
    let file = directory.path().join("store-url");
    std::fs::write(&file, format!("file://{}\n", directory.path().display())).unwrap();
    let mut shell = Shell::new("");
    shell.options = vec!["--store-file".to_owned(), file.display().to_string()];
    assert!(shell.prints(0, &["ping"]).contains("answers"));
    std::fs::remove_file(&file).unwrap();
    assert!(shell.prints(2, &["ping"]).contains("store-url"));
}

#[test]
fn a_users_name_cannot_steer_the_terminal_and_shells_complete() {
    let directory = Directory::new();
    let store = FileStore::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(visitors(store, &[Some("ann\u{1b}[2J\u{7}")]));
    let shell = Shell::new(format!("file://{}", directory.path().display()));
    assert!(shell.prints(0, &["list"]).contains("ann\\u{1b}[2J"));
    for name in ["bash", "zsh", "fish"] {
        assert!(shell.prints(0, &["completions", name]).contains("revoke"));
    }
}
