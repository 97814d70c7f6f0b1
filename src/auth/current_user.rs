//! The extractor for the user who has logged in: [`CurrentUser`].

use std::{fmt, ops::Deref, str::FromStr};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::{
    auth::challenge::unauthenticated,
    error::Error,
    http::extract::{handle, session},
    record::user,
};

/// An extractor for the id of the user who has logged in.
///
/// Without a user, the response is a 401, and the handler does not run. Use `Option<CurrentUser>` for pages
/// that are for everybody. To redirect visitors to a log-in page, and for whole routers, use
/// [`RequireUser`](crate::RequireUser).
///
/// `Id` is the type that was given to [`Session::log_in`](crate::Session::log_in): a string, an integer or a
/// `Uuid`.
///
/// ```
/// use cloakroom::CurrentUser;
///
/// async fn orders(CurrentUser(user): CurrentUser<u64>) -> String {
///     format!("the orders of user {user}")
/// }
///
/// async fn home(user: Option<CurrentUser>) -> String {
///     match user {
///         Some(CurrentUser(name)) => format!("Hello, {name}"),
///         None => "Hello".to_owned(),
///     }
/// }
/// ```
///
/// Extracting it loads the session, so it counts as activity. If the layer has
/// [`user_stamp`](crate::SessionLayer::user_stamp), it compares the user's credentials, and a user whose
/// credentials have changed counts as logged out. If the current `tracing` span has a field `user.id`, the
/// crate records the id there.
///
/// # Rejections
///
/// - 401 if nobody has logged in, with a challenge for each [transport](crate::SessionLayer::transport) that the
///   layer accepts: see [`RequireUser`](crate::RequireUser#challenges).
/// - 500 if the id does not parse as an `Id`: that is a mistake in the program, and another log-in would not help.
/// - Otherwise the rejections of the extractor [`Session`](crate::Session).
///
/// ([Rule](crate#rules) U2.)
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CurrentUser<Id = String>(
    /// The user's id.
    pub Id,
);

impl<Id: FromStr> CurrentUser<Id> {
    async fn find(parts: &Parts) -> Result<Option<Self>, Error> {
        let user = session(parts).await?.current_user().await?;
        let id = user.as_deref().map(user::parse).transpose()?;
        Ok(id.map(Self))
    }
}

impl<Id: FromStr + Send, S: Sync> FromRequestParts<S> for CurrentUser<Id> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match Self::find(parts).await? {
            Some(user) => Ok(user),
            None => Err(unauthenticated(handle(parts)?)),
        }
    }
}

impl<Id: FromStr + Send, S: Sync> OptionalFromRequestParts<S> for CurrentUser<Id> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        Self::find(parts).await
    }
}

impl<Id> Deref for CurrentUser<Id> {
    type Target = Id;

    fn deref(&self) -> &Id {
        &self.0
    }
}

/// Does not show the id.
impl<Id> fmt::Debug for CurrentUser<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentUser").finish_non_exhaustive()
    }
}
