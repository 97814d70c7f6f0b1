//! The data that a browser deletes at a log-out: [`ClearSiteData`].

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cookie::has_header;

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// A kind of site data that the browser deletes at a log-out, for
/// [`SessionLayer::clear_site_data`](crate::SessionLayer::clear_site_data).
///
/// ```
/// use cloakroom::{ClearSiteData, SessionLayer};
///
/// let layer = SessionLayer::default()
///     .clear_site_data([ClearSiteData::Cache, ClearSiteData::Storage]);
/// ```
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

/// Adds the header with these directives. If the response `sets_cookies`, `"cookies"` is left out, because the browser
/// would delete the new ones too.
pub(crate) fn clear(headers: &mut HeaderMap, directives: &[&str], sets_cookies: bool) {
    let is_meant = |directive: &&&str| **directive != COOKIES || !sets_cookies;
    let directives: Vec<&str> = directives.iter().filter(is_meant).copied().collect();
    if let Ok(value) = HeaderValue::try_from(directives.join(", "))
        && !directives.is_empty()
    {
        headers.append(CLEAR_SITE_DATA, value);
    }
}

/// Removes `"cookies"` from the headers that a layer within this one has added, because this layer sets a cookie.
pub(crate) fn keep_cookies(headers: &mut HeaderMap) {
    if !has_header(headers, CLEAR_SITE_DATA) {
        return;
    }
    let values = headers.get_all(CLEAR_SITE_DATA).into_iter().cloned();
    let values: Vec<_> = values.collect();
    headers.remove(CLEAR_SITE_DATA);
    for value in values {
        // One that is no text has none of our directives.
        let Ok(text) = value.to_str() else {
            headers.append(CLEAR_SITE_DATA, value);
            continue;
        };
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        clear(headers, &directives, true);
    }
}
