//! What each command does.

use std::time::SystemTime;

use cloakroom::{Cursor, SessionFilter, SessionId, Sessions};
use serde_json::{Value, json};

use crate::{
    Failure,
    arguments::{Arguments, Command, begun_in},
    output::{Output, summary},
    store::Store,
    time::{relative, rfc3339},
};

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// How many sessions a preview shows.
const PREVIEW: usize = 10;

pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
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
                page(&found, None, output);
                return Ok(());
            }
            let filter = if newest {
                filter.newest_first()
            } else {
                filter
            };
            let found = sessions.list(&filter, after.as_ref(), limit).await?;
            page(&found.sessions, found.next.as_ref(), output);
            Ok(())
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
            let records = sessions.count().await?;
            output.result(
                || json!({ "records": records }),
                || Output::lines(&[("records", records.to_string())]),
            );
            Ok(())
        }
        Command::Reap { dry_run: false } => {
            let deleted = sessions.reap().await?;
            output.result(
                || json!({ "deleted": deleted }),
                || Output::lines(&[("deleted", deleted.to_string())]),
            );
            Ok(())
        }
        Command::Ping => {
            let began = std::time::Instant::now();
            sessions.ping().await?;
            let millis = began.elapsed().as_secs_f64() * 1000.0;
            output.result(
                || json!({ "millis": millis }),
                || Output::lines(&[("answered in", format!("{millis:.1} ms"))]),
            );
            Ok(())
        }
        Command::Migrate { dry_run } => {
            if dry_run && store.has_table() {
                let table = &arguments.table;
                let text = format!("creates the table {table}, or brings it up to date");
                output.result(
                    || json!({ "would": text }),
                    || Output::lines(&[("would", text.clone())]),
                );
                return Ok(());
            }
            store.migrate().await?;
            output.result(
                || json!({ "migrated": true }),
                || Output::lines(&[("migrated", "yes".to_owned())]),
            );
            Ok(())
        }
        Command::Watch { every, times } => {
            let every = every
                .unsigned_abs()
                .max(std::time::Duration::from_millis(100));
            watch(&sessions, every, times, output).await
        }
        Command::Completions { .. } => Ok(()),
    }
}

/// The counts of the whole store: (name, as JSON, in words).
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
        counts.push((name, json!(count.to_string()), count.to_string()));
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
    output.result(
        || as_json(&counts),
        || {
            let lines: Vec<_> = counts
                .iter()
                .map(|(name, _, text)| (*name, text.clone()))
                .collect();
            Output::lines(&lines);
        },
    );
    Ok(())
}

async fn watch(
    sessions: &Sessions,
    every: std::time::Duration,
    times: Option<u64>,
    output: &Output,
) -> Result<(), Failure> {
    let mut counted = 0;
    while times.is_none_or(|times| counted < times) {
        if counted > 0 {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
        }
        let counts = counts(sessions).await?;
        let at = rfc3339(SystemTime::now());
        output.result(
            || {
                let mut line = as_json(&counts);
                line["at"] = json!(at);
                line
            },
            || {
                let texts = counts
                    .iter()
                    .map(|(name, _, text)| format!("{name} {text}"));
                let texts: Vec<_> = texts.collect();
                Output::lines(&[(&at, texts.join(", "))]);
            },
        );
        counted += 1;
    }
    Ok(())
}

async fn count(
    sessions: &Sessions,
    filter: &SessionFilter,
    output: &Output,
) -> Result<(), Failure> {
    let (count, is_exact) = if filter.is_everything() {
        (sessions.count().await?.to_string(), true)
    } else {
        let count = sessions.count_matching(filter).await?;
        (count.to_string(), count.is_exact)
    };
    output.result(
        || json!({ "count": count.parse::<u64>().map_or(json!(count), |count| json!(count)), "exact": is_exact }),
        || Output::lines(&[("sessions", count.clone())]),
    );
    Ok(())
}

fn page(found: &[cloakroom::SessionSummary], next: Option<&Cursor>, output: &Output) {
    let next = next.map(Cursor::to_string);
    output.result(
        || json!({ "sessions": found.iter().map(summary).collect::<Vec<_>>(), "next": next }),
        || {
            Output::sessions(found);
            if let Some(next) = &next {
                Output::lines(&[("more: --after", next.clone())]);
            }
        },
    );
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
            for (key, value) in &held {
                let value = value
                    .as_ref()
                    .map_or_else(String::new, |value| format!(" = {value}"));
                lines.push(("value", format!("{key}{value}")));
            }
            Output::lines(&lines);
        },
    );
    Ok(())
}

/// How something that ends sessions is done.
#[derive(Clone, Copy)]
struct How {
    dry_run: bool,
    yes: bool,
}

impl How {
    /// # Errors
    ///
    /// Where nobody says yes.
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
    if how.dry_run {
        let mut found = Vec::new();
        for id in ids {
            found.extend(sessions.get(*id).await?);
        }
        would_end(&found.len().to_string(), &found, output);
        return Ok(());
    }
    how.confirm(&format!("End {} sessions?", ids.len()))?;
    let mut ended = 0;
    for id in ids {
        ended += u64::from(sessions.revoke(*id).await?);
    }
    tell_ended(ended, output);
    match ended {
        0 => Err(Failure::Nothing("there is no such session".to_owned())),
        _ => Ok(()),
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
        return Err(Failure::Nothing(
            "which sessions? Give ids or a filter, or --all for every session".to_owned(),
        ));
    }
    let preview = sessions.preview(filter, PREVIEW).await?;
    let count = preview.count.to_string();
    if how.dry_run {
        would_end(&count, &preview.page.sessions, output);
        return Ok(());
    }
    how.confirm(&format!("End {count} sessions?"))?;
    let bar = output.progress(preview.count.sessions);
    let advance = |progress: cloakroom::RevokeProgress| bar.set_position(progress.listed);
    let ended = if all {
        sessions.revoke_all(advance).await
    } else {
        sessions.revoke_matching(filter, advance).await
    };
    bar.finish_and_clear();
    tell_ended(ended?, output);
    Ok(())
}

fn would_end(count: &str, first: &[cloakroom::SessionSummary], output: &Output) {
    output.result(
        || json!({ "would_end": count, "first": first.iter().map(summary).collect::<Vec<_>>() }),
        || {
            Output::lines(&[("would end", count.to_owned())]);
            Output::sessions(first);
        },
    );
}

fn tell_ended(ended: u64, output: &Output) {
    output.result(
        || json!({ "ended": ended }),
        || Output::lines(&[("ended", ended.to_string())]),
    );
}
