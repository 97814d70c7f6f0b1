//! One session.

use std::time::SystemTime;

use cloakroom::SessionSummary;
use maud::{Markup, html};
use serde_json::Value;

use super::{Frame, rows};
use crate::{
    answer::values,
    format::{bytes, moment, short, when},
    text::shown,
};

/// A value, with the lines of its JSON. In a text of it a line's end is an escape.
fn value_as_text(value: &Value) -> Markup {
    html! { pre { @for line in format!("{value:#}").lines() { (shown(line)) "\n" } } }
}

pub(crate) fn page(frame: &Frame, session: &SessionSummary, shows_values: bool) -> Markup {
    let now = SystemTime::now();
    let time = |name: &str, time: Option<SystemTime>, none: &str| {
        html! {
            dt { (name) }
            dd {
                @match time {
                    Some(time) => { (when(time, now)) span.exact { (moment(time)) } }
                    None => span.dim { (none) },
                }
            }
        }
    };
    let keys = session.keys();
    let main = html! {
        div.heading {
            h1 { "Session " code { (short(session.id())) } }
            form method="post" action={ (frame.base) "/revoke" } {
                input type="hidden" name="id" value=(session.id());
                button.danger { "End this session…" }
            }
        }
        div.columns {
            section {
                dl.facts {
                    dt { "Id" } dd { code { (session.id()) } }
                    dt { "User" } dd { (rows::user(frame, session)) }
                    (time("Created", Some(session.created_at()), ""))
                    (time("Logged in", session.authenticated_at(), "nobody has"))
                    (time("Has its id since", Some(session.begun_at()), ""))
                    (time("Last seen", Some(session.last_seen_at()), ""))
                    (time("Expires", session.expires_at(), "never"))
                    dt { "Size" } dd { (bytes(session.data_bytes())) }
                    @for (name, value) in session.labels() {
                        dt { (shown(name)) } dd { (shown(value)) }
                    }
                }
            }
            section {
                h2 { "Values" }
                @if keys.is_empty() {
                    p.dim { "None." }
                } @else if shows_values {
                    dl.facts {
                        @for (key, value) in values(session) {
                            dt { code { (shown(&key)) } } dd { (value_as_text(&value)) }
                        }
                    }
                } @else {
                    ul.keys { @for key in &keys { li { code { (shown(key)) } } } }
                    p.hint { "This console does not show what they hold." }
                }
            }
        }
        p.hint { "Looking at a session does not count as its use. Later use may be missing for a minute or more: it is not written each time." }
    };
    frame.page("Session", None, &main)
}
