//! Imports sessions of tower-sessions: [`TowerSessionsImport`].

mod old_store;
mod remaining;
mod seal;

use std::{borrow::Cow, fmt, marker::PhantomData, time::SystemTime};

use cloakroom::{
    StoreError,
    import::{Import, OldSession, OldToken},
    store::StoreErrorKind,
};
use serde_json::Value;

use self::seal::Seal;
use crate::{bridge::RecordId, user::UserFrom};

#[cfg(feature = "core-0.14")]
pub use self::old_store::Core014;
#[cfg(feature = "core-0.15")]
pub use self::old_store::Core015;
pub use self::{old_store::OldStore, remaining::delete_remaining};

/// Imports live sessions of tower-sessions, for [`SessionLayer::import`](cloakroom::SessionLayer::import).
///
/// It takes any tower-sessions store, of either version:
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cloakroom::SessionLayer;
/// use cloakroom_tower_sessions::{TowerSessionsImport, axum_login_user};
///
/// # let old_store = tower_sessions::MemoryStore::default();
/// // A fixed date: the moment of the switch plus the longest life of an old session.
/// let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1893542400);
/// let import = TowerSessionsImport::new(old_store)
///     .cookie("id")
///     .until(date)
///     .user_from("axum-login.data", axum_login_user);
/// let layer = SessionLayer::default().import(import);
/// ```
///
/// A visitor with a valid old cookie gets a session of cloakroom with the same values. It ends no later than the old one would
/// have. The old record is deleted, unless [`keep`](Self::keep) is set. The page of the [trait](Import) has the rules and
/// limits.
///
/// tower-sessions does not store whether a cookie outlives the browser, so the layer's
/// [`persistent`](cloakroom::SessionLayer::persistent) decides.
///
/// If the old library cannot decode a record, the visitor has no session, and the log has a warning.
pub struct TowerSessionsImport<S, V, U = Unlimited> {
    store: S,
    cookie: Cow<'static, str>,
    seal: Seal,
    until: U,
    keeps: bool,
    user: Option<UserFrom>,
    version: PhantomData<fn() -> V>,
}

/// The end of the import is not set yet: [`TowerSessionsImport::until`] is required.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

/// The end of the import.
#[derive(Clone, Copy, Debug)]
pub struct Until(SystemTime);

impl<S: OldStore<V>, V> TowerSessionsImport<S, V> {
    /// Imports the sessions of `store`. The old cookie is called `id`, and is neither signed nor encrypted, unless you call the
    /// methods below.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            store,
            cookie: Cow::Borrowed("id"),
            seal: Seal::None,
            until: Unlimited,
            keeps: false,
            user: None,
            version: PhantomData,
        }
    }
}

impl<S, V, U> TowerSessionsImport<S, V, U> {
    /// The name of the old cookie. Default: `id`, as in tower-sessions.
    #[must_use]
    pub fn cookie(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.cookie = name.into();
        self
    }

    /// The end of the import. From this time on nothing is imported. Required.
    ///
    /// Choose the moment of the switch plus the longest life of an old session: two weeks, unless the old layer has an expiry.
    #[must_use]
    pub fn until(self, date: impl Into<SystemTime>) -> TowerSessionsImport<S, V, Until> {
        TowerSessionsImport {
            store: self.store,
            cookie: self.cookie,
            seal: self.seal,
            until: Until(date.into()),
            keeps: self.keeps,
            user: self.user,
            version: PhantomData,
        }
    }

    /// The old cookies are signed with this key, by tower-sessions' `with_signed`. Default: they are not.
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn signed(mut self, key: cookie::Key) -> Self {
        self.seal = Seal::Signed(key);
        self
    }

    /// The old cookies are encrypted with this key, by tower-sessions' `with_private`. Default: they are not.
    #[cfg(feature = "private")]
    #[must_use]
    pub fn private(mut self, key: cookie::Key) -> Self {
        self.seal = Seal::Private(key);
        self
    }

    /// Whether old records stay after the import. Default: false.
    ///
    /// Set it while you may have to go back to tower-sessions. The old cookie then opens the old session again, as it was at
    /// the import. A log-out or a log-in on cloakroom with the old cookie still deletes the old record. If a session ends in another
    /// way, such as by `Sessions::revoke_user`, delete its old record too.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keeps = keep;
        self
    }

    /// Which value names the user, as for [`TowerSessionsLayer::user_from`](crate::TowerSessionsLayer::user_from).
    /// Default: no user is bound.
    ///
    /// If one of the two has it, give it to the other too. Otherwise imported sessions have no user for cloakroom until a log-in, and
    /// `Sessions::revoke_user` does not find them.
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

impl<S: OldStore<V>, V: 'static> Import for TowerSessionsImport<S, V, Until> {
    fn cookie_name(&self) -> &str {
        &self.cookie
    }

    fn until(&self) -> SystemTime {
        self.until.0
    }

    fn keeps(&self) -> bool {
        self.keeps
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        let text = self.seal.open(&self.cookie, value)?;
        let id = S::parse(&text)?;
        Some(OldToken::new(id.to_le_bytes()))
    }

    async fn load(&self, token: &OldToken) -> Result<Option<OldSession>, StoreError> {
        let Some(record) = self.store.load(id(token)?).await? else {
            return Ok(None);
        };
        if record.expires_at <= SystemTime::now() {
            return Ok(None);
        }
        let mut session = OldSession::new().expires_at(record.expires_at);
        if let Some(user) = self.user.as_ref().and_then(|user| user.of(&record.values)) {
            session = session.user(user);
        }
        for (key, value) in record.values {
            let with = session.value(key, value);
            session = with.map_err(|error| StoreError::new(StoreErrorKind::Corrupt, error))?;
        }
        Ok(Some(session))
    }

    async fn delete(&self, token: &OldToken) -> Result<(), StoreError> {
        self.store.delete(id(token)?).await
    }
}

/// The id in a token that [`Import::token`] returned.
fn id(token: &OldToken) -> Result<RecordId, StoreError> {
    let bytes = token.as_bytes().try_into();
    let bytes = bytes.map_err(|error| StoreError::new(StoreErrorKind::Other, error));
    bytes.map(RecordId::from_le_bytes)
}

impl<S, V, U> fmt::Debug for TowerSessionsImport<S, V, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessionsImport")
            .field("cookie", &self.cookie)
            .field("keeps", &self.keeps)
            .finish_non_exhaustive()
    }
}
