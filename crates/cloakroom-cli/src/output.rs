//! The output: tables that fit the terminal, or JSON. [`Output`] prints it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use anstyle::{AnsiColor, Style};
use cloakroom::{SessionCount, SessionSummary};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    Failure,
    arguments::When,
    time::{relative, rfc3339},
};

const HEADING: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// The length of an id. Ids are never cut, because a part of one is of no use.
const ID_WIDTH: u16 = 36;

/// The narrowest terminal with room for a column beside the id.
const NARROW: u16 = 56;

/// A column of the table of sessions, and the narrowest terminal that shows it.
const COLUMNS: [(&str, u16); 6] = [
    ("ID", 0),
    ("USER", 0),
    ("LAST SEEN", 64),
    ("BEGUN", 76),
    ("EXPIRES", 86),
    ("BYTES", 94),
];

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

    /// Prints `value` as JSON, or `text`.
    ///
    /// # Errors
    ///
    /// If the output cannot be written, or its reader has closed it.
    pub(crate) fn result(
        &self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = if self.is_json {
            escaped(&format!("{}\n", value()))
        } else {
            text()
        };
        print(&text)
    }

    /// Prints why a command failed. If this fails too, the error is ignored.
    pub(crate) fn fail(&self, text: &str) {
        let mut errors = anstream::stderr().lock();
        let text = printable(text);
        let _ = if self.is_json {
            writeln!(errors, "{}", json!({ "error": text }))
        } else {
            writeln!(errors, "{ERROR}error:{ERROR:#} {text}")
        };
    }

    /// Lines with a name and its value.
    pub(crate) fn lines(lines: &[(&str, String)]) -> String {
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in lines {
            let _ = writeln!(text, "{DIM}{name:width$}{DIM:#}  {}", printable(value));
        }
        text
    }

    /// A table of sessions that is no wider than the terminal. Without a terminal it has all columns.
    pub(crate) fn sessions(sessions: &[SessionSummary]) -> String {
        let is_terminal = io::stdout().is_terminal();
        let width = Table::new().width().filter(|_| is_terminal);
        table(sessions, width, SystemTime::now())
    }

    /// Asks a question. Returns whether the answer is `y` or `yes`; `false` without a terminal.
    pub(crate) fn confirm(question: &str) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        // To stderr, because the question is not part of the result, which may go to a file.
        let _ = write!(io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).is_ok()
            && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// Shows the progress of long work, on terminals only. Without `total`, its length is unknown.
    pub(crate) fn progress(&self, total: Option<u64>) -> ProgressBar {
        if self.is_json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:40} {pos} of {len} sessions, {eta} left",
            ),
            None => (
                ProgressBar::no_length(),
                "{spinner} {pos} sessions, {per_sec}",
            ),
        };
        let style = ProgressStyle::with_template(template);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// # Errors
///
/// If the text cannot be written, or its reader has closed the output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = anstream::stdout().lock();
    let written = output.write_all(text.as_bytes());
    let written = written.and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::Store(format!("cannot print the result: {error}")),
    })
}

/// The sessions in columns that fit in this width. If not even two columns fit, each id is above its user.
fn table(sessions: &[SessionSummary], width: Option<u16>, now: SystemTime) -> String {
    if width.is_some_and(|width| width < NARROW) {
        return stacked(sessions);
    }
    let fits = |(_, from): &(&str, u16)| width.is_none_or(|width| width >= *from);
    let columns = COLUMNS.iter().filter(|column| fits(column)).count();
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(COLUMNS.iter().take(columns).map(|(name, _)| *name));
    match width {
        Some(width) => table
            .set_width(width)
            .set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for session in sessions {
        let expires = session.expires_at();
        let cells = [
            session.id().to_string(),
            printable(session.user().unwrap_or("-")),
            relative(session.last_seen_at(), now),
            relative(session.begun_at(), now),
            expires.map_or_else(|| "never".to_owned(), |at| relative(at, now)),
            session.data_bytes().to_string(),
        ];
        table.add_row(cells.into_iter().take(columns));
    }
    if let Some(column) = table.column_mut(0) {
        // With a space on both sides.
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(ID_WIDTH + 2)));
    }
    let text = table.to_string();
    // Styled afterwards, because the table would count the escape sequences as text.
    let (heading, rows) = text.split_once('\n').unwrap_or((&text, ""));
    let mut styled = format!("{HEADING}{}{HEADING:#}\n", heading.trim_end());
    for row in rows.lines() {
        styled.push_str(row.trim_end());
        styled.push('\n');
    }
    styled
}

fn stacked(sessions: &[SessionSummary]) -> String {
    let mut text = String::new();
    for session in sessions {
        let user = printable(session.user().unwrap_or("-"));
        let _ = writeln!(text, "{}\n  {user}", session.id());
    }
    text
}

/// A count as JSON.
pub(crate) fn counted(count: SessionCount) -> Value {
    json!({ "count": count.sessions, "is_exact": count.is_exact })
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
        "labels": session.labels().collect::<BTreeMap<_, _>>(),
        "keys": session.keys(),
    })
}

/// Replaces control characters. A user's name may have escape sequences, and characters that are invisible or change the
/// direction of the text after them.
fn printable(text: &str) -> String {
    let shown = |character| match character {
        _ if is_unsafe(character) => '\u{fffd}',
        _ => character,
    };
    text.chars().map(shown).collect()
}

/// JSON with the same characters as escapes. They occur only in strings.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_unsafe(character) {
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_printed() {
        let hostile = "\u{1b}[2Jann\u{9b}31m\u{7}\r\n\u{202e}gnp.exe\u{200b}\u{7f}";
        let shown = printable(hostile);
        assert!(!shown.chars().any(is_unsafe), "{shown:?}");
        assert!(shown.contains("ann") && shown.contains("gnp.exe"));
        let json = escaped(&json!({ "user": hostile }).to_string());
        assert!(!json.chars().any(is_unsafe), "{json:?}");
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["user"], hostile);
    }
}
