//! The response to visitors who have not logged in, or not recently enough: [`Challenge`].
//!
//! A 401 says how a client may authenticate (RFC 9110, section 15.5.2). Of the transports, only `Bearer` has a registered
//! scheme.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::{
    auth::{original_uri, return_to::with_next},
    cookie::Transport,
    error::Error,
    http::headers::{NO_STORE, vary_on},
    session::handle::SessionHandle,
};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What is missing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Challenge {
    /// A log-in.
    LogIn,
    /// A log-in or a confirmation that is not older than this.
    Confirm(Duration),
}

impl Challenge {
    /// A redirect to `page` if the browser navigates, and a 401 otherwise.
    pub(super) fn answer(
        self,
        handle: &SessionHandle,
        parts: &Parts,
        page: Option<&str>,
    ) -> Response {
        let redirect = page
            .filter(|_| is_navigation(&parts.method, &parts.headers))
            .and_then(|page| HeaderValue::try_from(with_next(page, original_uri(parts))).ok());
        let mut response = match redirect {
            Some(location) => {
                (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
            }
            None => self.refusal(handle),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        if page.is_some() {
            vary_on(headers, HeaderValue::from_static("Sec-Fetch-Mode"));
            vary_on(headers, HeaderValue::from_static("Accept"));
        }
        response
    }

    fn refusal(self, handle: &SessionHandle) -> Response {
        match self {
            Self::LogIn => unauthenticated(handle).into_response(),
            Self::Confirm(most) => {
                let headers = [(header::WWW_AUTHENTICATE, confirmation(handle, most))];
                let body = "Please confirm who you are.";
                (StatusCode::UNAUTHORIZED, headers, body).into_response()
            }
        }
    }
}

/// Nobody has logged in. A challenge for each transport that the layer accepts.
pub(super) fn unauthenticated(handle: &SessionHandle) -> Error {
    let shared = handle.shared();
    let rejected = {
        let state = shared.state();
        let is_open = state.stored.is_some();
        state.presented_by.filter(|_| !is_open)
    };
    let config = &shared.config;
    let challenges = config.transports.iter().map(|(index, transport)| {
        let mut challenge = challenge(handle, transport);
        if rejected == Some(index) {
            challenge += ", error=\"invalid_token\"";
        }
        value(challenge)
    });
    Error::unauthenticated(challenges.collect())
}

/// The challenge of RFC 9470. The token is valid, so there is a challenge only for the transport that brought it.
fn confirmation(handle: &SessionHandle, most: Duration) -> HeaderValue {
    let shared = handle.shared();
    let index = {
        let state = shared.state();
        let presented = state.presented_by;
        presented.unwrap_or_else(|| shared.transport(&state))
    };
    let challenge = challenge(handle, shared.config.transports.get(index));
    value(format!(
        "{challenge}, error=\"insufficient_user_authentication\", \
         error_description=\"A more recent authentication is required\", max_age=\"{}\"",
        most.as_secs()
    ))
}

fn challenge(handle: &SessionHandle, transport: &Transport) -> String {
    let realm = handle.shared().config.realm().name().unwrap_or_default();
    let realm = quoted(realm);
    match transport {
        Transport::Cookie => format!("Cookie realm={realm}"),
        Transport::Bearer => format!("Bearer realm={realm}"),
        Transport::Header(name) => format!("Header realm={realm}, name=\"{name}\""),
    }
}

/// The text as a quoted-string. Characters that a header cannot have are left out, because the application chooses the
/// name of its realm.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars().filter(|it| matches!(it, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + "\""
}

fn value(challenge: String) -> HeaderValue {
    HeaderValue::try_from(challenge).expect("a challenge is visible ASCII")
}

/// Whether a browser asks for a page to show.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    if !matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => text(mode) == "navigate",
        None => headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|accepted| accepts_html(&text(accepted))),
    }
}

/// Whether one of the media ranges in a value of `Accept` is `text/html`. With the weight 0 it is refused.
fn accepts_html(accepted: &str) -> bool {
    accepted.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next() == Some("text/html");
        let is_refused = parts
            .filter_map(|parameter| parameter.split_once('='))
            .any(|(name, weight)| name.trim() == "q" && weight.trim().parse() == Ok(0.0_f32));
        is_html && !is_refused
    })
}
