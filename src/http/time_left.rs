//! How long a session has left, for a page that warns before it ends: [`TimeLeft`].

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header, request::Parts};

use crate::{
    clock::{Clock as _, Timestamp},
    error::Error,
    http::{extract::handle, headers::NO_STORE},
    session::handle::SessionHandle,
};

/// An extractor for the time that the session has left. It is also a JSON response.
///
/// Let a page ask for it every minute, and warn before the session ends. It does not count as activity, so such
/// requests do not keep the session alive.
///
/// ```
/// use axum::{Router, routing::get};
/// use cloakroom::{SessionLayer, TimeLeft};
///
/// let app: Router = Router::new()
///     .route("/session", get(async |left: TimeLeft| left))
///     .layer(SessionLayer::default());
/// ```
///
/// The response is `{"logged_in":true,"seconds_left":540}`. `seconds_left` is `null` if the session never ends by
/// itself, and 0 if there is no session. It may be too low by up to the layer's
/// [`touch_after`](crate::SessionLayer::touch_after), and is never too high. ([Rule](crate#rules) U8.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeLeft {
    /// Whether a user has logged in.
    pub logged_in: bool,
    /// Whole seconds until the session expires if no request uses it. 0 without a session. `None` if it never expires.
    pub seconds_left: Option<u64>,
}

impl TimeLeft {
    /// The time that the request's session has left. It calls [`peek`](SessionHandle::peek).
    ///
    /// # Errors
    ///
    /// The same as [`peek`](SessionHandle::peek).
    pub async fn of(handle: &SessionHandle) -> Result<Self, Error> {
        let session = handle.peek().await?;
        let now = handle.shared().config.clock.now();
        Ok(Self {
            logged_in: session
                .as_ref()
                .is_some_and(|session| session.user().is_some()),
            seconds_left: session.map_or(Some(0), |session| {
                let deadline = Timestamp::from(session.expires_at()?);
                Some(deadline.since(now).as_secs())
            }),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for TimeLeft {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::of(handle(parts)?).await
    }
}

impl IntoResponse for TimeLeft {
    fn into_response(self) -> Response {
        let left = self.seconds_left.map(|seconds| seconds.to_string());
        let left = left.as_deref().unwrap_or("null");
        let body = format!(
            r#"{{"logged_in":{},"seconds_left":{left}}}"#,
            self.logged_in
        );
        let json = HeaderValue::from_static("application/json");
        let headers = [
            (header::CONTENT_TYPE, json),
            (header::CACHE_CONTROL, NO_STORE),
        ];
        (headers, body).into_response()
    }
}
