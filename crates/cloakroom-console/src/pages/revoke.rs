//! The preview and the result of a revocation.

use cloakroom::SessionSummary;
use maud::{Markup, html};

use super::{Frame, rows};
use crate::{filter::ListParams, format::count};

/// The words to type to end all sessions.
pub(crate) const WORDS: &str = "end every session";

/// The preview, with a button to confirm.
pub(crate) fn preview(
    frame: &Frame,
    what: &Markup,
    number: Number,
    first: &[SessionSummary],
    fields: &[(&str, &str)],
) -> Markup {
    let is_one = number == Number::Exactly(1);
    let is_all = number == Number::Exactly(first.len() as u64);
    let main = html! {
        h1 { "End " (how_many(number)) "?" }
        p.lead {
            (what) ". "
            @if is_one { "Its visitor has" } @else { "Their visitors have" }
            " to begin anew, and users have to log in again. This cannot be undone."
        }
        form.actions method="post" action={ (frame.base) "/revoke" } {
            @for (name, value) in fields {
                input type="hidden" name=(name) value=(value);
            }
            input type="hidden" name="sure" value="yes";
            button.danger { "End " (how_many(number)) }
            // So that a key that is pressed too often ends nothing.
            a.button.quiet href={ (frame.base) "/sessions" } autofocus {
                @if is_one { "Keep it" } @else { "Keep them" }
            }
        }
        @if !first.is_empty() {
            h2 { @if is_all { "These" } @else { "The first of them" } }
            (rows::table(frame, first, false, "Sessions to end"))
        } @else {
            p.hint { "None of them is among the sessions looked at so far, so none is shown." }
        }
    };
    frame.page("End sessions", None, &main)
}

pub(crate) fn nothing(frame: &Frame, why: &Markup) -> Markup {
    let main = html! {
        section.notice {
            h1 { "Nothing to end" }
            p { (why) " Nothing has ended." }
            p.actions { a.button href={ (frame.base) "/sessions" } { "All sessions" } }
        }
    };
    frame.page("End sessions", None, &main)
}

/// The preview of ending all sessions. It also asks for the words.
pub(crate) fn everything(frame: &Frame, stored: Option<u64>, is_wrong: bool) -> Markup {
    let main = html! {
        h1 { "End every session?" }
        p.lead {
            @if let Some(stored) = stored { "The store has " strong { (count(stored)) } " records. " }
            "Every visitor of every process has to begin anew, and every user has to log in again: for example after \
             the store's data has leaked. You too, if you use a session of this store. This cannot be undone."
        }
        form.stacked method="post" action={ (frame.base) "/revoke" } {
            input type="hidden" name="all" value="yes";
            input type="hidden" name="sure" value="yes";
            label {
                span { "Type " strong { (WORDS) } }
                input name="words" autocomplete="off" autocapitalize="off" spellcheck="false" required
                    aria-invalid=[is_wrong.then_some("true")] aria-describedby=[is_wrong.then_some("wrong")]
                    autofocus[is_wrong];
            }
            @if is_wrong { p.wrong #wrong { "These are not the words. Nothing has ended." } }
            p.actions {
                button.danger { "End every session" }
                a.button.quiet href={ (frame.base) "/sessions" } { "Keep them" }
            }
        }
    };
    frame.page("End sessions", None, &main)
}

pub(crate) fn done(frame: &Frame, ended: u64) -> Markup {
    let main = html! {
        section.notice {
            h1 {
                @match ended {
                    0 => "No session was left to end",
                    1 => "One session ended",
                    _ => { (count(ended)) " sessions ended" }
                }
            }
            p { "From its next look at the store on, no process accepts a session that has ended." }
            @if ended == 0 { p { "Somebody else may have ended them, or they moved on." } }
            p.actions {
                a.button href={ (frame.base) "/sessions" } { "All sessions" }
                a.button.quiet href=(frame.home()) { "Live numbers" }
            }
        }
    };
    frame.page("Ended", None, &main)
}

/// The progress of a job in the background.
pub(crate) fn working(frame: &Frame, job: u64, ended: u64) -> Markup {
    let main = html! {
        section.notice data-working {
            h1 { span data-ended { (count(ended)) } " sessions ended so far" }
            p { "This goes on by itself, also if you leave the page." }
            p.actions { a.button href={ (frame.base) "/revoke?job=" (job) } { "How far is it?" } }
        }
    };
    frame.page("Ending sessions", Some(2), &main)
}

pub(crate) fn failed(frame: &Frame, ended: u64, reason: &str) -> Markup {
    let main = html! {
        section.notice {
            h1 { "Not all of them ended" }
            // Between two hundreds the number is not known.
            p { "At least " (count(ended)) " sessions ended before this stopped: " (reason) "." }
            p { "They stay ended. Do the same again for the rest." }
            p.actions { a.button href={ (frame.base) "/sessions" } { "All sessions" } }
        }
    };
    frame.page("Ending sessions", None, &main)
}

pub(crate) fn what(params: &ListParams) -> Markup {
    super::list::heading(params)
}

/// How many sessions would end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Exactly(u64),
    /// The number of records, some of which may have expired.
    UpTo(u64),
    /// Where the count stopped.
    MoreThan(u64),
}

fn how_many(number: Number) -> String {
    match number {
        Number::Exactly(1) => "one session".to_owned(),
        Number::Exactly(sessions) => format!("{} sessions", count(sessions)),
        Number::UpTo(sessions) => format!("up to {} sessions", count(sessions)),
        Number::MoreThan(sessions) => format!("more than {} sessions", count(sessions)),
    }
}
