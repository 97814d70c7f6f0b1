//! Sessions of another library that continue as sessions of this crate: [`Import`].
//!
//! This file uses records and store errors, and knows no requests. The folder `commit` runs the import.
//!
//! # How a session moves over
//!
//! A request has a cookie of the other library, and no session of this crate, or an anonymous one. The crate
//! verifies the cookie, loads the other library's session, and stores it as a session of its own, with a random id and
//! secret. It also stores a *ledger entry*, a small record that says which session the old one became. Because of the
//! entry, the old session becomes exactly one new session, even with concurrent requests on several nodes and lost
//! replies.
//!
//! - The response sets a cookie of this crate. Requests with only the old cookie get the same session until the new cookie
//!   comes back, and 60 seconds longer. Later the old cookie opens nothing, so a copy of it is worthless.
//! - The new session lives as long as this layer's timeouts allow, and at most as long as the old one would have lived.
//! - The time of the log-in is unknown: [`Session::authenticated_at`](crate::Session::authenticated_at) is `None` until the
//!   user logs in again.
//! - A log-out and a log-in first delete the old session of the request's cookie. If the other library's store cannot delete
//!   it, the response is a 503.
//! - The new session belongs to the realm of the layer that imports it. If several layers over one store import from the same
//!   library, give them one [`realm`](crate::SessionLayer::realm), or the first of them takes the session for itself.
//! - The new session's token comes in a cookie. A layer whose [`transport`](crate::SessionLayer::transport) has no
//!   `Transport::Cookie` imports nothing, and neither does a request with a token in a header.
//! - The old cookie stays in the browser. The ledger entry prevents another import until the import ends.
//!
//! # Limits
//!
//! - While nodes with the other library still answer requests, a session can change there after its import. That change is
//!   lost. Send visitors with a cookie of this crate to the new nodes only, or switch all nodes at once.
//! - If a session ends on an old node at the moment when a new node reads it, it may still be imported.
//! - [`Sessions`](crate::Sessions) ends only sessions of this crate. End sessions that are not imported yet in the other
//!   library's store. If old sessions are kept, end those of the user there too: only a log-out or a log-in with the old cookie
//!   deletes the old one.
//! - An imported session has no stamp of its user. With [`user_stamp`](crate::SessionLayer::user_stamp), `CurrentUser` ends it.
//!   Set `user_stamp` when the import has ended.
//! - Until the import ends, a request with the old cookie and an anonymous session of this crate costs more store calls, because
//!   the old session may have a user: one if the anonymous session is the one that the old session became, otherwise two, and one
//!   of the other library's store if the old session has not been imported. A session with a user costs none.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::SystemTime};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Timestamp,
    error::{Error, store::StoreError},
    record::{
        data::Data,
        token::SessionId,
        value::{Json, write},
    },
};

/// Another library whose sessions continue as sessions of this crate.
/// [The module](self) describes the import and its limits.
///
/// Pass it to [`SessionLayer::import`](crate::SessionLayer::import).
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::{Duration, SystemTime}};
/// use cloakroom::{SessionLayer, import::{Import, OldSession, OldToken}, store::StoreError};
///
/// /// A library that kept user names under random cookie values.
/// struct Homemade(Mutex<HashMap<String, String>>);
///
/// impl Import for Homemade {
///     fn cookie_name(&self) -> &str {
///         "sid"
///     }
///
///     fn until(&self) -> SystemTime {
///         // Two weeks after the switch: no old session lived longer.
///         SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
///     }
///
///     fn token(&self, value: &str) -> Option<OldToken> {
///         (value.len() == 32).then(|| OldToken::new(value))
///     }
///
///     async fn load(&self, token: &OldToken) -> Result<Option<OldSession>, StoreError> {
///         let sessions = self.0.lock().unwrap();
///         let user = std::str::from_utf8(token.as_bytes()).ok().and_then(|sid| sessions.get(sid));
///         Ok(user.map(|user| OldSession::new().user(user)))
///     }
///
///     async fn delete(&self, token: &OldToken) -> Result<(), StoreError> {
///         if let Ok(sid) = std::str::from_utf8(token.as_bytes()) {
///             self.0.lock().unwrap().remove(sid);
///         }
///         Ok(())
///     }
/// }
///
/// let layer = SessionLayer::default().import(Homemade(Mutex::default()));
/// ```
pub trait Import: Send + Sync + 'static {
    /// The name of the other library's cookie.
    fn cookie_name(&self) -> &str;

    /// The end of the import. From this time on nothing is imported, and the old cookie is not read. Choose a time
    /// when the last old session has expired.
    fn until(&self) -> SystemTime;

    /// Whether the old session stays in its store after the import, so that you can go back to the other library.
    /// Default: false. A log-out and a log-in always delete it.
    fn keeps(&self) -> bool {
        false
    }

    /// A name that distinguishes the tokens of this library from those of other sources. Default: the cookie's name.
    ///
    /// Do not change it while sessions are imported. Otherwise a session could be imported twice.
    fn source(&self) -> &str {
        self.cookie_name()
    }

    /// Verifies or decrypts the cookie's value. `None` if the library did not issue it. The method does no I/O.
    ///
    /// Two values that open the same session must give the same token.
    fn token(&self, value: &str) -> Option<OldToken>;

    /// Loads the old session. `None` if there is none, it has expired, or its record cannot be read.
    ///
    /// # Errors
    ///
    /// If the library's store fails. The response is a 503 then, at each request with that cookie until [`until`](Self::until).
    fn load(
        &self,
        token: &OldToken,
    ) -> impl Future<Output = Result<Option<OldSession>, StoreError>> + Send;

    /// Deletes the old session. It is no error if there is none.
    ///
    /// # Errors
    ///
    /// If the library's store fails. A log-out and a log-in fail with 503 then.
    fn delete(&self, token: &OldToken) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The verified token of another library's session. [`Import::token`] returns it. `Debug` does not show it.
///
/// ```
/// use cloakroom::import::OldToken;
///
/// /// Accepts a session id of 32 hexadecimal digits.
/// fn token(cookie: &str) -> Option<OldToken> {
///     let is_id = cookie.len() == 32 && cookie.bytes().all(|byte| byte.is_ascii_hexdigit());
///     is_id.then(|| OldToken::new(cookie))
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OldToken(Box<[u8]>);

impl OldToken {
    /// A token with these bytes, which identify the session, such as its id.
    #[must_use]
    pub fn new(token: impl AsRef<[u8]>) -> Self {
        Self(token.as_ref().into())
    }

    /// The bytes that were passed to [`new`](Self::new).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for OldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// A session of another library. [`Import::load`] returns it. `Debug` shows neither the values nor the user.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cloakroom::{Error, import::OldSession};
///
/// fn convert(user: &str, cart: Vec<String>) -> Result<OldSession, Error> {
///     let week = Duration::from_secs(7 * 24 * 60 * 60);
///     Ok(OldSession::new()
///         .user(user)
///         .value("cart", cart)?
///         .expires_at(SystemTime::now() + week)
///         .persistent(true))
/// }
/// ```
#[derive(Clone, Default)]
pub struct OldSession {
    values: BTreeMap<String, Json>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) persistent: Option<bool>,
}

impl OldSession {
    /// An anonymous session without values and without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, for example a `serde_json::Value`.
    ///
    /// # Errors
    ///
    /// `Serialize` as for [`Session::insert`](crate::Session::insert). The size of the data is not limited here.
    pub fn value(mut self, key: impl Into<String>, value: impl Serialize) -> Result<Self, Error> {
        let key = key.into();
        let value = write(&key, &value)?;
        self.values.insert(key, value);
        Ok(self)
    }

    /// Sets the user who has logged in. Without this call the session is anonymous.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into().into_boxed_str());
        self
    }

    /// Sets when the old session would have expired. The new session does not live longer. Without this call there is no
    /// such limit.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at.into());
        self
    }

    /// Whether browsers keep the cookie when they are closed. Without this call the layer's setting applies.
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = Some(persistent);
        self
    }

    pub(crate) fn data(&self) -> Data {
        let values = self.values.iter();
        Data::from_sorted(values.map(|(key, value)| (&**key, &**value)))
    }
}

impl fmt::Debug for OldSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldSession").finish_non_exhaustive()
    }
}

/// An [`Import`] whose type is erased.
#[derive(Clone)]
pub(crate) struct DynImport(Arc<dyn Erased>);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`Import`] with boxed futures.
trait Erased: Send + Sync + 'static {
    fn cookie_name(&self) -> &str;
    fn until(&self) -> SystemTime;
    fn keeps(&self) -> bool;
    fn source(&self) -> &str;
    fn token(&self, value: &str) -> Option<OldToken>;
    fn load<'a>(&'a self, token: &'a OldToken) -> Boxed<'a, Option<OldSession>>;
    fn delete<'a>(&'a self, token: &'a OldToken) -> Boxed<'a, ()>;
}

impl<I: Import> Erased for I {
    fn cookie_name(&self) -> &str {
        Import::cookie_name(self)
    }

    fn until(&self) -> SystemTime {
        Import::until(self)
    }

    fn keeps(&self) -> bool {
        Import::keeps(self)
    }

    fn source(&self) -> &str {
        Import::source(self)
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        Import::token(self, value)
    }

    fn load<'a>(&'a self, token: &'a OldToken) -> Boxed<'a, Option<OldSession>> {
        Box::pin(Import::load(self, token))
    }

    fn delete<'a>(&'a self, token: &'a OldToken) -> Boxed<'a, ()> {
        Box::pin(Import::delete(self, token))
    }
}

/// The prefix of the hash input for a ledger entry's id. It separates these hashes from hashes with another purpose.
const DOMAIN: &[u8] = b"cloakroom import ledger 1\0";

impl DynImport {
    pub(crate) fn new(import: impl Import) -> Self {
        Self(Arc::new(import))
    }

    pub(crate) fn cookie_name(&self) -> &str {
        self.0.cookie_name()
    }

    pub(crate) fn until(&self) -> Timestamp {
        self.0.until().into()
    }

    pub(crate) fn keeps(&self) -> bool {
        self.0.keeps()
    }

    pub(crate) fn token(&self, value: &[u8]) -> Option<OldToken> {
        self.0.token(str::from_utf8(value).ok()?)
    }

    pub(crate) async fn load(&self, token: &OldToken) -> Result<Option<OldSession>, StoreError> {
        self.0.load(token).await
    }

    pub(crate) async fn delete(&self, token: &OldToken) -> Result<(), StoreError> {
        self.0.delete(token).await
    }

    /// The id of the old session's ledger entry. It does not reveal the token.
    pub(crate) fn ledger_id(&self, token: &OldToken) -> SessionId {
        let source = self.0.source().as_bytes();
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update((source.len() as u64).to_be_bytes());
        hash.update(source);
        hash.update(token.as_bytes());
        SessionId::hashed(&hash.finalize().into())
    }
}

/// The old tokens that a request brings.
#[derive(Clone, Debug, Default)]
pub(crate) struct OldTokens {
    verified: Vec<OldToken>,
    has_unverified: bool,
}

/// How many different old tokens of a request are kept.
const MAX_TOKENS: usize = 3;

impl OldTokens {
    /// Adds what the library said of a cookie: its token, or that it did not issue it.
    pub(crate) fn push(&mut self, token: Option<OldToken>) {
        match token {
            None => self.has_unverified = true,
            Some(token) if self.verified.len() < MAX_TOKENS && !self.verified.contains(&token) => {
                self.verified.push(token);
            }
            Some(_) => {}
        }
    }

    /// Whether there are cookies, and the library has issued none of them.
    pub(crate) fn are_unverified(&self) -> bool {
        self.has_unverified && self.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OldToken> {
        self.verified.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.verified.is_empty()
    }

    /// The token, if there is exactly one. If there are several, one of them was planted, and the crate uses none.
    pub(crate) fn only(&self) -> Option<&OldToken> {
        match &*self.verified {
            [token] => Some(token),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl Import for Named {
        fn cookie_name(&self) -> &str {
            self.0
        }

        fn until(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn token(&self, value: &str) -> Option<OldToken> {
            Some(OldToken::new(value))
        }

        async fn load(&self, _: &OldToken) -> Result<Option<OldSession>, StoreError> {
            Ok(None)
        }

        async fn delete(&self, _: &OldToken) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn a_ledger_id_is_of_one_source_and_one_token() {
        let id =
            |source, token: &str| DynImport::new(Named(source)).ledger_id(&OldToken::new(token));
        assert_eq!(id("a", "bc"), id("a", "bc"));
        assert_ne!(id("a", "bc"), id("ab", "c"));
        assert_ne!(id("a", "bc"), id("a", "bd"));
        let text = id("a", "bc").to_string();
        assert_eq!(text.parse(), Ok(id("a", "bc")));
    }

    #[test]
    fn what_is_imported_does_not_show_in_debug() {
        let token = OldToken::new("hidden");
        let session = OldSession::new().user("hidden").value("hidden", "hidden");
        let shown = format!("{token:?} {:?}", session.unwrap());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
