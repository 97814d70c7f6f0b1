//! What a browser deletes at a log-out: [`ClearSiteData`].

use http::{HeaderMap, HeaderName, HeaderValue};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What a browser deletes of the site, for [`SessionLayer::clear_site_data`](crate::SessionLayer::clear_site_data),
/// which has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClearSiteData {
    /// Cached responses, including pages for the back button.
    Cache,
    /// All cookies of the registrable domain, including those of its subdomains and of other applications.
    Cookies,
    /// `localStorage`, IndexedDB, service workers and the like.
    Storage,
    /// Loads open pages again. Few browsers support it.
    ExecutionContexts,
}

impl ClearSiteData {
    pub(crate) fn directive(self) -> &'static str {
        match self {
            Self::Cache => "\"cache\"",
            Self::Cookies => COOKIES,
            Self::Storage => "\"storage\"",
            Self::ExecutionContexts => "\"executionContexts\"",
        }
    }
}

const COOKIES: &str = "\"cookies\"";

/// Adds the header with these directives. Where the response `sets_cookies`, a browser would forget those as well:
/// then all cookies stay.
pub(crate) fn clear(headers: &mut HeaderMap, directives: &[&str], sets_cookies: bool) {
    let is_meant = |directive: &&&str| **directive != COOKIES || !sets_cookies;
    let directives: Vec<&str> = directives.iter().filter(is_meant).copied().collect();
    if let Ok(value) = HeaderValue::try_from(directives.join(", "))
        && !directives.is_empty()
    {
        headers.append(CLEAR_SITE_DATA, value);
    }
}
