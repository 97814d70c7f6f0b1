//! The commands that change nothing.

use std::time::{Duration, Instant, SystemTime};

use cloakroom::{Cursor, SessionCount, SessionFilter, SessionId};
use serde_json::{Value, json};

use crate::{
    cli::{Filter, Order},
    failure::Failure,
    output::{self, bold, dim, moment, print, print_json, printable, when},
    store::Opened,
};

/// How many sessions one call lists.
const PAGE: usize = 1000;

impl Filter {
    fn begun_since(&self) -> Option<SystemTime> {
        let within = self.begun_within.map(|begun| {
            let since = SystemTime::now().checked_sub(begun);
            since.unwrap_or(SystemTime::UNIX_EPOCH)
        });
        self.begun_since.or(within)
    }

    /// With a moment in place of a time that goes by: a cursor belongs to the moment.
    fn as_of_now(&self) -> Self {
        // In whole seconds, as it is printed.
        let seconds = |time: SystemTime| {
            let since = time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
        };
        Self {
            begun_within: None,
            begun_since: self.begun_since().map(seconds),
            ..self.clone()
        }
    }

    pub(crate) fn read(&self) -> SessionFilter {
        let mut filter = SessionFilter::default();
        if let Some(user) = &self.user {
            filter = filter.user(user);
        }
        if self.logged_in {
            filter = filter.logged_in();
        }
        if self.anonymous {
            filter = filter.anonymous();
        }
        if let Some(since) = self.begun_since() {
            filter = filter.begun_within(since..);
        }
        if let Some(unused) = self.unused_for {
            filter = filter.idle_for(unused);
        }
        filter
    }
}

fn counted(count: &SessionCount) -> Value {
    json!({ "count": count.sessions, "is_exact": count.is_exact })
}

/// The numbers of `stats`, as names and counts; `None` where the store does not count.
async fn numbers(
    opened: &Opened,
) -> Result<Vec<(&'static str, &'static str, SessionCount)>, Failure> {
    let all = SessionFilter::default();
    let since = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    let mut numbers = Vec::new();
    for (key, name, filter) in [
        ("logged_in", "logged in", all.clone().logged_in()),
        ("anonymous", "anonymous", all.clone().anonymous()),
        (
            "begun_in_the_last_hour",
            "begun in the last hour",
            all.clone().begun_within(since(3_600)..),
        ),
        (
            "begun_in_the_last_day",
            "begun in the last day",
            all.clone().begun_within(since(86_400)..),
        ),
        (
            "unused_for_an_hour",
            "unused for an hour",
            all.idle_for(Duration::from_secs(3_600)),
        ),
    ] {
        numbers.push((key, name, opened.sessions.count_matching(&filter).await?));
    }
    Ok(numbers)
}

pub(crate) async fn stats(opened: &Opened, json: bool) -> Result<(), Failure> {
    let records = opened.sessions.count().await?;
    let numbers = numbers(opened).await?;
    if json {
        let mut object =
            json!({ "store": opened.kind, "at": moment(SystemTime::now()), "records": records });
        for (key, _, count) in &numbers {
            object[*key] = counted(count);
        }
        return print_json(&object);
    }
    let mut facts = vec![
        ("store", opened.kind.to_owned()),
        ("records", bold(records)),
    ];
    facts.extend(
        numbers
            .iter()
            .map(|(_, name, count)| (*name, count.to_string())),
    );
    print(&output::facts(&facts))?;
    print(&dim(
        "Expired sessions count until they are deleted, and so do the former ids of sessions that moved.",
    ))
}

pub(crate) async fn watch(
    opened: &Opened,
    json: bool,
    every: Duration,
    times: Option<u64>,
) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(every);
    let mut seen = 0;
    while times.is_none_or(|times| seen < times) {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        if seen > 0 && !json {
            print("")?;
        }
        if !json {
            print(&dim(moment(SystemTime::now())))?;
        }
        stats(opened, json).await?;
        seen += 1;
    }
    Ok(())
}

pub(crate) async fn count(opened: &Opened, json: bool, filter: &Filter) -> Result<(), Failure> {
    let filter = filter.read();
    let count = if filter.is_everything() {
        let records = opened.sessions.count().await?;
        return if json {
            print_json(&json!({ "count": records, "is_exact": true }))
        } else {
            print(&records.to_string())
        };
    } else {
        opened.sessions.count_matching(&filter).await?
    };
    if json {
        print_json(&counted(&count))
    } else {
        print(&count.to_string())
    }
}

pub(crate) async fn list(
    opened: &Opened,
    json: bool,
    filter: &Filter,
    order: Order,
    limit: usize,
    after: Option<&str>,
) -> Result<(), Failure> {
    let is_relative = filter.begun_within.is_some();
    let asked = filter.as_of_now();
    let filter = asked.read();
    let filter = match order {
        Order::Newest => filter.newest_first(),
        Order::Id | Order::Seen => filter,
    };
    let mut found = Vec::new();
    let mut next = after.map(str::parse::<Cursor>).transpose()?;
    if order == Order::Seen {
        if next.is_some() {
            return Err(Failure::new(
                Failure::USAGE,
                "the order `seen` has a single page",
            ));
        }
        found = opened.sessions.last_seen(&filter, limit).await?;
    } else {
        loop {
            let wanted = PAGE.min(limit - found.len());
            let page = opened.sessions.list(&filter, next.as_ref(), wanted).await?;
            found.extend(page.sessions);
            next = page.next;
            if next.is_none() || found.len() >= limit {
                break;
            }
        }
    }
    let next = next.as_ref().map(ToString::to_string);
    if json {
        let sessions = found
            .iter()
            .map(|session| output::session_json(session, false));
        let sessions: Vec<Value> = sessions.collect();
        return print_json(&json!({ "sessions": sessions, "next": next }));
    }
    print(&output::sessions(&found))?;
    match next {
        Some(next) => {
            let since = asked.begun_since.filter(|_| is_relative);
            let since = since.map_or_else(String::new, |since| {
                format!(
                    "--begun-since {} in place of --begun-within, and ",
                    moment(since)
                )
            });
            print(&dim(format!("more: {since}--after {next}")))
        }
        None => Ok(()),
    }
}

pub(crate) async fn show(
    opened: &Opened,
    json: bool,
    id: SessionId,
    shows_values: bool,
) -> Result<(), Failure> {
    let Some(session) = opened.sessions.get(id).await? else {
        return Err(Failure::new(
            Failure::NO_SESSION,
            format!("there is no session {id}: it has ended, or went on under another id"),
        ));
    };
    if json {
        return print_json(&output::session_json(&session, shows_values));
    }
    let now = SystemTime::now();
    let time = |time: SystemTime| format!("{}  {}", moment(time), dim(when(time, now)));
    let optional =
        |moment: Option<SystemTime>, none: &str| moment.map_or_else(|| none.to_owned(), time);
    let mut facts = vec![
        ("id", bold(session.id())),
        (
            "user",
            session.user().map_or_else(|| "-".to_owned(), printable),
        ),
        ("created", time(session.created_at())),
        ("logged in", optional(session.authenticated_at(), "-")),
        ("has its id since", time(session.begun_at())),
        ("last seen", time(session.last_seen_at())),
        ("expires", optional(session.expires_at(), "never")),
        ("bytes", session.data_bytes().to_string()),
    ];
    let labels = session.labels();
    facts.extend(labels.map(|(name, value)| (name, printable(value))));
    let keys: Vec<String> = session.keys().iter().map(|key| printable(key)).collect();
    if !shows_values {
        facts.push((
            "keys",
            if keys.is_empty() {
                "-".to_owned()
            } else {
                keys.join(", ")
            },
        ));
    }
    print(&output::facts(&facts))?;
    if shows_values {
        for (key, value) in output::values(&session) {
            print(&format!(
                "{} {value}",
                dim(format!("{} =", printable(&key)))
            ))?;
        }
    }
    Ok(())
}

pub(crate) async fn ping(opened: &Opened, json: bool) -> Result<(), Failure> {
    let started = Instant::now();
    opened.sessions.ping().await?;
    let took = started.elapsed();
    if json {
        print_json(&json!({ "store": opened.kind, "seconds": took.as_secs_f64() }))
    } else {
        print(&format!("{} answers in {took:.1?}", opened.kind))
    }
}
