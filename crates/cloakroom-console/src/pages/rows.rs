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
pub(crate) fn table(
    frame: &Frame,
    sessions: &[SessionSummary],
    has_boxes: bool,
    caption: &str,
) -> Markup {
    let now = SystemTime::now();
    let base = &frame.base;
    html! {
        // With these styles a narrow page shows a row as a card. The roles tell that it is a table all the same.
        table.sessions role="table" {
            caption.hidden { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @if has_boxes {
                        th.box scope="col" role="columnheader" {
                            span.hidden { "Select" }
                            label data-scripted { input type="checkbox" data-all; span { "All on this page" } }
                        }
                    }
                    @for title in ["Session", "User", "Began", "Last seen", "Expires", "Size"] {
                        th.number[title == "Size"] scope="col" role="columnheader" { (title) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for session in sessions {
                    @let id = session.id();
                    tr role="row" {
                        @if has_boxes {
                            td.box role="cell" {
                                input type="checkbox" name="id" value=(id) aria-label={ "Select " (short(id)) };
                            }
                        }
                        th.id scope="row" role="rowheader" { a href={ (base) "/sessions/" (id) } title=(id) { (short(id)) } }
                        td.user role="cell" { (user(frame, session)) }
                        td role="cell" data-name="Began" { (when(session.begun_at(), now)) }
                        td role="cell" data-name="Seen" { (when(session.last_seen_at(), now)) }
                        td role="cell" data-name="Expires" {
                            @match session.expires_at() {
                                Some(at) => (when(at, now)),
                                None => "never",
                            }
                        }
                        td.number role="cell" data-name="Size" { (bytes(session.data_bytes())) }
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
