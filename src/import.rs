//! Sessions of another library that continue as sessions of this crate: [`Import`].
//!
//! Uses records and store errors. It knows no request; the folder `commit` runs the import.
//!
//! # How a session moves over
//!
//! A request without a session of this crate, or with an anonymous one, brings a cookie of the other library. The crate
//! verifies the cookie, loads what the other library kept, and stores it as a session of its own, with a random id and secret.
//! A *ledger* entry beside it says which session the old one became, so that it becomes one session only, whatever
//! requests come at the same time, on however many nodes, and whatever replies are lost.
//!
//! - The response has a cookie of this crate. Until that cookie comes back, and 60 seconds longer, requests that bring only the
//!   old cookie get the same session. Later the old cookie opens nothing: whoever copied it is anonymous.
//! - The new session lives as long as this layer's timeouts say, and at most as long as the old one would have lived.
//! - Nobody knows when the user logged in: [`Session::authenticated_at`](crate::Session::authenticated_at) is `None`
//!   until they log in again.
//! - A log-out and a log-in also delete the old session that the request brings, before they change anything. If the other
//!   library's store cannot delete it, the response is a 503.
//! - The old cookie stays in the browser. Its ledger entry answers for it until the old session would have expired.
//!
//! # What cannot be prevented
//!
//! While nodes with the other library still answer requests, a session can change there after it has moved over, and that change is
//! lost. Route a visitor who has a cookie of this crate to the new nodes only, or switch all nodes at once. A session that ends on an
//! old node in the moment in which a new node reads it moves over all the same. An operator who revokes a user's
//! sessions ends those of this crate; the ones that have not moved over must be ended in the other library's store.

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

/// Sessions of another library that continue as sessions of this crate.
/// [The module](self) says how, and what cannot be prevented.
///
/// Give it to [`SessionLayer::import`](crate::SessionLayer::import).
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

    /// From then on nothing is imported, and the old cookie is not looked at. Choose the moment at which the last
    /// old session has expired.
    fn until(&self) -> SystemTime;

    /// Whether the old session stays in its store after the import, so that you can go back to the other library.
    /// Default: false. A log-out and a log-in delete it all the same.
    fn keeps(&self) -> bool {
        false
    }

    /// What tells the tokens of this source from those of another one. Default: the cookie's name.
    ///
    /// It must not change while sessions are imported: a session could be imported twice.
    fn source(&self) -> &str {
        self.cookie_name()
    }

    /// Verifies or decrypts the cookie's value. `None` if it is none of the library's. It does no I/O.
    ///
    /// Two values that open the same session must give the same token.
    fn token(&self, value: &str) -> Option<OldToken>;

    /// Loads what the other library kept. `None` if it kept nothing, or the session has expired.
    ///
    /// # Errors
    ///
    /// If the library's store fails. The response is a 503 then.
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

/// The verified token of another library's session. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct OldToken(Box<[u8]>);

impl OldToken {
    /// What identifies the session, such as its id.
    #[must_use]
    pub fn new(token: impl AsRef<[u8]>) -> Self {
        Self(token.as_ref().into())
    }

    /// What [`new`](Self::new) was given.
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

/// What another library kept of a session. Its `Debug` shows neither values nor user.
#[derive(Clone, Default)]
pub struct OldSession {
    values: BTreeMap<String, Json>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) persistent: Option<bool>,
}

impl OldSession {
    /// A session without values, of an anonymous visitor, without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this value of `key`, for example a `serde_json::Value`.
    ///
    /// # Errors
    ///
    /// As [`Session::insert`](crate::Session::insert), but for `TooLarge`: what the other library kept is taken
    /// as it is.
    pub fn value(mut self, key: impl Into<String>, value: impl Serialize) -> Result<Self, Error> {
        let key = key.into();
        let value = write(&key, &value)?;
        self.values.insert(key, value);
        Ok(self)
    }

    /// Of this user, who has logged in. Nobody knows when.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into().into_boxed_str());
        self
    }

    /// It would have expired then: the new session does not live longer. Without a call it has no such limit.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at.into());
        self
    }

    /// Whether its cookie survives the end of the browser. Without a call the layer's setting holds.
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

/// What a ledger entry's id is hashed from begins with this.
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

    /// Under which id the ledger says what became of the old session. It does not tell the token.
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
pub(crate) struct OldTokens(Vec<OldToken>);

/// More different ones than this are not looked at.
const MAX_TOKENS: usize = 3;

impl OldTokens {
    pub(crate) fn push(&mut self, token: OldToken) {
        if self.0.len() < MAX_TOKENS && !self.0.contains(&token) {
            self.0.push(token);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OldToken> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that is meant. Of several different ones, one was planted: none is.
    pub(crate) fn only(&self) -> Option<&OldToken> {
        match &*self.0 {
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
