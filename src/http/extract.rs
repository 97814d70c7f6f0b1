//! The axum extractors [`Session`], `Option<Session>`, [`SessionData`] and [`SessionHandle`], and
//! [`Error`] as a response.

use std::{fmt, ops::Deref};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind},
    http::headers::{NO_STORE, RETRY_AFTER},
    session::{Session, flash::Flash, handle::SessionHandle},
};

/// The session, not loaded yet. Rejects only if there is no session layer.
impl<S: Sync> FromRequestParts<S> for SessionHandle {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        handle(parts).cloned()
    }
}

pub(crate) fn handle(parts: &Parts) -> Result<&SessionHandle, Error> {
    parts.extensions.get().ok_or_else(|| {
        Error::new(
            ErrorKind::MissingLayer,
            "no session layer: add `.layer(cloakroom::SessionLayer::default())` to the router, \
             after the routes that use sessions",
        )
    })
}

/// The session of the request, loaded.
pub(crate) async fn session(parts: &Parts) -> Result<Session, Error> {
    handle(parts)?.load().await
}

/// The visitor's session, or a new one. Loads it as [`SessionHandle::load`] does.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        session(parts).await
    }
}

/// The visitor's session. `None` if they have none, or it has expired. Loads it as
/// [`SessionHandle::load`] does, so it counts as activity.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        let session = session(parts).await?;
        Ok((!session.is_new()).then_some(session))
    }
}

/// The messages of the visitor's session. Rejects as [`Session`] does.
impl<T: Serialize + DeserializeOwned, S: Sync> FromRequestParts<S> for Flash<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(Self::of(&session(parts).await?))
    }
}

/// A type that is kept under one key of the session, for [`SessionData`].
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
    /// The key that the value is kept under.
    const KEY: &str;
}

/// An extractor for one value of the session.
///
/// It dereferences to the value, or to its default if the session has none. Extracting it loads
/// the session. It rejects a request if the session cannot be loaded, or if the value is not a `T`.
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
    /// Changes the value, as [`Session::update`] does: if another request changed the value at the
    /// same time, `change` runs again on the latest one.
    ///
    /// # Errors
    ///
    /// The same as [`Session::update`]. The value is unchanged then.
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
    /// The session that the value belongs to.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The value.
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

/// A 503 with `Retry-After` if the same request may succeed later, a 401 with `WWW-Authenticate` if a user must log
/// in, a 400 for a bad cursor or an empty filter, and otherwise a 500. The 503 and the 401 are `no-store`.
///
/// The body is a sentence for visitors, and does not contain the cause. Only a missing layer, which is a mistake in
/// the program, is explained there. The response's extensions contain the error, so that a layer can write another
/// body: see [`SessionService`](crate::SessionService).
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = respond(&self);
        response.extensions_mut().insert(self);
        response
    }
}

fn respond(error: &Error) -> Response {
    if error.kind() == ErrorKind::MissingLayer {
        tracing::error!("{error}");
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    tracing::debug!(%error, "a session error became a response");
    if error.is_transient() {
        // Some CDNs store a 503 for all visitors, if nothing forbids it.
        let headers = [
            (header::RETRY_AFTER, RETRY_AFTER),
            (header::CACHE_CONTROL, NO_STORE),
        ];
        let body = "The service is not available now. Please try again later.";
        (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
    } else if error.kind() == ErrorKind::Unauthenticated {
        let headers = [(header::CACHE_CONTROL, NO_STORE)];
        let mut response = (StatusCode::UNAUTHORIZED, headers, "Please log in.").into_response();
        for challenge in error.challenges() {
            let challenge = challenge.clone();
            response
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, challenge);
        }
        response
    } else if error.kind() == ErrorKind::BadCursor {
        let body = "This page of the list does not exist.";
        (StatusCode::BAD_REQUEST, body).into_response()
    } else if error.kind() == ErrorKind::EmptyFilter {
        let body = "This would end every session.";
        (StatusCode::BAD_REQUEST, body).into_response()
    } else {
        let body = "Something went wrong on our side.";
        (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
    }
}
