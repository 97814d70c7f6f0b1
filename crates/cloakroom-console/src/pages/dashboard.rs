//! The live numbers.

use std::time::SystemTime;

use cloakroom::{EndReason, ErrorKind, Rejection, Stats, StoreCall};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Frame;
use crate::{
    charts::{bars, gauge, sparkline},
    counts::Counted,
    format::{bytes, clock, count, latency, moment, since, span},
    sample::{History, Outage, Recent, by_minute},
    text::shown,
};

pub(crate) fn page(frame: &Frame, numbers: &Markup, is_paused: bool) -> Markup {
    let main = html! {
        div.heading {
            h1 { "Live numbers" }
            p.actions {
                @if is_paused {
                    "These numbers stand still. "
                    a href=(frame.home()) { "Go on" }
                } @else {
                    span.state data-state="" { "connecting…" }
                    a href="?pause=yes" { "Pause" }
                }
            }
        }
        // Says what has changed by ear, and not each number.
        p.hidden role="status" {}
        div data-live=[(!is_paused).then(|| format!("{}/live", frame.base))] { (numbers) }
    };
    frame.page("Now", (!is_paused).then_some(5), &main)
}

/// The part that changes with each tick.
pub(crate) fn numbers(history: &History, node: &str, counted: &Counted) -> Markup {
    let Some(recent) = history.recent() else {
        return html! { p { "No numbers yet." } };
    };
    let stats = recent.now;
    let now = SystemTime::now();
    // A store in memory belongs to this process alone.
    let is_shared = stats.memory_bytes.is_none();
    let (created, ended) = by_minute(stats);
    html! {
        div.scope {
            h2 { "This process" }
            p { (shown(node)) @if let Some(at) = history.latest() { " · " (clock(at)) } }
        }
        @if let Some(outage) = history.outage() { (down(outage, now)) }
        @if is_shared {
            p.note {
                "What this process has seen. Each process that shares the store has numbers of its own, and a session's end \
                 counts in the process that ends or deletes it. Redis deletes expired sessions by itself, so no process counts those."
            }
        }
        div.tiles {
            @if is_shared {
                (tile("Begun here, not ended here", &count(stats.live), &format!("peak {}", count(stats.peak)),
                    sparkline(&history.live(), "Sessions begun and not ended in this process, in the last five minutes")))
            } @else {
                (tile("Active", &count(stats.live), &format!("peak {}", count(stats.peak)),
                    sparkline(&history.live(), "Active sessions in the last five minutes")))
            }
            (tile("Created", &count(recent.created()), &rate(&recent),
                html! {
                    (bars(&created, "Sessions created in each of the last 60 minutes", "good"))
                    p.total {
                        (count(stats.created)) " in all"
                        @if stats.imported > 0 { ", and " (count(stats.imported)) " imported" }
                    }
                }))
            (tile("Ended", &count(recent.all_ended()), &rate(&recent),
                html! {
                    (bars(&ended, "Sessions ended in each of the last 60 minutes", "calm"))
                    p.total { (count(EndReason::ALL.iter().map(|reason| stats.ended(*reason)).sum())) " in all" }
                }))
            (tile("Log-ins", &count(recent.logged_in()), &rate(&recent),
                html! { p.total { (count(stats.logged_in)) " in all" } }))
            (tile("Rejected cookies", &count(recent.all_rejected()), &rate(&recent),
                html! { p.total { (count(rejected(stats))) " in all" } }))
            (tile("Conflicts", &count(recent.conflicts()), &rate(&recent),
                html! { p.total { (count(stats.conflicts)) " merged in all" } }))
        }
        div.columns {
            section {
                h3 { "Ended" }
                (reasons("Sessions ended, by reason", "Reason", &recent, &EndReason::ALL.map(|reason| {
                    (name(reason.name()), recent.ended(reason), stats.ended(reason))
                }), true))
            }
            section {
                h3 { "Rejected cookies" }
                (reasons("Rejected cookies, by kind", "Kind", &recent, &Rejection::ALL.map(|why| {
                    (name(why.name()), recent.rejected(why), stats.rejected(why))
                }), true))
            }
        }
        section {
            h3 { "Calls of the store" }
            (calls(&recent))
        }
        div.columns {
            section {
                h3 { "Also counted" }
                (also(&recent))
            }
            section {
                h3 { "Times" }
                (times(stats))
            }
            @if let (Some(held), Some(most)) = (stats.memory_bytes, stats.memory_max_bytes) {
                section.memory {
                    h3 { "Memory" }
                    @let share = held as f64 / most.max(1) as f64;
                    p { strong { (bytes(held)) } " of " (bytes(most)) span.dim { (format!("{:.0} %", share * 100.0)) } }
                    (gauge(share, &format!("The memory store is full to {:.0} %", share * 100.0)))
                    @if let Some(most) = stats.max_sessions {
                        p { (count(stats.live)) " of " (count(most as u64)) " sessions" }
                    }
                }
            }
        }
        div.scope {
            h2 { "The whole store" }
            (records(counted, is_shared, now))
        }
    }
}

/// Since when the store is down, and which numbers are current all the same.
fn down(outage: Outage, now: SystemTime) -> Markup {
    html! {
        p.banner data-banner=(if outage.is_circuit_open { "The store is down." } else { "The store does not answer." }) {
            @if outage.is_circuit_open {
                strong { "The store is down. " }
                "The circuit breaker has been seen open since " (since(outage.since, now)) ". Requests that need a session fail \
                 at once, and one at a time tries whether the store is back. "
            } @else {
                strong { "The store does not answer. " }
                "Since " (since(outage.since, now)) ", " (count(outage.failed)) " calls of requests have failed and none has \
                 succeeded. "
            }
            "The numbers of this process are current. The number of records in the store is from the last count that succeeded."
        }
    }
}

/// The number of records, and from when it is.
fn records(counted: &Counted, is_shared: bool, now: SystemTime) -> Markup {
    let number = counted.latest.map(|latest| {
        html! {
            strong { (count(latest.records)) } " records"
            @if is_shared { ", of all processes that share the store" } @else { ", in the memory of this process" }
            ". Counted at " (since(latest.at, now)) ". Expired records count until they are deleted"
            @if is_shared { ", and so do those of sessions that ended or have a new id" }
            "."
        }
    });
    let failure = counted.failure.as_ref();
    html! {
        @match (number, failure) {
            (Some(number), None) => p { (number) },
            (_, Some((_, error))) if error.kind() == ErrorKind::Unsupported => p {
                "This kind of store does not count its sessions."
            },
            (number, Some((at, error))) => {
                p.wrong { "The store could not be counted at " (since(*at, now)) ": " (error) "." }
                @if let Some(number) = number { p { "This number is old: " (number) } }
            }
            (None, None) => p { "Being counted." },
        }
    }
}

fn rejected(stats: &Stats) -> u64 {
    Rejection::ALL.iter().map(|why| stats.rejected(*why)).sum()
}

/// The period of a count.
fn rate(recent: &Recent<'_>) -> String {
    match recent.span.as_secs() {
        0 => "just started".to_owned(),
        1..=57 => format!("in the last {}", span(recent.span)),
        _ => "in the last minute".to_owned(),
    }
}

fn tile(title: &str, value: &str, hint: &str, below: impl maud::Render) -> Markup {
    html! {
        section.tile {
            h3 { (title) }
            p.value { (value) }
            p.hint { (hint) }
            (below)
        }
    }
}

fn name(name: &str) -> String {
    let text = name.replace('_', " ");
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn reasons(
    caption: &str,
    title: &str,
    recent: &Recent<'_>,
    rows: &[(String, u64, u64)],
    // Whether the rows are parts of one sum.
    has_bars: bool,
) -> Markup {
    let most = rows.iter().map(|(.., all)| *all).max().unwrap_or(0).max(1);
    html! {
        table.plain {
            caption.hidden { (caption) }
            thead {
                tr {
                    th scope="col" { (title) } th.number scope="col" title=(rate(recent)) { "Minute" }
                    th.number scope="col" { "All" } @if has_bars { td.share {} }
                }
            }
            tbody {
                @for (name, lately, all) in rows {
                    tr.none[*all == 0] {
                        th scope="row" { (name) }
                        td.number { (count(*lately)) }
                        td.number { (count(*all)) }
                        @if has_bars { td.share { (gauge_of(*all, most)) } }
                    }
                }
            }
        }
    }
}

fn also(recent: &Recent<'_>) -> Markup {
    let stats = recent.now;
    let refused = StoreCall::ALL.iter().map(|call| stats.store(*call).refused);
    let rows = [
        ("Imported sessions", recent.imported(), stats.imported),
        ("Writes of activity alone", recent.touches(), stats.touches),
        (
            "Calls refused by the circuit breaker",
            recent.refused(),
            refused.sum(),
        ),
    ];
    reasons(
        "Further counts",
        "Number",
        recent,
        &rows.map(|(name, lately, all)| (name.to_owned(), lately, all)),
        false,
    )
}

fn times(stats: &Stats) -> Markup {
    let none = || "no session has ended".to_owned();
    html! {
        dl.facts {
            dt { "Mean life of a session" } dd { (stats.mean_life.map_or_else(none, span)) }
            dt { "Longest life" } dd { (stats.longest_life.map_or_else(none, span)) }
            dt { "All listeners, together" } dd { (latency(stats.listening)) }
            dt { "All listeners, for one event" } dd { "at most " (latency(stats.longest_listening)) }
        }
    }
}

fn gauge_of(value: u64, most: u64) -> Markup {
    let width = format!("{:.1}", value as f64 / most as f64 * 100.0);
    html! {
        svg.part viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(width) height="8" {}
        }
    }
}

fn calls(recent: &Recent<'_>) -> Markup {
    let used = |call: &&StoreCall| {
        let all = recent.now.store(**call);
        all.calls + all.abandoned + all.refused > 0
    };
    let used: Vec<&StoreCall> = StoreCall::ALL.iter().filter(used).collect();
    html! {
        @if used.is_empty() {
            p.dim { "None so far." }
        } @else {
            // With these styles a narrow page shows a row as a card. The roles tell that it is a table all the same.
            table.plain.calls role="table" {
                caption.hidden { "Calls of the store" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for title in ["Call", "Minute", "p50", "p99", "Slowest", "Failed", "Given up", "Refused"] {
                            th.number[title != "Call"] scope="col" role="columnheader" { (title) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for call in used {
                        @let (lately, all) = (recent.store(*call), recent.now.store(*call));
                        @let shown = if lately.calls > 0 { lately } else { all };
                        tr.none[lately.calls == 0] role="row" {
                            th scope="row" role="rowheader" { code { (call.name()) } }
                            (cell("Minute", &count(lately.calls), false))
                            (cell("p50", &latency(shown.quantile(0.5)), false))
                            (cell("p99", &latency(shown.quantile(0.99)), false))
                            (cell("Slowest", &latency(all.longest), false))
                            (cell("Failed", &count(all.failures), lately.failures > 0))
                            (cell("Given up", &count(all.abandoned), lately.abandoned > 0))
                            (cell("Refused", &count(all.refused), lately.refused > 0))
                        }
                    }
                }
            }
            p.hint {
                "p50 and p99 are those of the last minute, or of all calls if it had none. The slowest call, and those that failed, \
                 were given up or refused, are since the process began. ! marks what the last minute had."
            }
        }
    }
}

fn cell(title: &str, text: &str, is_bad: bool) -> Markup {
    html! {
        td.number.bad[is_bad] role="cell" data-name=(title) {
            @if is_bad { span { "! " } }
            (text)
        }
    }
}

/// The statistics for programs. Counts are since the process began.
pub(crate) fn json(stats: &Stats, node: &str, counted: &Counted) -> Value {
    let seconds = |duration: std::time::Duration| duration.as_secs_f64();
    let ended = EndReason::ALL
        .iter()
        .map(|why| (why.name().to_owned(), json!(stats.ended(*why))));
    let rejected = Rejection::ALL.iter();
    let rejected = rejected.map(|why| (why.name().to_owned(), json!(stats.rejected(*why))));
    let calls = StoreCall::ALL.iter().map(|call| {
        let all = stats.store(*call);
        let numbers = json!({
            "calls": all.calls,
            "failures": all.failures,
            "abandoned": all.abandoned,
            "refused": all.refused,
            "p50_seconds": seconds(all.quantile(0.5)),
            "p99_seconds": seconds(all.quantile(0.99)),
            "longest_seconds": seconds(all.longest),
        });
        (call.name().to_owned(), numbers)
    });
    json!({
        "node": node,
        "process": {
            "active": stats.live,
            "peak": stats.peak,
            "created": stats.created,
            "imported": stats.imported,
            "logged_in": stats.logged_in,
            "conflicts": stats.conflicts,
            "touches": stats.touches,
            "ended": ended.collect::<Map<_, _>>(),
            "rejected": rejected.collect::<Map<_, _>>(),
            "store_calls": calls.collect::<Map<_, _>>(),
            "mean_life_seconds": stats.mean_life.map(seconds),
            "longest_life_seconds": stats.longest_life.map(seconds),
            "listening_seconds": seconds(stats.listening),
            "longest_listening_seconds": seconds(stats.longest_listening),
            "is_circuit_open": stats.is_circuit_open,
            "memory_bytes": stats.memory_bytes,
            "memory_max_bytes": stats.memory_max_bytes,
            "max_sessions": stats.max_sessions,
        },
        "store": {
            "records": counted.latest.map(|count| count.records),
            "counted_at": counted.latest.map(|count| moment(count.at)),
            "error": counted.failure.as_ref().map(|(_, error)| error.to_string()),
        },
    })
}
