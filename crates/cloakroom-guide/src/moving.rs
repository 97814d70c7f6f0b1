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

/// A page for users.
pub async fn protected() -> &'static str {
    "for users"
}

/// The pages to log in and out.
pub mod auth {
    use axum::Router;

    /// Empty here.
    pub fn router() -> Router {
        Router::new()
    }
}
