//! Follows the `console` blocks of a page: what curl prints against the page's program is what the page shows.

use std::{path::Path, process::Stdio, time::Duration};

use axum::Router;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a socket may take to open or to close on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Step {
    command: String,
    printed: Vec<String>,
}

/// The calls of curl, each with what it prints.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in page.lines() {
        match (line, steps.last_mut()) {
            ("```console", _) => is_console = true,
            ("```", _) => is_console = false,
            _ if !is_console => {}
            (_, Some(step)) if step.command.ends_with('\\') => {
                step.command.pop();
                step.command += line.trim_start();
            }
            (_, last) => match (line.strip_prefix("$ "), last) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    printed: Vec::new(),
                }),
                (None, Some(step)) => step.printed.push(masked(line)),
                (None, None) => panic!("nothing prints {line}"),
            },
        }
    }
    steps.retain(|step| step.command.starts_with("curl "));
    steps
}

/// Whether the page may show the line so. An ellipsis stands for anything.
fn is_shown_as(line: &str, shown: &str) -> bool {
    let (first, rest) = shown.split_once('…').unwrap_or((shown, ""));
    let Some(mut line) = line.strip_prefix(first) else {
        return false;
    };
    if first.len() == shown.len() {
        return line.is_empty();
    }
    let (middle, last) = rest.rsplit_once('…').unwrap_or(("", rest));
    for part in middle.split('…') {
        let Some((_, after)) = line.split_once(part) else {
            return false;
        };
        line = after;
    }
    line.ends_with(last)
}

/// Replaces tokens, and their beginnings before an ellipsis, by an ellipsis.
fn masked(line: &str) -> String {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut masked = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let length = rest.find(|c| !is_of_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if length == 0 {
            masked.push(next);
            rest = &rest[next.len_utf8()..];
        } else if let Some(after) = after.strip_prefix('…') {
            masked.push('…');
            rest = after;
        } else {
            masked += if length < 40 { word } else { "…" };
            rest = after;
        }
    }
    masked
}

/// The line without its end, unless it is a header that every server sends.
fn kept(line: &str) -> Option<&str> {
    let line = line.trim_end();
    let is_everywhere = ["date: ", "content-length: "]
        .iter()
        .any(|name| line.starts_with(name));
    (!is_everywhere).then_some(line)
}

/// The token that a header of the response has.
fn token(line: &str) -> Option<&str> {
    line.strip_prefix("authorization: Bearer ")
}

fn curl(command: &str, folder: &Path) -> Command {
    // It prints each line at once, as on a terminal.
    let command = command.replacen("curl", "exec stdbuf -oL curl -s", 1);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &command])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    shell
}

/// Waits until a call in the background has printed its lines.
async fn open(mut child: Child, printed: &[String]) -> Child {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    for expected in printed {
        let line = loop {
            let line = timeout(PATIENCE, lines.next_line()).await;
            let line = line.expect("it prints nothing").unwrap();
            let line = line.expect("it has ended");
            if let Some(line) = kept(&line) {
                break line.to_owned();
            }
        };
        assert!(is_shown_as(&line, expected), "{line} instead of {expected}");
    }
    child
}

/// Calls curl as the page does, on a free port instead of its 3000.
pub(crate) async fn follow(page: &str, app: Router) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    // The page of operators asks for the address of the client.
    let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let mut last_token = None;
    let mut in_background = Vec::new();
    let steps = steps(page);
    assert!(!steps.is_empty(), "the page calls nothing");
    for Step { command, printed } in steps {
        let mut sent = command.replace("localhost:3000", &address);
        if let Some((before, after)) = sent.split_once('…') {
            // The page shows its first characters.
            let begin = before.rfind(' ').map_or(0, |space| space + 1);
            let token = last_token.as_deref().expect("no token yet");
            sent = format!("{}{token}{after}", &before[..begin]);
        }
        if let Some(sent) = sent.strip_suffix('&') {
            let child = curl(sent, folder.path()).spawn().unwrap();
            in_background.push(open(child, &printed).await);
            continue;
        }
        let output = curl(&sent, folder.path()).output().await.unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = output.lines().filter_map(kept).collect();
        if let Some(token) = lines.iter().find_map(|line| token(line)) {
            last_token = Some(token.to_owned());
        }
        let is_shown = lines.len() == printed.len()
            && lines
                .iter()
                .zip(&printed)
                .all(|(line, shown)| is_shown_as(line, shown));
        assert!(
            is_shown,
            "{command}\nprints {lines:#?}\ninstead of {printed:#?}"
        );
    }
    for mut child in in_background {
        let ended = timeout(PATIENCE, child.wait()).await;
        ended.expect("it does not end").unwrap();
    }
}
