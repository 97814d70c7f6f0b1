//! All sessions of a user.

use maud::{Markup, html};

use super::{
    Frame,
    list::{self, Listed},
};
use crate::text::{plain, shown};

pub(crate) fn page(frame: &Frame, listed: &Listed) -> Markup {
    let user = &listed.params.user;
    let main = html! {
        @if listed.sessions.is_empty() && listed.next.is_none() {
            section.notice {
                h1 { "No session of " (shown(user)) }
                p { "Names are compared exactly, letter by letter." }
                p.actions { a.button href={ (frame.base) "/sessions" } { "All sessions" } }
            }
        } @else {
            (list::sessions(frame, listed))
        }
    };
    frame.page(&plain(user), None, &main)
}
