//! The layer: [`TowerSessionsLayer`].

use std::borrow::Cow;

use serde_json::Value;
use tower_layer::Layer;

use crate::{service::TowerSessionsService, user::UserFrom};

/// Gives every request a `tower_sessions::Session` that cloakroom stores.
///
/// It replaces tower-sessions' `SessionManagerLayer`. Put it inside a [`SessionLayer`](cloakroom::SessionLayer), which has the
/// store, the cookie and the timeouts:
///
/// ```
/// use axum::{Router, http::StatusCode, routing::get};
/// use cloakroom::SessionLayer;
/// use cloakroom_tower_sessions::TowerSessionsLayer;
/// use tower_sessions::Session; // 0.14 or 0.15
///
/// async fn handler(session: Session) -> Result<String, StatusCode> {
///     let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
///     let visits: u64 = session.get("visits").await.map_err(failed)?.unwrap_or(0);
///     session.insert("visits", visits + 1).await.map_err(failed)?;
///     Ok(format!("visit {}", visits + 1))
/// }
///
/// let app: Router = Router::new()
///     .route("/", get(handler))
///     .layer(TowerSessionsLayer::new())
///     .layer(SessionLayer::default());
/// ```
///
/// A request gets a session of each tower-sessions version with its feature on. All of them, and cloakroom's own
/// [`Session`](cloakroom::Session), are views of one session. The [crate's page](crate) says when each shows the changes of
/// the others.
///
/// Without a `SessionLayer` around it, every request is answered with an empty 500, and the log says why.
#[derive(Clone, Debug, Default)]
pub struct TowerSessionsLayer {
    user: Option<UserFrom>,
}

impl TowerSessionsLayer {
    /// A layer that binds no user.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds the user that the value of `key` names to the session. Default: no user is bound.
    ///
    /// `user` gets the value and returns the user's id, or `None` if nobody is logged in. A session with a user is
    /// listed as theirs, can be revoked, and counts for the limit of sessions per user. For axum-login, there is
    /// [`axum_login_user`](crate::axum_login_user).
    ///
    /// The effect depends on how a request changes the value:
    ///
    /// - It names a user: [`log_in`](cloakroom::Session::log_in). The session gets a new id, and its absolute timeout starts again.
    /// - It names another user than before: `log_in` too. Unlike in tower-sessions, the new session does not have the former
    ///   user's values. The values that the request has set are kept.
    /// - It no longer names a user: the session is destroyed, and a new one begins with the remaining values.
    /// - It names the same user as before: nothing happens.
    ///
    /// ```
    /// use cloakroom_tower_sessions::TowerSessionsLayer;
    ///
    /// let layer = TowerSessionsLayer::new().user_from("axum-login.data", |data| {
    ///     data.get("user_id")?.as_i64().map(|id| id.to_string())
    /// });
    /// ```
    #[must_use]
    pub fn user_from(
        mut self,
        key: impl Into<Cow<'static, str>>,
        user: impl Fn(&Value) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.user = Some(UserFrom::new(key, user));
        self
    }
}

impl<S> Layer<S> for TowerSessionsLayer {
    type Service = TowerSessionsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TowerSessionsService::new(inner, self.user.clone())
    }
}
