//! Responses: a page or JSON, and errors.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use cloakroom::{Error, ErrorKind, SessionSummary};
use maud::Markup;
use serde_json::{Value, json};

use crate::format::moment;

/// Whether a client asks for JSON rather than a page.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let accepts = accepts.filter_map(|accept| accept.to_str().ok());
    let mut kinds = accepts.flat_map(|accept| accept.split(','));
    let mut first = kinds.find_map(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        match kind {
            "application/json" => Some(true),
            "text/html" | "application/xhtml+xml" => Some(false),
            _ => None,
        }
    });
    first.take().unwrap_or(false)
}

pub(crate) fn page(page: Markup) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (headers, page.into_string()).into_response()
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
        }
    }

    pub(crate) fn not_valid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "This address is not valid", detail)
    }

    pub(crate) fn no_session(text: &str) -> Self {
        let detail = if text.parse::<cloakroom::SessionId>().is_ok() {
            "It has ended, has expired, or went on under another id."
        } else {
            "An id looks like 67e55044-10b1-426f-9247-bb680e5fe0c8."
        };
        Self::new(StatusCode::NOT_FOUND, "There is no such session", detail)
    }

    pub(crate) fn json(&self) -> Response {
        let error = format!("{}. {}", self.title, self.detail);
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The error's text names the call, and neither a session's data nor a secret.
        let (status, title, detail) = match error.kind() {
            ErrorKind::BadCursor => (
                StatusCode::BAD_REQUEST,
                "This page of the list does not exist",
                "The address is incomplete, or of another list. Begin at the first page."
                    .to_owned(),
            ),
            ErrorKind::EmptyFilter => (
                StatusCode::BAD_REQUEST,
                "Nothing says which sessions are meant",
                "Choose a user, a kind or a time first.".to_owned(),
            ),
            ErrorKind::Unsupported => (
                StatusCode::NOT_IMPLEMENTED,
                "The store cannot do this",
                "This kind of store does not tell which sessions it has. One whose id is known can be looked at and \
                 ended all the same."
                    .to_owned(),
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The store does not answer",
                format!("Try again in a moment. What it says: {error}."),
            ),
        };
        Self::new(status, title, detail)
    }
}

/// A session as JSON; its values only if they may be shown.
pub(crate) fn session(session: &SessionSummary, shows_values: bool) -> Value {
    let mut object = json!({
        "id": session.id().to_string(),
        "user": session.user(),
        "created_at": moment(session.created_at()),
        "begun_at": moment(session.begun_at()),
        "authenticated_at": session.authenticated_at().map(moment),
        "last_seen_at": moment(session.last_seen_at()),
        "expires_at": session.expires_at().map(moment),
        "data_bytes": session.data_bytes(),
        "labels": session.labels().collect::<BTreeMap<_, _>>(),
        "keys": session.keys(),
    });
    if shows_values {
        object["values"] = values(session).into_iter().collect();
    }
    object
}

/// The keys with their values.
pub(crate) fn values(session: &SessionSummary) -> Vec<(String, Value)> {
    let value = |key: &str| session.get::<Value>(key).ok().flatten().unwrap_or_default();
    let keys = session.keys().into_iter();
    keys.map(|key| {
        let value = value(&key);
        (key, value)
    })
    .collect()
}
