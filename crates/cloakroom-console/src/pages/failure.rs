//! Error pages.

use maud::{DOCTYPE, Markup, html};

use super::Frame;
use crate::{answer::Failure, text::visible};

pub(crate) fn page(frame: &Frame, failure: &Failure) -> Markup {
    let main = html! {
        section.notice {
            p.status { (failure.status.as_u16()) }
            h1 { (failure.title) }
            p { (detail(failure)) }
            p.actions {
                @if failure.status.is_server_error() {
                    // The list would fail as well.
                    a.button href=(frame.home()) { "Live numbers" }
                } @else {
                    a.button href={ (frame.base) "/sessions" } { "All sessions" }
                    a.button.quiet href=(frame.home()) { "Live numbers" }
                }
            }
        }
    };
    frame.page(failure.title, None, &main)
}

/// The detail, with what is between backquotes as code.
fn detail(failure: &Failure) -> Markup {
    html! {
        @for (index, part) in failure.detail.split('`').enumerate() {
            @if index % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
        }
    }
}

/// Without anything else.
pub(crate) fn bare(base: &str, failure: &Failure) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (failure.title) }
                link rel="stylesheet" href={ (base) "/console.css" };
            }
            body {
                main {
                    section.notice {
                        p.status { (failure.status.as_u16()) }
                        h1 { (failure.title) }
                        p { (detail(failure)) }
                    }
                }
            }
        }
    }
}
