//! The response headers of a session: `Set-Cookie`, `Vary`, `Cache-Control`.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tracing::warn;

use crate::{
    commit::{Cookie, Failed, ResponseHead},
    config::Config,
    cookie::{Transport, TransportIndex, has_header},
    http::clear_site_data::{clear, keep_cookies},
    record::token_keys,
    state::shared::Shared,
};

/// How long a client should wait before it asks again, in seconds.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const COOKIE: HeaderValue = HeaderValue::from_static("Cookie");
const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// Headers other than Cache-Control that tell shared caches what to store. Headers that end in
/// `-cdn-cache-control` do too.
const CDN_HEADERS: [&str; 5] = [
    "cdn-cache-control",
    "surrogate-control",
    "edge-control",
    "x-accel-expires",
    "x-litespeed-cache-control",
];

/// Headers that the 503 keeps: they reveal nothing about the lost response, or a browser needs them to let a page
/// read the 503. Headers that begin with `access-control-` are kept too.
const KEPT_HEADERS: [&str; 17] = [
    "alt-svc",
    "content-security-policy",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "permissions-policy",
    "referrer-policy",
    "server",
    "strict-transport-security",
    "timing-allow-origin",
    "traceresponse",
    "vary",
    "x-content-type-options",
    "x-correlation-id",
    "x-frame-options",
    "x-request-id",
];

/// Adds the token and the cache headers to `headers`.
pub(crate) fn apply(headers: &mut HeaderMap, head: &ResponseHead, shared: &Shared) {
    let config = &*shared.config;
    if !head.is_used {
        return;
    }
    if head.is_left && !config.clear_site_data.is_empty() {
        let issues = matches!(head.cookie, Cookie::Issue(..));
        let sets_others = has_header(headers, header::SET_COOKIE);
        clear(headers, &config.clear_site_data, issues || sets_others);
    }
    let in_header = matches!(head.cookie, Cookie::Issue(..)) && !sets_cookie(head, shared);
    let sets_cookie = !matches!(head.cookie, Cookie::None);
    if sets_cookie {
        set_token(headers, head.cookie, shared);
    }
    if head.has_user && config.no_store_for_users {
        set_no_store(headers, config);
    }
    if config.cache_headers {
        vary_on_token_headers(headers, shared);
        if in_header {
            // Even in the visitor's own cache: clients take a token from any response that has one.
            set_no_store(headers, config);
        } else if sets_cookie {
            forbid_caching(headers, config);
        } else if head.is_personal && !has_header(headers, header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, PRIVATE);
        }
    }
}

/// Whether the response sets the session cookie, which the browser is to send back.
pub(crate) fn sets_cookie(head: &ResponseHead, shared: &Shared) -> bool {
    let transports = &shared.config.transports;
    matches!(head.cookie, Cookie::Issue(..))
        && (transports.is_cookie_only()
            || *transports.get(shared.transport(&shared.state())) == Transport::Cookie)
}

/// Issues or removes the token, by the transport that this request gets it by.
fn set_token(headers: &mut HeaderMap, cookie: Cookie, shared: &Shared) {
    if let Cookie::None = cookie {
        return;
    }
    let config = &*shared.config;
    match (cookie, header_transport(cookie, shared)) {
        (Cookie::Issue(token, max_age), None) => {
            let cookie = (config.cookie).issue(&token, config.token_keys.as_ref(), max_age);
            config.cookie.set(headers, cookie);
            keep_cookies(headers);
            (config.cookie).remove_former(headers, &shared.token_headers);
        }
        (Cookie::Issue(token, _), Some(index)) => {
            let token = token_keys::write(&token, config.token_keys.as_ref());
            config.transports.set(headers, index, &token);
        }
        (Cookie::Remove, None) => config.cookie.remove(headers),
        (Cookie::Remove, Some(index)) => config.transports.set(headers, index, b""),
        (Cookie::None, _) => {}
    }
}

/// The transport of this request's token. `None` for the cookie.
fn header_transport(cookie: Cookie, shared: &Shared) -> Option<TransportIndex> {
    let transports = &shared.config.transports;
    if transports.is_cookie_only() {
        return None;
    }
    let index = match cookie {
        Cookie::Remove => shared.state().presented_by.unwrap_or_default(),
        Cookie::Issue(..) | Cookie::None => shared.transport(&shared.state()),
    };
    (*transports.get(index) != Transport::Cookie).then_some(index)
}

/// The empty response that replaces one whose session cannot be kept (rule F2).
pub(crate) fn unavailable<B: Default>(
    lost: &Response<B>,
    failed: Failed,
    shared: &Shared,
) -> Response<B> {
    let config = &*shared.config;
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    for (name, value) in lost.headers() {
        let is_kept = KEPT_HEADERS.contains(&name.as_str());
        if is_kept || name.as_str().starts_with("access-control-") {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    set_token(headers, failed.cookie, shared);
    if failed.is_left {
        clear(headers, &config.clear_site_data, false);
    }
    response.extensions_mut().insert(failed.error);
    response
}

/// Makes the response `no-store`, and removes the headers for CDNs (rule U7).
fn set_no_store(headers: &mut HeaderMap, config: &Config) {
    let is_no_store = |value: &HeaderValue| {
        directives(value.as_bytes()).any(|name| name.eq_ignore_ascii_case(b"no-store"))
    };
    if !headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .any(is_no_store)
    {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    remove_cdn_headers(headers, config, "removed: the response is for a user");
}

/// Adds a name to `Vary` (rule H2).
pub(crate) fn vary_on(headers: &mut HeaderMap, header: HeaderValue) {
    if !has_header(headers, header::VARY) {
        headers.insert(header::VARY, header);
        return;
    }
    let mut merged = Vec::new();
    for value in headers.get_all(header::VARY) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name == b"*" || name.eq_ignore_ascii_case(header.as_bytes()) {
                return;
            }
        }
        if !value.is_empty() {
            merged.extend_from_slice(value.as_bytes());
            merged.extend_from_slice(b", ");
        }
    }
    merged.extend_from_slice(header.as_bytes());
    if let Ok(merged) = HeaderValue::from_bytes(&merged) {
        headers.insert(header::VARY, merged);
    }
}

/// Adds to `Vary` the headers that were searched for a token (rule H2).
fn vary_on_token_headers(headers: &mut HeaderMap, shared: &Shared) {
    let transports = &shared.config.transports;
    if transports.is_cookie_only() {
        return vary_on(headers, COOKIE);
    }
    let found = shared.state().presented_by;
    for name in transports.searched(found) {
        vary_on(headers, HeaderValue::from(name));
    }
}

/// Makes the response `no-store`, and removes the headers for CDNs (rule H1).
fn forbid_caching(headers: &mut HeaderMap, config: &Config) {
    let forbids =
        |value: &HeaderValue| directives(value.as_bytes()).any(|name| forbids_sharing(&name));
    if !has_header(headers, header::CACHE_CONTROL)
        || !headers.get_all(header::CACHE_CONTROL).iter().any(forbids)
    {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    remove_cdn_headers(
        headers,
        config,
        "removed: the response sets a session cookie",
    );
}

/// Removes the headers that tell CDNs to store the response whatever `Cache-Control` says.
fn remove_cdn_headers(headers: &mut HeaderMap, config: &Config, why: &str) {
    if !headers.keys().any(is_for_cdns) {
        return;
    }
    let keys = headers.keys().filter(|name| is_for_cdns(name));
    for name in keys.cloned().collect::<Vec<_>>() {
        headers.remove(&name);
        if let Some(suppressed) = config.failures.cdn_header.admit() {
            warn!(header = %name, suppressed, "{why}");
        }
    }
}

fn is_for_cdns(name: &HeaderName) -> bool {
    let name = name.as_str();
    CDN_HEADERS.contains(&name) || name.ends_with("-cdn-cache-control")
}

/// Whether a directive, as a whole, keeps responses out of shared caches. `private="name"` does
/// not.
fn forbids_sharing(directive: &[u8]) -> bool {
    directive.eq_ignore_ascii_case(b"no-store") || directive.eq_ignore_ascii_case(b"private")
}

/// The directives of a Cache-Control value. Commas within quotes do not separate directives.
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
