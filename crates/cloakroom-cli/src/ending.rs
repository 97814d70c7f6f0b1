//! The commands that change something, each with a dry run.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use cloakroom::{SessionFilter, SessionId, Sessions};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    cli::{Filter, Sure},
    failure::Failure,
    output::{self, dim, print, print_json},
    store::Opened,
};

/// How many sessions a dry run shows.
const SHOWN: usize = 20;

/// Records stay for so long after their deadline.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// Which sessions are to end.
pub(crate) enum Meant<'a> {
    These(&'a [SessionId]),
    Matching(&'a Filter),
    All,
}

pub(crate) async fn revoke(
    opened: &Opened,
    json: bool,
    meant: Meant<'_>,
    sure: Sure,
) -> Result<(), Failure> {
    let sessions = &opened.sessions;
    let filter = match meant {
        Meant::Matching(filter) => filter.read(),
        Meant::These(_) | Meant::All => SessionFilter::default(),
    };
    if matches!(meant, Meant::Matching(_)) && filter.is_everything() {
        let message = "which sessions? Name ids, a user or another condition, or --all";
        return Err(Failure::new(Failure::USAGE, message));
    }
    // Only where somebody looks at it.
    if sure.dry_run || !sure.yes {
        let (count, first) = preview(sessions, &meant, &filter).await?;
        if sure.dry_run {
            if json {
                let first: Vec<Value> = first
                    .iter()
                    .map(|it| output::session_json(it, false))
                    .collect();
                return print_json(&json!({ "would_end": count, "sessions": first }));
            }
            if !first.is_empty() {
                print(&output::sessions(&first))?;
            }
            return print(&format!("{count} would end"));
        }
        confirm(&format!("End {count}?"))?;
    }
    let bar = progress();
    let told = |progress: cloakroom::RevokeProgress| {
        bar.set_message(format!(
            "{} ended of {} looked at",
            progress.ended, progress.listed
        ));
        bar.tick();
    };
    let ended = match meant {
        Meant::All => sessions.revoke_all(told).await,
        Meant::Matching(_) => sessions.revoke_matching(&filter, told).await,
        Meant::These(ids) => {
            let mut ended = 0;
            for id in ids {
                ended += u64::from(sessions.revoke(*id).await?);
            }
            Ok(ended)
        }
    };
    bar.finish_and_clear();
    let ended = ended?;
    if json {
        print_json(&json!({ "ended": ended }))?;
    } else {
        print(&format!("{ended} ended"))?;
    }
    match meant {
        Meant::These(_) if ended == 0 => Err(Failure::new(
            Failure::NO_SESSION,
            "none of these sessions is there: they have ended, or went on under another id",
        )),
        _ => Ok(()),
    }
}

async fn preview(
    sessions: &Sessions,
    meant: &Meant<'_>,
    filter: &SessionFilter,
) -> Result<(String, Vec<cloakroom::SessionSummary>), Failure> {
    Ok(match meant {
        Meant::These(ids) => {
            let mut found = Vec::new();
            for id in *ids {
                found.extend(sessions.get(*id).await?);
            }
            (sessions_of(found.len()), found)
        }
        Meant::Matching(_) => {
            let preview = sessions.preview(filter, SHOWN).await?;
            let count = match preview.count.is_exact {
                true => sessions_of(usize::try_from(preview.count.sessions).unwrap_or(usize::MAX)),
                false => format!("{} sessions", preview.count),
            };
            (count, preview.page.sessions)
        }
        Meant::All => {
            let records = sessions.count().await?;
            (format!("every session ({records} records)"), Vec::new())
        }
    })
}

fn sessions_of(number: usize) -> String {
    match number {
        1 => "1 session".to_owned(),
        number => format!("{number} sessions"),
    }
}

/// Asks, where there is somebody to ask.
fn confirm(question: &str) -> Result<(), Failure> {
    let refused = |message: &str| Failure::new(Failure::NOT_CONFIRMED, message);
    if !io::stdin().is_terminal() {
        return Err(refused(
            "nothing has ended: say --yes, or --dry-run to see what would",
        ));
    }
    anstream::eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing has ended")),
    }
}

/// On the terminal alone.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

pub(crate) async fn reap(opened: &Opened, json: bool, dry_run: bool) -> Result<(), Failure> {
    if dry_run {
        let expired = expired(&opened.sessions).await?;
        return if json {
            print_json(&json!({ "would_delete": expired }))
        } else {
            print(&format!("{expired} expired sessions would be deleted"))
        };
    }
    let bar = progress();
    bar.set_message("deleting expired sessions");
    let deleted = opened.sessions.reap().await;
    bar.finish_and_clear();
    let deleted = deleted?;
    if json {
        print_json(&json!({ "deleted": deleted }))
    } else {
        print(&format!("{deleted} deleted"))
    }
}

/// How many have been expired for long enough. Looks at every session.
async fn expired(sessions: &Sessions) -> Result<u64, Failure> {
    let bar = progress();
    let before = SystemTime::now() - GRACE;
    let (mut expired, mut looked_at, mut after) = (0, 0, None);
    loop {
        let page = sessions
            .list(&SessionFilter::default(), after.as_ref(), 1000)
            .await?;
        looked_at += page.sessions.len();
        let is_expired = |session: &&cloakroom::SessionSummary| {
            session.expires_at().is_some_and(|at| at <= before)
        };
        expired += page.sessions.iter().filter(is_expired).count() as u64;
        bar.set_message(format!("{looked_at} looked at"));
        after = page.next;
        if after.is_none() {
            bar.finish_and_clear();
            return Ok(expired);
        }
    }
}

pub(crate) async fn migrate(opened: &Opened, json: bool, dry_run: bool) -> Result<(), Failure> {
    let what = match (opened.has_tables(), dry_run) {
        (false, _) => "nothing to do",
        (true, true) => "would create the tables, or bring them up to date",
        (true, false) => {
            opened.migrate().await?;
            "the tables are up to date"
        }
    };
    if json {
        print_json(&json!({ "store": opened.kind, "result": what }))
    } else {
        print(&format!("{}: {}", opened.kind, dim(what)))
    }
}
