//! What is printed: tables for people, JSON for programs.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use anstyle::{AnsiColor, Style};
use cloakroom::SessionSummary;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::failure::Failure;

/// How wide a table is where the output is no terminal.
const WIDE: u16 = 160;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default();

/// Writes to the standard output. Colours go to terminals alone.
///
/// # Errors
///
/// If nobody reads it any more.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout(), "{text}")?)
}

pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&value.to_string())
}

/// What went wrong, to the standard error.
pub(crate) fn complain(failure: &Failure) {
    let (on, off) = (RED.render(), RED.render_reset());
    anstream::eprintln!("{on}error:{off} {failure}");
}

pub(crate) fn dim(text: impl std::fmt::Display) -> String {
    format!("{}{text}{}", DIM.render(), DIM.render_reset())
}

pub(crate) fn bold(text: impl std::fmt::Display) -> String {
    format!("{}{text}{}", BOLD.render(), BOLD.render_reset())
}

/// A table that fits the terminal.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !io::stdout().is_terminal() {
        table.set_width(WIDE);
    }
    table.set_header(header.iter().map(|title| title.to_uppercase()));
    table
}

pub(crate) fn sessions(sessions: &[SessionSummary]) -> String {
    let now = SystemTime::now();
    let mut table = table(&["id", "user", "began", "last seen", "expires", "bytes"]);
    for session in sessions {
        table.add_row([
            session.id().to_string(),
            session.user().map_or_else(|| "-".to_owned(), printable),
            when(session.begun_at(), now),
            when(session.last_seen_at(), now),
            session
                .expires_at()
                .map_or_else(|| "never".to_owned(), |at| when(at, now)),
            session.data_bytes().to_string(),
        ]);
    }
    if let Some(column) = table.column_mut(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// Names and values, one a line.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let gap = " ".repeat(width - name.len() + 2);
        format!("{}{gap}{value}", dim(name))
    };
    facts.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Without what would move the cursor or colour the terminal.
pub(crate) fn printable(text: &str) -> String {
    let escape = |letter: char| {
        if letter.is_control() {
            letter.escape_default().to_string()
        } else {
            letter.to_string()
        }
    };
    text.chars().map(escape).collect()
}

pub(crate) fn session_json(session: &SessionSummary, shows_values: bool) -> Value {
    let mut object = json!({
        "id": session.id().to_string(),
        "user": session.user(),
        "created_at": moment(session.created_at()),
        "begun_at": moment(session.begun_at()),
        "authenticated_at": session.authenticated_at().map(moment),
        "last_seen_at": moment(session.last_seen_at()),
        "expires_at": session.expires_at().map(moment),
        "data_bytes": session.data_bytes(),
        "keys": session.keys(),
    });
    if shows_values {
        object["values"] = values(session).into_iter().collect();
    }
    object
}

pub(crate) fn values(session: &SessionSummary) -> Vec<(String, Value)> {
    let value = |key: &str| session.get::<Value>(key).ok().flatten().unwrap_or_default();
    let keys = session.keys().into_iter();
    keys.map(|key| {
        let value = value(&key);
        (key, value)
    })
    .collect()
}

/// `2026-01-31T12:00:00Z`.
pub(crate) fn moment(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.0}")
}

/// How long ago, or until when.
pub(crate) fn when(time: SystemTime, now: SystemTime) -> String {
    match now.duration_since(time) {
        Ok(since) => format!("{} ago", span(since)),
        Err(until) => format!("in {}", span(until.duration())),
    }
}

fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=5_399 => format!("{} min", (seconds + 30) / 60),
        5_400..=172_799 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_does_not_steer_the_terminal() {
        assert_eq!(printable("ann\u{1b}[2Jé\n"), "ann\\u{1b}[2Jé\\n");
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(when(now - Duration::from_secs(7), now), "7 s ago");
        assert_eq!(when(now + Duration::from_secs(7_200), now), "in 2 h");
        assert_eq!(moment(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
