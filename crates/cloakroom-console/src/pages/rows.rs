//! Sessions as rows of a table.

use std::time::SystemTime;

use cloakroom::SessionSummary;
use maud::{Markup, html};

use super::Frame;
use crate::{
    filter::query,
    format::{bytes, short, when},
    text::shown,
};

/// The sessions. In a form they have boxes to select them.
pub(crate) fn table(frame: &Frame, sessions: &[SessionSummary], has_boxes: bool) -> Markup {
    let now = SystemTime::now();
    let base = &frame.base;
    html! {
        table.sessions {
            thead {
                tr {
                    @if has_boxes {
                        th.box { input type="checkbox" data-all aria-label="Select all on this page"; }
                    }
                    th { "Session" } th { "User" } th { "Began" } th { "Last seen" } th { "Expires" }
                    th.number { "Size" }
                }
            }
            tbody {
                @for session in sessions {
                    @let id = session.id();
                    tr {
                        @if has_boxes {
                            td.box {
                                input type="checkbox" name="id" value=(id) aria-label={ "Select " (short(id)) };
                            }
                        }
                        td.id { a href={ (base) "/sessions/" (id) } title=(id) { (short(id)) } }
                        td.user { (user(frame, session)) }
                        td data-name="Began" { (when(session.begun_at(), now)) }
                        td data-name="Seen" { (when(session.last_seen_at(), now)) }
                        td data-name="Expires" {
                            @match session.expires_at() {
                                Some(at) => (when(at, now)),
                                None => "never",
                            }
                        }
                        td.number data-name="Size" { (bytes(session.data_bytes())) }
                    }
                }
            }
        }
    }
}

/// A link to the user's page.
pub(crate) fn user(frame: &Frame, session: &SessionSummary) -> Markup {
    html! {
        @match session.user() {
            Some(user) => a href={ (frame.base) "/user" (query([("name", user)])) } { (shown(user)) },
            None => span.dim { "anonymous" },
        }
    }
}
