//! The program, run on stores of every kind that other processes can reach.

mod support;

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use cloakroom::{
    SessionLayer,
    store::{FileStore, MySqlStore, PostgresStore, RedisStore, SessionStore, SqliteStore},
    testing::{FixedClock, Ticket},
};
use serde_json::Value;

use crate::support::{
    process::Directory,
    servers::{MySql, Postgres, Redis},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

const SECRET: &str = "hunter2-of-the-tests";

/// The program, on the store with this URL.
struct Cli {
    url: String,
}

impl Cli {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cloakroom"))
            .args(arguments)
            .env("CLOAKROOM_STORE", &self.url)
            .output()
            .unwrap()
    }

    /// What it prints, having done what it was asked to.
    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.text(&arguments)).unwrap()
    }

    /// Its exit code and its error.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains(SECRET), "{text}");
        (output.status.code().unwrap(), text)
    }
}

/// Ann with three devices, Bob with one, and two visitors whom nobody knows.
async fn people(store: impl SessionStore) {
    let layer = SessionLayer::new(store).reap_every(None);
    for user in [
        Some("ann"),
        Some("ann"),
        Some("ann"),
        Some("bob"),
        None,
        None,
    ] {
        let begin = |session: &cloakroom::Session| {
            session.insert("cart", ["tea"])?;
            user.map_or(Ok(()), |user| session.log_in(user))
        };
        Ticket::new(&layer, begin).await.unwrap();
    }
}

/// All that an operator does, on a store with [`people`].
fn tour(cli: &Cli) {
    cli.text(&["ping"]);
    assert_eq!(cli.json(&["reap", "--dry-run"])["would_delete"], 0);
    let stats = cli.json(&["stats"]);
    assert_eq!(stats["records"], 6);
    assert_eq!(stats["logged_in"]["count"], 4);
    assert_eq!(stats["anonymous"]["count"], 2);
    assert_eq!(cli.json(&["count"])["count"], 6);
    assert_eq!(cli.json(&["count", "--user", "ann"])["count"], 3);
    assert_eq!(cli.json(&["count", "--begun-before", "1d"])["count"], 0);

    // A page at a time, each session once.
    let (mut ids, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["list", "--limit", "2"];
        if let Some(after) = &after {
            arguments.extend(["--after", after]);
        }
        let page = cli.json(&arguments);
        for session in page["sessions"].as_array().unwrap() {
            ids.push(session["id"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 6);

    let anns = cli.json(&["list", "--user", "ann"]);
    let id = anns["sessions"][0]["id"].as_str().unwrap();
    let shown = cli.text(&["show", id]);
    assert!(
        shown.contains("ann") && shown.contains("cart") && !shown.contains("tea"),
        "{shown}"
    );
    assert_eq!(
        cli.json(&["show", id, "--values"])["values"]["cart"][0],
        "tea"
    );
    let table = cli.text(&["list", "--user", "bob"]);
    assert!(table.contains("bob") && !table.contains("ann"), "{table}");
    assert!(
        !table.contains('\u{1b}'),
        "colours without a terminal: {table}"
    );

    let preview = cli.json(&["revoke", "--user", "ann", "--dry-run"]);
    assert_eq!(preview["would_end"]["count"], 3);
    assert_eq!(cli.json(&["count", "--user", "ann"])["count"], 3);
    assert_eq!(cli.fails(&["revoke", "--user", "ann"]).0, 4);
    // There is nothing to confirm.
    assert_eq!(cli.json(&["revoke", "--user", "nobody"])["ended"], 0);
    let twice = cli.json(&["revoke", id, id, "--dry-run"]);
    assert_eq!(twice["would_end"]["count"], 1);
    assert_eq!(cli.json(&["revoke", id, "--yes"])["ended"], 1);
    assert_eq!(cli.fails(&["revoke", id, "--yes"]).0, 3);
    assert_eq!(cli.fails(&["revoke", id, "--dry-run"]).0, 3);
    assert_eq!(cli.fails(&["show", id]).0, 3);
    assert_eq!(cli.json(&["revoke", "--user", "ann", "--yes"])["ended"], 2);
    assert_eq!(cli.fails(&["revoke", "--yes"]).0, 2);
    assert_eq!(cli.json(&["revoke", "--all", "--yes"])["ended"], 3);
    let left = cli.json(&["list"]);
    assert_eq!(left["sessions"].as_array().unwrap().len(), 0);
    cli.text(&["reap", "--dry-run"]);
    cli.text(&["reap"]);
    let watched = cli.text(&["watch", "--every", "100ms", "--times", "2"]);
    assert_eq!(watched.lines().count(), 2);
}

/// Creates the tables in an empty database.
fn migrate(cli: &Cli) {
    for _ in 0..2 {
        let would = cli.json(&["migrate", "--dry-run"]);
        assert_eq!(would["would"], "create_tables");
        let (code, text) = cli.fails(&["count"]);
        assert!(code == 1 && text.contains("migrate"), "{text}");
    }
    cli.text(&["migrate"]);
    assert_eq!(cli.json(&["migrate", "--dry-run"])["would"], "nothing");
    cli.text(&["migrate"]);
    assert_eq!(cli.json(&["count"])["count"], 0);
}

/// What expired yesterday is deleted, and not what is live.
async fn reap(store: impl SessionStore, cli: &Cli) {
    let layer = SessionLayer::new(store)
        .reap_every(None)
        .clock(FixedClock::new(SystemTime::now() - 24 * HOUR))
        .idle_timeout(HOUR);
    let begin = |session: &cloakroom::Session| session.insert("cart", ["tea"]);
    for _ in 0..3 {
        Ticket::new(&layer, begin).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(cli.json(&["reap", "--dry-run"])["would_delete"], 3);
        assert_eq!(cli.json(&["count"])["count"], 9);
    }
    assert_eq!(cli.json(&["reap"])["deleted"], 3);
    assert_eq!(cli.json(&["reap", "--dry-run"])["would_delete"], 0);
    assert_eq!(cli.json(&["count"])["count"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_at_home_on_sqlite() {
    let directory = Directory::new();
    let path = directory.path().join("sessions.db");
    let cli = Cli {
        url: format!("sqlite:{}?mode=rwc", path.display()),
    };
    // A wrong path is no new database.
    let wrong = Cli {
        url: format!("sqlite:{}", path.display()),
    };
    for arguments in [&["ping"][..], &["list"], &["reap"]] {
        let (code, text) = wrong.fails(arguments);
        assert!(code == 1 && text.contains("cloakroom migrate"), "{text}");
    }
    assert_eq!(cli.fails(&["reap", "--dry-run"]).0, 1);
    assert_eq!(cli.json(&["migrate", "--dry-run"])["would"], "create_file");
    assert!(!path.exists());
    // Nor do tables come to be in a file that is there.
    fs::write(&path, "").unwrap();
    assert_eq!(cli.fails(&["reap", "--dry-run"]).0, 1);
    let (code, text) = wrong.fails(&["list"]);
    assert!(code == 1 && text.contains("migrate"), "{text}");
    assert_eq!(
        text.matches("the session store failed").count(),
        1,
        "{text}"
    );
    migrate(&cli);
    let store = SqliteStore::connect(&cli.url).await.unwrap();
    people(store.clone()).await;
    reap(store, &cli).await;
    tour(&cli);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_at_home_in_a_directory() {
    let directory = Directory::new();
    let cli = Cli {
        url: format!("file:{}", directory.path().display()),
    };
    let store = FileStore::open(directory.path()).unwrap();
    people(store.clone()).await;
    reap(store, &cli).await;
    tour(&cli);
    for arguments in [&["migrate"][..], &["migrate", "--dry-run"]] {
        assert_eq!(cli.fails(arguments).0, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_at_home_on_redis() {
    let server = Redis::start();
    let cli = Cli { url: server.url() };
    people(RedisStore::connect(&cli.url).await.unwrap()).await;
    for (arguments, what) in [
        (&["list", "--newest"][..], "--index-begun"),
        (&["list", "--newest", "--index-begun"], "on every node"),
    ] {
        let (code, text) = cli.fails(arguments);
        assert!(code == 2 && text.contains(what), "{text}");
    }
    let (code, text) = cli.fails(&["list", "--last-seen"]);
    assert!(code == 2 && text.contains("last seen"), "{text}");
    let anns = cli.json(&["list", "--newest", "--user", "ann"]);
    assert_eq!(anns["sessions"].as_array().unwrap().len(), 3);
    tour(&cli);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_on_redis_are_listed_by_the_index() {
    let server = Redis::start();
    let cli = Cli { url: server.url() };
    let newest = ["list", "--newest", "--index-begun", "--limit", "4"];
    let none = cli.json(&newest);
    assert_eq!(none["sessions"].as_array().unwrap().len(), 0);
    let store = RedisStore::connect(&cli.url).await.unwrap();
    people(store.index_begun()).await;
    let page = cli.json(&newest);
    let begun = |page: &Value| {
        let sessions = page["sessions"].as_array().unwrap().clone();
        let begun = sessions
            .iter()
            .map(|it| it["begun_at"].as_str().unwrap().to_owned());
        begun.collect::<Vec<_>>()
    };
    let next = page["next"].as_str().unwrap();
    let rest = cli.json(&[&newest[..], &["--after", next]].concat());
    let all = [begun(&page), begun(&rest)].concat();
    assert!(all.len() == 6 && all.is_sorted_by(|a, b| a >= b), "{all:?}");
    // A cursor of another list.
    let (code, text) = cli.fails(&["list", "--after", next]);
    assert!(code == 2 && text.contains("--after"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_at_home_on_postgresql() {
    let server = Postgres::start();
    let cli = Cli {
        url: server.database().await,
    };
    migrate(&cli);
    let store = PostgresStore::connect(&cli.url).await.unwrap();
    people(store.clone()).await;
    reap(store, &cli).await;
    tour(&cli);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_at_home_on_mariadb() {
    let server = MySql::start();
    let cli = Cli {
        url: server.database().await,
    };
    migrate(&cli);
    let store = MySqlStore::connect(&cli.url).await.unwrap();
    people(store.clone()).await;
    reap(store, &cli).await;
    tour(&cli);
}

#[test]
fn the_url_may_come_from_a_file_and_is_in_no_error() {
    let directory = Directory::new();
    let file = directory.path().join("url");
    let file_argument = file.to_str().unwrap();
    let cli = Cli { url: String::new() };
    let (code, text) = cli.fails(&["ping"]);
    assert!(code == 2 && text.contains("CLOAKROOM_STORE"), "{text}");
    // A store that cannot be reached has failed. The others are no stores.
    for (url, expected) in [
        (format!("postgres://user:{SECRET}@127.0.0.1:1/database"), 1),
        (format!("redis://:{SECRET}@127.0.0.1:1"), 1),
        (format!("mysql://user:{SECRET}@127.0.0.1:1/database"), 1),
        (format!("mongodb://user:{SECRET}@127.0.0.1:1"), 2),
        (format!("postgres://user:{SECRET}@:::/"), 2),
        (format!("redis://:{SECRET}@:::/"), 2),
        (SECRET.to_owned(), 2),
    ] {
        fs::write(&file, format!("{url}\nnothing else\n")).unwrap();
        let (code, text) = cli.fails(&["ping", "--store-file", file_argument]);
        assert_eq!(code, expected, "{url}: {text}");
    }
    fs::remove_file(&file).unwrap();
    let (code, text) = cli.fails(&["ping", "--store-file", file_argument]);
    assert!(code == 2 && text.contains(file_argument), "{text}");
    // Where somebody takes an argument for the place of the URL.
    let url = format!("postgres://user:{SECRET}@127.0.0.1:1/database");
    let joined = format!("--store={url}");
    for arguments in [
        &["ping", &url][..],
        &[&url],
        &["ping", "--store", &url],
        &[&joined, "ping"],
        &["ping", "--store-file", &url],
        &["list", "--after", &url],
    ] {
        let (code, text) = cli.fails(arguments);
        assert!(code == 2 && text.contains("--store-file"), "{text}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    let cli = Cli {
        url: "file:/nowhere".to_owned(),
    };
    for arguments in [
        &["list", "--limit", "0"][..],
        &["list", "--after", "nonsense"],
        &["list", "--idle-for", "soon"],
        &["list", "--user", "ann", "--anonymous"],
        &["show", "no-id"],
        &["revoke", "--all", "--user", "ann"],
        &["watch", "--every", "-1s"],
        &["dance"],
        &[],
    ] {
        let (code, text) = cli.fails(arguments);
        assert!(code == 2 && !text.is_empty(), "{arguments:?}: {text}");
    }
    let (code, text) = cli.fails(&["ping"]);
    assert!(code == 1 && text.contains("directory"), "{text}");
}

/// What a user may call themselves, if the application lets them.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\r\nann\t漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字";

#[tokio::test(flavor = "multi_thread")]
async fn no_session_commands_the_terminal() {
    let directory = Directory::new();
    let cli = Cli {
        url: format!("file:{}", directory.path().display()),
    };
    let layer = SessionLayer::new(FileStore::open(directory.path()).unwrap()).reap_every(None);
    let begin = |session: &cloakroom::Session| {
        session.insert("\u{1b}[31mkey", HOSTILE)?;
        session.log_in(HOSTILE)
    };
    Ticket::new(&layer, begin).await.unwrap();
    let listed = cli.json(&["list"]);
    assert_eq!(listed["sessions"][0]["user"], HOSTILE);
    let id = listed["sessions"][0]["id"].as_str().unwrap();
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["show", id],
        &["show", id, "--values"],
        &["show", id, "--values", "--json"],
        &["revoke", "--user", HOSTILE, "--dry-run"],
    ] {
        let text = cli.text(arguments);
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{arguments:?}: {text:?}");
        assert!(text.contains("ann"), "{arguments:?}: {text:?}");
    }
    assert_eq!(cli.text(&["list"]).lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_further_ends_the_program_quietly() {
    let directory = Directory::new();
    let url = format!("file:{}", directory.path().display());
    people(FileStore::open(directory.path()).unwrap()).await;
    for arguments in [
        &["list"][..],
        &["stats", "--json"],
        &["watch", "--every", "100ms"],
        &["completions", "bash"],
        &["show", "67e55044-10b1-426f-9247-bb680e5fe0c8"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        let (reader, writer) = std::io::pipe().unwrap();
        command.args(arguments).env("CLOAKROOM_STORE", &url);
        command.stdout(writer).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        drop((reader, command));
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let expected = if arguments[0] == "show" { 3 } else { 0 };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{arguments:?}: {errors}"
        );
        assert!(!errors.contains("panicked"), "{errors}");
    }
    if let Ok(full) = fs::File::create("/dev/full") {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command.arg("stats").env("CLOAKROOM_STORE", &url);
        let output = command.stdout(full).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && errors.contains("cannot print"),
            "{errors}"
        );
    }
}

#[test]
fn the_help_names_each_kind_of_store_and_each_exit_code() {
    let cli = Cli { url: String::new() };
    let help = cli.text(&["--help"]);
    for part in [
        "postgres://",
        "mysql://",
        "mariadb://",
        "sqlite:",
        "redis://",
        "rediss://",
        "redis-cluster://",
        "rediss-cluster://",
        "file:",
    ] {
        assert!(help.contains(part), "{part}\n{help}");
    }
    let readme = include_str!("../README.md");
    for code in 0..=4 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}\n{help}");
        assert!(readme.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn shells_complete_the_commands() {
    let cli = Cli { url: String::new() };
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.text(&["completions", shell]);
        assert!(script.contains("revoke"), "{shell}");
    }
}
