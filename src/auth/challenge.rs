//! The response to visitors who have not logged in, or not recently enough: [`Challenge`].

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::{
    auth::{original_uri, return_to::with_next},
    error::{Error, ErrorKind},
    http::headers::{NO_STORE, vary_on},
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
    pub(super) fn answer(self, parts: &Parts, page: Option<&str>) -> Response {
        let redirect = page
            .filter(|_| is_navigation(&parts.method, &parts.headers))
            .and_then(|page| HeaderValue::try_from(with_next(page, original_uri(parts))).ok());
        let mut response = match redirect {
            Some(location) => {
                (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
            }
            None => self.refusal(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        if page.is_some() {
            vary_on(headers, HeaderValue::from_static("Sec-Fetch-Mode"));
            vary_on(headers, HeaderValue::from_static("Accept"));
        }
        response
    }

    fn refusal(self) -> Response {
        match self {
            Self::LogIn => {
                Error::new(ErrorKind::Unauthenticated, "nobody has logged in").into_response()
            }
            // RFC 9470.
            Self::Confirm(most) => {
                let challenge = format!(
                    "Bearer error=\"insufficient_user_authentication\", \
                     error_description=\"A more recent authentication is required\", max_age=\"{}\"",
                    most.as_secs()
                );
                let headers = [(header::WWW_AUTHENTICATE, challenge)];
                let body = "Please confirm who you are.";
                (StatusCode::UNAUTHORIZED, headers, body).into_response()
            }
        }
    }
}

/// Whether a browser asks for a page to show.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    if !matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => text(mode) == "navigate",
        None => headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|accepted| text(accepted).contains("text/html")),
    }
}
