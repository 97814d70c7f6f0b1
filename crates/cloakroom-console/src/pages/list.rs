//! The list of sessions, with its search.

use std::time::{Duration, UNIX_EPOCH};

use cloakroom::{Cursor, Error, ErrorKind, SessionFilter, SessionSummary, Sessions};
use maud::{Markup, html};

use super::{Frame, rows};
use crate::{
    answer::Failure,
    app::App,
    console::FOR_A_PAGE,
    counts::Counted,
    filter::{LIMITS, ListParams, Order, TIMES, query},
    format::{count, span},
};

/// A page of the list.
pub(crate) struct Listed {
    pub(crate) params: ListParams,
    pub(crate) sessions: Vec<SessionSummary>,
    pub(crate) next: Option<Cursor>,
    /// How many sessions match in the whole store.
    pub(crate) counted: Counted,
    /// Why the store could not list.
    pub(crate) notice: Option<&'static str>,
}

/// How many calls of the store make a page.
const TRIES: usize = 4;

pub(crate) async fn fetch(app: &App, mut params: ListParams) -> Result<Listed, Failure> {
    let sessions = &app.sessions;
    let (filter, limit, order) = (params.filter()?, params.limit()?, params.order()?);
    let at = params.at()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.at = at.as_millis().to_string();
    // The time of the first page, for the following pages.
    let filter = if params.begun.is_empty() {
        filter
    } else {
        params.filter()?
    };
    let after = match &*params.after {
        "" => None,
        after => Some(after.parse::<Cursor>()?),
    };
    let mut notice = None;
    let found = match order {
        Order::Id => fill(sessions, &filter, after.clone(), limit).await,
        Order::Newest => {
            let newest = filter.clone().newest_first();
            fill(sessions, &newest, after.clone(), limit).await
        }
        Order::LastSeen => {
            let found = sessions.last_seen(&filter, limit).await;
            found.map(|found| (found, None))
        }
    };
    let found = match found {
        Err(error) if order != Order::Id && is_without_order(sessions, &filter, &error).await => {
            notice = Some("This store has no index for that order: these are ordered by id.");
            params.order = "id".to_owned();
            // Programs send the order that they wanted with each page.
            fill(sessions, &filter, after, limit).await
        }
        found => found,
    };
    let (found, next) = found?;
    let counted = app.counts.matching(&params, filter, FOR_A_PAGE).await;
    Ok(Listed {
        params,
        sessions: found,
        next,
        counted,
        notice,
    })
}

/// Whether the store has no other order than by id, as `error` says. The cursor of a list by id, which the page
/// gave before, does not belong to the order that is asked for.
async fn is_without_order(sessions: &Sessions, filter: &SessionFilter, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unsupported => true,
        ErrorKind::BadCursor => {
            let newest = sessions.list(&filter.clone().newest_first(), None, 1).await;
            newest.is_err_and(|error| error.kind() == ErrorKind::Unsupported)
        }
        _ => false,
    }
}

/// Fills a page. The store may return it in parts.
async fn fill(
    sessions: &Sessions,
    filter: &SessionFilter,
    mut after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<SessionSummary>, Option<Cursor>), Error> {
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let page = sessions
            .list(filter, after.as_ref(), limit - found.len())
            .await?;
        found.extend(page.sessions);
        after = page.next;
        if after.is_none() || found.len() >= limit {
            break;
        }
    }
    Ok((found, after))
}

pub(crate) fn page(frame: &Frame, listed: &Listed) -> Markup {
    let main = html! {
        (search(frame, &listed.params))
        @if let Some(notice) = listed.notice { p.banner { (notice) } }
        (sessions(frame, listed))
    };
    frame.page("List", None, &main)
}

fn search(frame: &Frame, params: &ListParams) -> Markup {
    let times = |name: &'static str, chosen: &str, none: &'static str, before: &'static str| {
        html! {
            select name=(name) {
                option value="" { (none) }
                @for (value, text) in TIMES {
                    option value=(value) selected[value == chosen] { (before) (text) }
                }
            }
        }
    };
    let option = |value: &str, text: &str, chosen: &str| {
        html! { option value=(value) selected[value == chosen] { (text) } }
    };
    html! {
        form.filter role="search" aria-label="Sessions" action={ (frame.base) "/sessions" } {
            label { span { "User" }
                input type="search" name="user" value=(params.user) dir="auto" placeholder="exact name"
                    autocomplete="off" autocapitalize="off" spellcheck="false"; }
            label { span { "Kind" }
                select name="kind" {
                    (option("", "All", &params.kind))
                    (option("logged_in", "Logged in", &params.kind))
                    (option("anonymous", "Anonymous", &params.kind))
                } }
            label { span { "Began" } (times("begun", &params.begun, "At any time", "Last ")) }
            label { span { "Unused" } (times("idle", &params.idle, "No matter", "For over ")) }
            label { span { "Order" }
                select name="order" {
                    (option("newest", "Newest first", &params.order))
                    (option("seen", "Last seen first", &params.order))
                    (option("id", "By id", &params.order))
                } }
            label { span { "Rows" }
                select name="limit" {
                    @for limit in LIMITS {
                        (option(&limit.to_string(), &limit.to_string(), if params.limit.is_empty() { "50" } else { &params.limit }))
                    }
                } }
            button { "Show" }
        }
    }
}

/// The rows, with their actions.
pub(crate) fn sessions(frame: &Frame, listed: &Listed) -> Markup {
    let Listed {
        params, sessions, ..
    } = listed;
    let base = &frame.base;
    let next = listed.next.as_ref().map(ToString::to_string);
    html! {
        div.heading {
            h1 { (heading(params)) }
            @if let Some(found) = matching(&listed.counted) { p.dim { (found) } }
        }
        @if sessions.is_empty() {
            div.empty { p { (why_empty(listed)) } }
        } @else {
            form method="post" action={ (base) "/revoke" } data-rows {
                (rows::table(frame, sessions, true, "Sessions on this page"))
                p.actions.sticky {
                    button.danger data-selected { "End selected…" }
                }
            }
        }
        nav.pages aria-label="Pages" {
            @if !params.after.is_empty() {
                @let first = ListParams { at: String::new(), ..params.clone() };
                a.button.quiet href={ (base) "/sessions" (query(first.pairs())) } { "First page" }
            }
            @if let Some(next) = &next {
                @let pairs = params.pairs().into_iter().chain([("after", next.as_str())]);
                a.button rel="next" href={ (base) "/sessions" (query(pairs)) } accesskey="n" { "Next page" }
            }
            @if !is_nothing(listed) {
                (end_all(frame, params))
            }
        }
    }
}

/// Whether no session at all matches, as far as the store says.
fn is_nothing(listed: &Listed) -> bool {
    let is_whole = listed.params.after.is_empty() && listed.next.is_none();
    // The order by last use looks at the sessions that were used last, and at no others.
    is_whole && listed.sessions.is_empty() && !is_by_last_use(&listed.params)
}

fn is_by_last_use(params: &ListParams) -> bool {
    params.order().is_ok_and(|order| order == Order::LastSeen)
}

fn why_empty(listed: &Listed) -> &'static str {
    let params = &listed.params;
    if listed.next.is_some() {
        "None among those looked at so far. There are more to look at, on the next page."
    } else if is_by_last_use(params) {
        "None among those that were used last. Another order shows all that match."
    } else if !params.after.is_empty() {
        "There are no more. The pages before this one have all that match."
    } else if params.conditions().iter().all(String::is_empty) {
        "The store has no session, so there is nothing to end."
    } else {
        "No session matches, so there is nothing to end."
    }
}

/// The form that leads to the preview.
fn end_all(frame: &Frame, params: &ListParams) -> Markup {
    let is_all = params.filter().is_ok_and(|filter| filter.is_everything());
    html! {
        @if is_all {
            a.button.quiet.danger.last href={ (frame.base) "/revoke" } { "End every session…" }
        } @else {
            form.last method="post" action={ (frame.base) "/revoke" } {
                @for (name, value) in params.pairs() {
                    input type="hidden" name=(name) value=(value);
                }
                button.quiet.danger { "End all that match…" }
            }
        }
    }
}

pub(crate) fn heading(params: &ListParams) -> Markup {
    params.in_words(["Logged-in sessions", "Anonymous sessions", "Sessions"])
}

/// `12 in the store`, and when they were counted, if that was not just now. Nothing if the store does not count.
fn matching(counted: &Counted) -> Option<String> {
    let Some(found) = counted.latest else {
        let is_late = counted.failure.is_none();
        return is_late.then(|| "still being counted".to_owned());
    };
    let more = if found.is_exact { "" } else { "more than " };
    let age = found.at.elapsed().unwrap_or_default();
    let counted = if age < Duration::from_secs(5) {
        String::new()
    } else {
        format!(", counted {} ago", span(age))
    };
    Some(format!(
        "{more}{} in the store{counted}",
        count(found.records)
    ))
}
