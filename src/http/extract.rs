//! Extractors for axum: [`Session`], `Option<Session>`, [`SessionData`], [`SessionHandle`];
//! and [`Error`] as a response.

use std::{fmt, ops::Deref};

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind},
    http::headers::RETRY_AFTER,
    session::{Session, handle::SessionHandle},
};

impl<S: Sync> FromRequestParts<S> for SessionHandle {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        handle(parts).cloned()
    }
}

fn handle(parts: &Parts) -> Result<&SessionHandle, Error> {
    parts.extensions.get().ok_or_else(|| {
        Error::new(
            ErrorKind::MissingLayer,
            "no session layer: add `.layer(cloakroom::SessionLayer::default())` to the router, \
             after the routes that use sessions",
        )
    })
}

/// Loads the visitor's session, or a new one: [`SessionHandle::load`].
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        handle(parts)?.load().await
    }
}

/// `Some` only where the visitor has a live session. Counts as activity.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        let session = handle(parts)?.load().await?;
        Ok((!session.is_new()).then_some(session))
    }
}

/// A value that has its place in the session.
///
/// ```
/// use cloakroom::SessionValue;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     items: Vec<String>,
/// }
///
/// impl SessionValue for Cart {
///     const KEY: &str = "cart";
/// }
/// ```
pub trait SessionValue: Serialize + DeserializeOwned + Default + Send + Sync + 'static {
    /// The key it is kept under.
    const KEY: &str;
}

/// A typed view of one value of the session: reads as the value, or as its
/// default where the session has none.
///
/// ```
/// # use cloakroom::SessionValue;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Cart { items: Vec<String> }
/// # impl SessionValue for Cart { const KEY: &str = "cart"; }
/// use cloakroom::{Error, SessionData};
///
/// async fn add(mut cart: SessionData<Cart>, item: String) -> Result<String, Error> {
///     cart.update(move |cart| cart.items.push(item.clone()))?;
///     Ok(format!("{} items", cart.items.len()))
/// }
/// ```
pub struct SessionData<T> {
    session: Session,
    value: T,
}

impl<T: SessionValue> SessionData<T> {
    /// Changes the value. Replayed like every [`Session::update`]: no
    /// concurrent change is lost.
    ///
    /// # Errors
    ///
    /// As [`Session::update`]; the value is unchanged then.
    pub fn update(&mut self, change: impl Fn(&mut T) + Send + Sync + 'static) -> Result<(), Error> {
        self.value = self.session.update(T::KEY, move |value: Option<T>| {
            let mut value = value.unwrap_or_default();
            change(&mut value);
            value
        })?;
        Ok(())
    }
}

impl<T> SessionData<T> {
    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The value as it is.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for SessionData<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> fmt::Debug for SessionData<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl<T: SessionValue, S: Sync> FromRequestParts<S> for SessionData<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let session = <Session as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        let value = session.get(T::KEY)?.unwrap_or_default();
        Ok(Self { session, value })
    }
}

/// 503 with `Retry-After` where the same request may succeed later, 400 for a bad cursor, else 500;
/// the body says no more than that, but for a missing layer, which no visitor ever causes.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.kind() == ErrorKind::MissingLayer {
            tracing::error!("{self}");
            return (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response();
        }
        tracing::debug!(error = %self, "a session error became a response");
        if self.is_transient() {
            let headers = [(header::RETRY_AFTER, RETRY_AFTER)];
            let body = "The service is not available now. Please try again later.";
            (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
        } else if self.kind() == ErrorKind::BadCursor {
            let body = "This page of the list does not exist.";
            (StatusCode::BAD_REQUEST, body).into_response()
        } else {
            let body = "Something went wrong on our side.";
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}
