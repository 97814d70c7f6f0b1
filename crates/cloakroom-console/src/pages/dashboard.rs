//! The live numbers.

use cloakroom::{EndReason, Rejection, Stats, StoreCall};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Frame;
use crate::{
    charts::{bars, gauge, sparkline},
    format::{bytes, count, latency, span},
    sample::{History, Recent, by_minute},
};

pub(crate) fn page(frame: &Frame, numbers: &Markup) -> Markup {
    let main = html! {
        h1.hidden { "Live numbers" }
        div #live data-live={ (frame.base) "/live" } aria-live="off" { (numbers) }
    };
    frame.page("Now", Some(5), &main)
}

/// The part that changes with each tick.
pub(crate) fn numbers(history: &History, node: &str, stored: Option<u64>) -> Markup {
    let Some(recent) = history.recent() else {
        return html! { p { "No numbers yet." } };
    };
    let stats = recent.now;
    let (created, ended) = by_minute(stats);
    html! {
        div.scope {
            h2 { "This process" }
            p { (node) }
            p.state data-state="live" { "live" }
        }
        @if stats.is_circuit_open {
            p.banner role="alert" {
                strong { "The store is down. " }
                "Requests that need a session fail at once, and one at a time tries whether it is back."
            }
        }
        div.tiles {
            (tile("Active", &count(stats.live), &format!("peak {}", count(stats.peak)),
                sparkline(&history.live(), "Active sessions in the last five minutes")))
            (tile("Created", &count(recent.created()), &rate(&recent),
                bars(&created, "Sessions created in each of the last 60 minutes", "good")))
            (tile("Ended", &count(recent.all_ended()), &rate(&recent),
                bars(&ended, "Sessions ended in each of the last 60 minutes", "calm")))
            (tile("Log-ins", &count(recent.logged_in()), &rate(&recent),
                html! { p.total { (count(stats.logged_in)) " in all" } }))
            (tile("Rejected cookies", &count(recent.all_rejected()), &rate(&recent),
                html! { p.total { (count(rejected(stats))) " in all" } }))
            (tile("Conflicts", &count(recent.conflicts()), &rate(&recent),
                html! { p.total { (count(stats.conflicts)) " merged in all" } }))
        }
        div.columns {
            section {
                h2 { "Ended" }
                (reasons("Reason", &recent, EndReason::ALL.iter().map(|reason| {
                    (name(reason.name()), recent.ended(*reason), stats.ended(*reason))
                })))
            }
            section {
                h2 { "Rejected cookies" }
                (reasons("Kind", &recent, Rejection::ALL.iter().map(|why| {
                    (name(why.name()), recent.rejected(*why), stats.rejected(*why))
                })))
            }
        }
        section {
            h2 { "Calls of the store" }
            (calls(&recent))
        }
        @if let (Some(held), Some(most)) = (stats.memory_bytes, stats.memory_max_bytes) {
            section.memory {
                h2 { "Memory" }
                @let share = held as f64 / most.max(1) as f64;
                p { strong { (bytes(held)) } " of " (bytes(most)) span.dim { (format!("{:.0} %", share * 100.0)) } }
                (gauge(share, "How full the memory store is"))
            }
        }
        div.scope {
            h2 { "The whole store" }
            p {
                @match stored {
                    Some(stored) => { strong { (count(stored)) } " records, of every process. Expired ones count until they are deleted." }
                    None => "The store does not say how many sessions it has.",
                }
            }
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
    title: &str,
    recent: &Recent<'_>,
    rows: impl Iterator<Item = (String, u64, u64)>,
) -> Markup {
    let rows: Vec<_> = rows.collect();
    let most = rows.iter().map(|(.., all)| *all).max().unwrap_or(0).max(1);
    html! {
        table.plain {
            thead {
                tr { th { (title) } th.number title=(rate(recent)) { "Minute" } th.number { "All" } th.share {} }
            }
            tbody {
                @for (name, lately, all) in rows {
                    tr.none[all == 0] {
                        td { (name) }
                        td.number { (count(lately)) }
                        td.number { (count(all)) }
                        td.share { (gauge_of(all, most)) }
                    }
                }
            }
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
        all.calls + all.abandoned > 0
    };
    let used: Vec<&StoreCall> = StoreCall::ALL.iter().filter(used).collect();
    html! {
        @if used.is_empty() {
            p.dim { "None so far." }
        } @else {
            div.scroll {
                table.plain.wide {
                    thead {
                        tr {
                            th { "Call" } th.number { "Minute" } th.number { "p50" } th.number { "p99" }
                            th.number { "Slowest ever" } th.number { "Failed" } th.number { "Given up" }
                        }
                    }
                    tbody {
                        @for call in used {
                            @let (lately, all) = (recent.store(*call), recent.now.store(*call));
                            @let shown = if lately.calls > 0 { lately } else { all };
                            tr.none[lately.calls == 0] {
                                td { code { (call.name()) } }
                                td.number { (count(lately.calls)) }
                                td.number { (latency(shown.quantile(0.5))) }
                                td.number { (latency(shown.quantile(0.99))) }
                                td.number { (latency(all.longest)) }
                                td.number.bad[lately.failures > 0] { (count(all.failures)) }
                                td.number.bad[lately.abandoned > 0] { (count(all.abandoned)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The statistics for programs. Counts are since the process began.
pub(crate) fn json(stats: &Stats, node: &str, stored: Option<u64>) -> Value {
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
            "logged_in": stats.logged_in,
            "conflicts": stats.conflicts,
            "touches": stats.touches,
            "ended": ended.collect::<Map<_, _>>(),
            "rejected": rejected.collect::<Map<_, _>>(),
            "store_calls": calls.collect::<Map<_, _>>(),
            "is_circuit_open": stats.is_circuit_open,
            "memory_bytes": stats.memory_bytes,
            "memory_max_bytes": stats.memory_max_bytes,
        },
        "store": { "records": stored },
    })
}
