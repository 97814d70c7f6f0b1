//! The commands.

use std::{cell::Cell, collections::BTreeSet, time::SystemTime};

use clap::CommandFactory as _;
use clap_complete::Shell;
use cloakroom::{Cursor, Error, RevokeProgress, SessionFilter, SessionId, Sessions};
use serde_json::{Value, json};

use crate::{
    Failure,
    arguments::{Arguments, Command, begun_in},
    output::{Output, counted, print, summary},
    store::{Migration, Store},
    time::{relative, rfc3339},
};

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// How many sessions a preview shows.
const PREVIEW: usize = 10;

pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    if let Command::Completions { shell } = arguments.command {
        return completions(shell);
    }
    if let Command::Migrate { dry_run } = arguments.command {
        return migrate(&arguments, dry_run, output).await;
    }
    let store = Store::open(&arguments).await?;
    let sessions = store.sessions();
    match arguments.command {
        Command::Stats => stats(&sessions, output).await,
        Command::Count(filter) => count(&sessions, &filter.of(), output).await,
        Command::List {
            filter,
            limit,
            after,
            newest,
            last_seen,
        } => {
            let filter = filter.of();
            let limit = usize::from(limit);
            if last_seen {
                let found = sessions.last_seen(&filter, limit).await?;
                return page(&found, None, output);
            }
            let filter = if newest {
                filter.newest_first()
            } else {
                filter
            };
            let found = sessions.list(&filter, after.as_ref(), limit).await;
            let found = found.map_err(|error| store.explained(error, newest))?;
            if newest && found.sessions.is_empty() {
                store.check_indexed(&sessions).await?;
            }
            page(&found.sessions, found.next.as_ref(), output)
        }
        Command::Show { id, values } => show(&sessions, id, values, output).await,
        Command::Revoke {
            ids,
            filter,
            all,
            dry_run,
            yes,
        } => {
            let how = How { dry_run, yes };
            if ids.is_empty() {
                revoke_matching(&sessions, &filter.of(), all, how, output).await
            } else {
                revoke(&sessions, &ids, how, output).await
            }
        }
        Command::Reap { dry_run: true } => {
            let bar = output.progress(None);
            let count = store.count_reapable(&bar).await;
            bar.finish_and_clear();
            let count = count?;
            output.result(
                || json!({ "would_delete": count }),
                || Output::lines(&[("would delete", count.to_string())]),
            )
        }
        Command::Reap { dry_run: false } => {
            let deleted = sessions.reap().await?;
            output.result(
                || json!({ "deleted": deleted }),
                || Output::lines(&[("deleted", deleted.to_string())]),
            )
        }
        Command::Ping => {
            let began = std::time::Instant::now();
            sessions.ping().await?;
            let millis = began.elapsed().as_secs_f64() * 1000.0;
            output.result(
                || json!({ "millis": millis }),
                || Output::lines(&[("answered in", format!("{millis:.1} ms"))]),
            )
        }
        Command::Watch { every, times } => {
            let every = every
                .unsigned_abs()
                .max(std::time::Duration::from_millis(100));
            watch(&sessions, every, times, output).await
        }
        Command::Completions { .. } | Command::Migrate { .. } => Ok(()),
    }
}

async fn migrate(arguments: &Arguments, dry_run: bool, output: &Output) -> Result<(), Failure> {
    if !dry_run {
        Store::migrate(arguments).await?;
        return output.result(
            || json!({ "migrated": true }),
            || Output::lines(&[("migrated", "yes".to_owned())]),
        );
    }
    let (would, what) = match Store::pending_migration(arguments).await? {
        Migration::CreateFile => ("create_file", "create the database and the tables in it"),
        Migration::CreateTables => ("create_tables", "create the tables"),
        Migration::UpgradeTables => ("upgrade_tables", "bring the tables up to date"),
        Migration::Nothing => ("nothing", "change nothing: the tables are up to date"),
    };
    let table = &arguments.table;
    output.result(
        || json!({ "would": would, "tables": [table, format!("{table}_schema")] }),
        || Output::lines(&[("would", format!("{what} ({table}, {table}_schema)"))]),
    )
}

/// The counts of the whole store: the name, as JSON, in words.
async fn counts(sessions: &Sessions) -> Result<Vec<(&'static str, Value, String)>, Failure> {
    let all = sessions.count().await?;
    let mut counts = vec![("records", json!(all), all.to_string())];
    let filters = [
        ("logged in", SessionFilter::default().logged_in()),
        ("anonymous", SessionFilter::default().anonymous()),
        ("begun in the last hour", begun_in(HOUR)),
        ("begun in the last day", begun_in(DAY)),
    ];
    for (name, filter) in filters {
        let count = sessions.count_matching(&filter).await?;
        counts.push((name, counted(count), count.to_string()));
    }
    Ok(counts)
}

fn as_json(counts: &[(&'static str, Value, String)]) -> Value {
    let members = counts.iter();
    Value::Object(
        members
            .map(|(name, value, _)| (name.replace(' ', "_"), value.clone()))
            .collect(),
    )
}

async fn stats(sessions: &Sessions, output: &Output) -> Result<(), Failure> {
    let counts = counts(sessions).await?;
    let lines = counts.iter().map(|(name, _, text)| (*name, text.clone()));
    let lines: Vec<_> = lines.collect();
    output.result(|| as_json(&counts), || Output::lines(&lines))
}

async fn watch(
    sessions: &Sessions,
    every: std::time::Duration,
    times: Option<u64>,
    output: &Output,
) -> Result<(), Failure> {
    let counting = print_counts(sessions, every, times, output);
    // Also while the store is counting, which may take long.
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        done = counting => done,
    }
}

async fn print_counts(
    sessions: &Sessions,
    every: std::time::Duration,
    times: Option<u64>,
    output: &Output,
) -> Result<(), Failure> {
    let mut printed = 0;
    while times.is_none_or(|times| printed < times) {
        if printed > 0 {
            tokio::time::sleep(every).await;
        }
        let counts = counts(sessions).await?;
        let at = rfc3339(SystemTime::now());
        let texts = counts
            .iter()
            .map(|(name, _, text)| format!("{name} {text}"));
        let texts: Vec<_> = texts.collect();
        output.result(
            || {
                let mut line = as_json(&counts);
                line["at"] = json!(at);
                line
            },
            || Output::lines(&[(&at, texts.join(", "))]),
        )?;
        printed += 1;
    }
    Ok(())
}

async fn count(
    sessions: &Sessions,
    filter: &SessionFilter,
    output: &Output,
) -> Result<(), Failure> {
    if filter.is_everything() {
        let count = sessions.count().await?;
        return output.result(
            || json!({ "count": count, "is_exact": true }),
            || Output::lines(&[("sessions", count.to_string())]),
        );
    }
    let count = sessions.count_matching(filter).await?;
    output.result(
        || counted(count),
        || Output::lines(&[("sessions", count.to_string())]),
    )
}

fn page(
    found: &[cloakroom::SessionSummary],
    next: Option<&Cursor>,
    output: &Output,
) -> Result<(), Failure> {
    let next = next.map(Cursor::to_string);
    output.result(
        || json!({ "sessions": found.iter().map(summary).collect::<Vec<_>>(), "next": next }),
        || {
            let mut text = Output::sessions(found);
            if let Some(next) = &next {
                text += &Output::lines(&[("more: --after", next.clone())]);
            }
            text
        },
    )
}

async fn show(
    sessions: &Sessions,
    id: SessionId,
    values: bool,
    output: &Output,
) -> Result<(), Failure> {
    let session = sessions.get(id).await?;
    let session = session.ok_or_else(|| Failure::Nothing(format!("there is no session {id}")))?;
    let mut held = Vec::new();
    for key in session.keys() {
        let value = if values {
            session.get::<Value>(key.as_str())?
        } else {
            None
        };
        held.push((key, value));
    }
    output.result(
        || {
            let mut shown = summary(&session);
            if values {
                shown["values"] = held
                    .iter()
                    .cloned()
                    .map(|(key, value)| (key, json!(value)))
                    .collect();
            }
            shown
        },
        || {
            let now = SystemTime::now();
            let moment = |at: SystemTime| format!("{} ({})", rfc3339(at), relative(at, now));
            let never = || "never".to_owned();
            let mut lines = vec![
                ("id", session.id().to_string()),
                ("user", session.user().unwrap_or("-").to_owned()),
                ("created", moment(session.created_at())),
                ("begun", moment(session.begun_at())),
                (
                    "logged in",
                    session.authenticated_at().map_or_else(never, moment),
                ),
                ("last seen", moment(session.last_seen_at())),
                ("expires", session.expires_at().map_or_else(never, moment)),
                ("bytes", session.data_bytes().to_string()),
            ];
            for (name, value) in session.labels() {
                lines.push(("label", format!("{name}: {value}")));
            }
            for (key, value) in &held {
                let value = value
                    .as_ref()
                    .map_or_else(String::new, |value| format!(" = {value}"));
                lines.push(("value", format!("{key}{value}")));
            }
            Output::lines(&lines)
        },
    )
}

/// The options of a command that ends sessions.
#[derive(Clone, Copy)]
struct How {
    dry_run: bool,
    yes: bool,
}

impl How {
    /// # Errors
    ///
    /// If the user does not confirm.
    fn confirm(self, question: &str) -> Result<(), Failure> {
        if self.yes || Output::confirm(question) {
            return Ok(());
        }
        Err(Failure::Declined(
            "nothing was ended: it was not confirmed, see --yes".to_owned(),
        ))
    }
}

async fn revoke(
    sessions: &Sessions,
    ids: &[SessionId],
    how: How,
    output: &Output,
) -> Result<(), Failure> {
    // One that is named twice is one.
    let ids: BTreeSet<SessionId> = ids.iter().copied().collect();
    let none = || Failure::Nothing("there is no such session".to_owned());
    if how.dry_run {
        let mut found = Vec::new();
        for id in &ids {
            found.extend(sessions.get(*id).await?);
        }
        let count = json!({ "count": found.len(), "is_exact": true });
        would_end(count, &found.len().to_string(), &found, output)?;
        return if found.is_empty() {
            Err(none())
        } else {
            Ok(())
        };
    }
    how.confirm(&question(&ids.len().to_string()))?;
    let mut ended = 0;
    for id in &ids {
        let revoked = sessions.revoke(*id).await;
        ended += u64::from(revoked.map_err(|error| stopped(error, ended))?);
    }
    tell_ended(ended, output)?;
    if ended == 0 { Err(none()) } else { Ok(()) }
}

fn question(count: &str) -> String {
    let sessions = if count == "1" { "session" } else { "sessions" };
    format!("End {count} {sessions}?")
}

/// The store failed after `ended` sessions.
fn stopped(error: Error, ended: u64) -> Failure {
    match Failure::from(error) {
        Failure::Store(text) if ended > 0 => Failure::Store(format!(
            "{text}; {ended} had ended before, and stay so: do the same again for the rest"
        )),
        failure => failure,
    }
}

async fn revoke_matching(
    sessions: &Sessions,
    filter: &SessionFilter,
    all: bool,
    how: How,
    output: &Output,
) -> Result<(), Failure> {
    if filter.is_everything() && !all {
        return Err(Failure::Usage(
            "which sessions? Give ids or a filter, or --all for every session".to_owned(),
        ));
    }
    let preview = sessions.preview(filter, PREVIEW).await?;
    let count = preview.count.to_string();
    if how.dry_run {
        return would_end(
            counted(preview.count),
            &count,
            &preview.page.sessions,
            output,
        );
    }
    if preview.count.sessions == 0 {
        return tell_ended(0, output);
    }
    how.confirm(&question(&count))?;
    let total = if all {
        Some(sessions.count().await?)
    } else {
        // More than this is not counted.
        Some(preview.count.sessions).filter(|_| preview.count.is_exact)
    };
    let bar = output.progress(total);
    let so_far = Cell::new(0);
    let advance = |progress: RevokeProgress| {
        so_far.set(progress.ended);
        bar.set_position(progress.listed);
    };
    let ended = if all {
        sessions.revoke_all(advance).await
    } else {
        sessions.revoke_matching(filter, advance).await
    };
    bar.finish_and_clear();
    let ended = ended.map_err(|error| stopped(error, so_far.get()))?;
    tell_ended(ended, output)
}

fn would_end(
    count: Value,
    text: &str,
    first: &[cloakroom::SessionSummary],
    output: &Output,
) -> Result<(), Failure> {
    output.result(
        || json!({ "would_end": count, "first": first.iter().map(summary).collect::<Vec<_>>() }),
        || Output::lines(&[("would end", text.to_owned())]) + &Output::sessions(first),
    )
}

fn tell_ended(ended: u64, output: &Output) -> Result<(), Failure> {
    output.result(
        || json!({ "ended": ended }),
        || Output::lines(&[("ended", ended.to_string())]),
    )
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "cloakroom", &mut script);
    print(&String::from_utf8_lossy(&script))
}
