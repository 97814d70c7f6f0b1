//! What is printed: tables that fit the terminal, or JSON. [`Output`].

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use anstream::{eprintln, print, println};
use anstyle::{AnsiColor, Style};
use cloakroom::SessionSummary;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    arguments::When,
    time::{relative, rfc3339},
};

const HEADING: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// How the result of a command is printed.
pub(crate) struct Output {
    is_json: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool, color: When) -> Self {
        let choice = match color {
            When::Auto => anstream::ColorChoice::Auto,
            When::Always => anstream::ColorChoice::Always,
            When::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Self { is_json }
    }

    /// `value` as JSON, or what `print` prints.
    pub(crate) fn result(&self, value: impl FnOnce() -> Value, print: impl FnOnce()) {
        if self.is_json {
            println!("{}", value());
        } else {
            print();
        }
    }

    pub(crate) fn fail(&self, text: &str) {
        let text = printable(text);
        if self.is_json {
            eprintln!("{}", json!({ "error": text }));
        } else {
            eprintln!("{ERROR}error:{ERROR:#} {text}");
        }
    }

    /// Lines of a name and a number or a text.
    pub(crate) fn lines(lines: &[(&str, String)]) {
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in lines {
            println!("{DIM}{name:width$}{DIM:#}  {}", printable(value));
        }
    }

    /// A table of sessions, as wide as the terminal.
    pub(crate) fn sessions(sessions: &[SessionSummary]) {
        let now = SystemTime::now();
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(
                ["ID", "USER", "BEGUN", "LAST SEEN", "EXPIRES", "BYTES"]
                    .map(|title| format!("{HEADING}{title}{HEADING:#}")),
            );
        if !io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        for session in sessions {
            table.add_row([
                session.id().to_string(),
                printable(session.user().unwrap_or("-")),
                relative(session.begun_at(), now),
                relative(session.last_seen_at(), now),
                session
                    .expires_at()
                    .map_or_else(|| "never".to_owned(), |at| relative(at, now)),
                session.data_bytes().to_string(),
            ]);
        }
        println!("{table}");
    }

    /// A question that is answered by `y` or `yes`. No without a terminal.
    pub(crate) fn confirm(question: &str) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        print!("{question} [y/N] ");
        let _ = io::stdout().flush();
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).is_ok()
            && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// For long work; on terminals alone.
    pub(crate) fn progress(&self, total: u64) -> ProgressBar {
        if self.is_json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} sessions, {eta} left");
        let bar = ProgressBar::new(total);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A session as JSON, without its values.
pub(crate) fn summary(session: &SessionSummary) -> Value {
    json!({
        "id": session.id().to_string(),
        "user": session.user(),
        "created_at": rfc3339(session.created_at()),
        "begun_at": rfc3339(session.begun_at()),
        "authenticated_at": session.authenticated_at().map(rfc3339),
        "last_seen_at": rfc3339(session.last_seen_at()),
        "expires_at": session.expires_at().map(rfc3339),
        "data_bytes": session.data_bytes(),
        "keys": session.keys(),
    })
}

/// Without what a terminal would obey: a user's name may hold escape sequences.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}
