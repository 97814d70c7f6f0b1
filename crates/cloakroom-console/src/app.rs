//! The state that the handlers share, [`App`], and the parts of a request that they need, [`Visit`].

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use cloakroom::Sessions;

use crate::{
    answer::{Failure, page},
    counts::Counts,
    jobs::Jobs,
    live::Live,
    pages::{Frame, failure},
};

/// The state that the handlers share.
pub(crate) struct App {
    pub(crate) live: Arc<Live>,
    pub(crate) sessions: Sessions,
    pub(crate) counts: Arc<Counts>,
    pub(crate) shows_values: bool,
    pub(crate) jobs: Jobs,
    /// The path of the console as browsers see it, if it was set.
    pub(crate) base: Option<String>,
}

/// The operator of a request, the console's path, and the kind of the response.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) frame: Frame,
    pub(crate) operator: Arc<str>,
    pub(crate) wants_json: bool,
}

impl Visit {
    pub(crate) fn fail(&self, reason: impl Into<Failure>) -> Response {
        let reason = reason.into();
        if self.wants_json {
            return reason.json();
        }
        let body = page(failure::page(&self.frame, &reason));
        (reason.status, body).into_response()
    }
}
