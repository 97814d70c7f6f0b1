//! What the response head says about the session: `Set-Cookie`, `Vary`, `Cache-Control`.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tracing::warn;

use crate::{
    commit::{Cookie, Failed, Outcome},
    config::Config,
};

/// How long a client should wait before it asks again, in seconds.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// Headers by which shared caches are told what Cache-Control does not say.
const CDN_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

/// Puts the cookie and the cache headers among `headers`.
pub(crate) fn dress(headers: &mut HeaderMap, outcome: Outcome, config: &Config) {
    if !outcome.is_used {
        return;
    }
    let sets_cookie = !matches!(outcome.cookie, Cookie::None);
    match outcome.cookie {
        Cookie::None => {}
        Cookie::Issue(token, max_age) => {
            let cookie = config.cookie.issue(&token, max_age);
            config.cookie.set(headers, cookie);
        }
        Cookie::Remove => config.cookie.remove(headers),
    }
    if config.cache_headers {
        vary_on_cookie(headers);
        if sets_cookie {
            keep_from_caches(headers);
        } else if outcome.is_live && !has(headers, header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, PRIVATE);
        }
    }
}

/// The empty response in place of one whose session could not be kept (rule F2).
pub(crate) fn unavailable<B: Default>(failed: &Failed, config: &Config) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if failed.removes_cookie {
        config.cookie.remove(headers);
    }
    response
}

/// Rule H2.
fn vary_on_cookie(headers: &mut HeaderMap) {
    const COOKIE: HeaderValue = HeaderValue::from_static("Cookie");
    if !has(headers, header::VARY) {
        headers.insert(header::VARY, COOKIE);
        return;
    }
    let mut merged = Vec::new();
    for value in headers.get_all(header::VARY) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name == b"*" || name.eq_ignore_ascii_case(COOKIE.as_bytes()) {
                return;
            }
        }
        if !value.is_empty() {
            merged.extend_from_slice(value.as_bytes());
            merged.extend_from_slice(b", ");
        }
    }
    merged.extend_from_slice(COOKIE.as_bytes());
    if let Ok(merged) = HeaderValue::from_bytes(&merged) {
        headers.insert(header::VARY, merged);
    }
}

/// Rule H1.
fn keep_from_caches(headers: &mut HeaderMap) {
    let forbids =
        |value: &HeaderValue| directives(value.as_bytes()).any(|name| forbids_sharing(&name));
    if !has(headers, header::CACHE_CONTROL)
        || !headers.get_all(header::CACHE_CONTROL).iter().any(forbids)
    {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    if !headers.keys().any(|name| CDN_HEADERS.contains(name)) {
        return;
    }
    for name in CDN_HEADERS {
        if headers.remove(&name).is_some() {
            warn!(header = %name, "removed: the response sets a session cookie");
        }
    }
}

/// A glance over the few names that there are costs less than hashing this one.
pub(crate) fn has(headers: &HeaderMap, wanted: HeaderName) -> bool {
    headers.keys().any(|name| *name == wanted)
}

/// Whether a directive, as a whole, keeps responses out of shared caches. `private="name"` does not.
fn forbids_sharing(directive: &[u8]) -> bool {
    directive.eq_ignore_ascii_case(b"no-store") || directive.eq_ignore_ascii_case(b"private")
}

/// The directives of a Cache-Control value; commas inside quotes separate nothing.
fn directives(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    value
        .split(move |byte| {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                _ => {}
            }
            *byte == b',' && !is_quoted
        })
        .map(|directive| directive.trim_ascii().to_vec())
}
