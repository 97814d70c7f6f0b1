//! The pages, as HTML. They get their data as arguments, and make no store calls.

pub(crate) mod dashboard;
pub(crate) mod failure;
pub(crate) mod list;
pub(crate) mod revoke;
pub(crate) mod rows;
pub(crate) mod session;
pub(crate) mod user;

use std::sync::Arc;

use maud::{DOCTYPE, Markup, html};

use crate::text::shown;

/// The frame of every page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The path that precedes the console's own paths, without a slash at its end.
    pub(crate) base: Arc<str>,
    pub(crate) node: Arc<str>,
    pub(crate) operator: Option<Arc<str>>,
}

impl Frame {
    /// A page of the console. `refresh` is the number of seconds after which a browser without scripts reloads it.
    pub(crate) fn page(&self, title: &str, refresh: Option<u32>, main: &Markup) -> Markup {
        let base = &self.base;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (title) " · Sessions" }
                    link rel="stylesheet" href={ (base) "/console.css" };
                    script src={ (base) "/console.js" } defer {}
                    @if let Some(seconds) = refresh {
                        noscript { meta http-equiv="refresh" content=(seconds); }
                    }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        nav aria-label="Console" {
                            a.brand href=(self.home()) { span.hook aria-hidden="true" {} "Sessions" }
                            (link(self.home(), "Now", title == "Now"))
                            (link(&format!("{base}/sessions"), "List", title == "List"))
                        }
                        form.search role="search" aria-label="Users" action={ (base) "/user" } {
                            input type="search" name="name" placeholder="Find a user" aria-label="Find a user" accesskey="/"
                                dir="auto" autocomplete="off" autocapitalize="off" spellcheck="false" required;
                        }
                        p.who {
                            span { span.hidden { "This process: " } (shown(&self.node)) }
                            @if let Some(operator) = &self.operator {
                                span.operator { span.hidden { "You: " } (shown(operator)) }
                            }
                        }
                    }
                    main #main tabindex="-1" { (main) }
                }
            }
        }
    }

    /// The path of the live numbers, without a slash at its end, because a nested router has no such path.
    pub(crate) fn home(&self) -> &str {
        if self.base.is_empty() {
            "/"
        } else {
            &self.base
        }
    }
}

fn link(address: &str, text: &str, is_here: bool) -> Markup {
    let here = is_here.then_some("page");
    html! { a href=(address) aria-current=[here] { (text) } }
}
