//! The application of the page about moving from tower-sessions.

use std::convert::Infallible;

use axum_login::{AuthUser, AuthnBackend, UserId};

/// A user with a number.
#[derive(Clone, Debug)]
pub struct User(i64);

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        self.0
    }

    fn session_auth_hash(&self) -> &[u8] {
        &[]
    }
}

/// Everybody may log in, with any number.
#[derive(Clone, Debug)]
pub struct Backend;

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = i64;
    type Error = Infallible;

    async fn authenticate(&self, number: i64) -> Result<Option<User>, Infallible> {
        Ok(Some(User(number)))
    }

    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, Infallible> {
        Ok(Some(User(*id)))
    }
}

/// A page for users, with the messages for them.
pub async fn protected(messages: axum_messages::Messages) -> String {
    let messages = messages.map(|message| message.to_string());
    format!("for users: {}", messages.collect::<Vec<_>>().join(", "))
}

/// The pages to log in and out.
pub mod auth {
    use axum::{Router, http::StatusCode, routing::post};
    use axum_login::AuthSession;
    use axum_messages::Messages;

    use super::Backend;

    /// Logs in, without a question.
    pub fn router() -> Router {
        Router::new().route("/login", post(log_in))
    }

    async fn log_in(messages: Messages, mut auth: AuthSession<Backend>) -> StatusCode {
        let Ok(Some(user)) = auth.authenticate(7).await else {
            return StatusCode::UNAUTHORIZED;
        };
        if auth.login(&user).await.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        messages.success("Welcome!");
        StatusCode::NO_CONTENT
    }
}
