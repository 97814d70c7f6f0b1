//! A description of a session for operators: [`SessionSummary`].

use std::{fmt, str::FromStr, sync::Arc, time::SystemTime};

use serde::de::DeserializeOwned;

use crate::{
    error::Error,
    record::{Activity, Record, key::ReadKey, labels::Labels, token::SessionId, user, value::read},
    store::Listed,
};

/// A session's user, times and data, for operators.
///
/// [`Sessions::get`](crate::Sessions::get), [`Sessions::list`](crate::Sessions::list) and
/// [`Event::session`](crate::Event::session) return it. It describes the session at that time, and does
/// not change later. It contains nothing that opens the session.
///
/// ```
/// use cloakroom::SessionSummary;
///
/// /// A row for a list of a user's devices.
/// fn row(session: &SessionSummary) -> String {
///     let device: Option<String> = session.get("device").ok().flatten();
///     let device = device.unwrap_or_else(|| "unknown device".to_owned());
///     format!("{} {device}, last seen {:?}", session.id(), session.last_seen_at())
/// }
/// ```
#[derive(Clone)]
pub struct SessionSummary {
    id: SessionId,
    record: Arc<Record>,
    activity: Activity,
}

impl SessionSummary {
    pub(crate) fn new(id: SessionId, record: Arc<Record>, activity: Activity) -> Self {
        Self {
            id,
            record,
            activity,
        }
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The session's user. `None` if nobody has logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.record.user()
    }

    /// The realm of the session: the name of the cookie it was issued for, or the layer's
    /// [`realm`](crate::SessionLayer::realm). `None` for a session that was stored before realms existed.
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        self.record.realm().name()
    }

    /// The user's id as a `T`, like [`Session::user_as`](crate::Session::user_as).
    ///
    /// # Errors
    ///
    /// [`Deserialize`](crate::ErrorKind::Deserialize) if the id does not parse as a `T`.
    pub fn user_as<T: FromStr>(&self) -> Result<Option<T>, Error> {
        self.user().map(user::parse).transpose()
    }

    /// When the session was created.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.record.created_at().into()
    }

    /// When the session got its id: by its creation, a log-in or a cycle.
    #[must_use]
    pub fn begun_at(&self) -> SystemTime {
        self.record.begun_at().into()
    }

    /// When the session's user logged in. `None` if nobody has logged in, or if the time is unknown because the
    /// session was [imported](crate::import) from another library.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        self.record.authenticated_at().map(SystemTime::from)
    }

    /// When a request last used the session. The time may be too early by up to the layer's
    /// [`touch_after`](crate::SessionLayer::touch_after).
    #[must_use]
    pub fn last_seen_at(&self) -> SystemTime {
        self.activity.last_seen_at.into()
    }

    /// When the session expires if no further request uses it, by the settings at the time it was
    /// last seen. `None` if it never expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.activity.expires_at.map(SystemTime::from)
    }

    /// How many bytes the session's keys and JSON values have together.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.record.data().bytes()
    }

    /// The keys of the session's values, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let entries = self.record.data().iter();
        entries.map(|(key, _)| key.to_owned()).collect()
    }

    /// The value of a key. `None` if the session has none.
    ///
    /// # Errors
    ///
    /// [`Deserialize`](crate::ErrorKind::Deserialize) if the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        read(key.name(), self.record.data().get(key.name()))
    }

    /// The session's label with this name, such as the `user_agent` of
    /// [`SessionLayer::label_user_agent`](crate::SessionLayer::label_user_agent). `None` if there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.record.labels()?.get(name)
    }

    /// The names and values of the session's labels, sorted by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.record.labels().into_iter().flat_map(Labels::iter)
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity
    }
}

impl From<Listed> for SessionSummary {
    fn from(listed: Listed) -> Self {
        Self::new(listed.id, listed.record, listed.activity)
    }
}

/// Shows neither the data nor the user.
impl fmt::Debug for SessionSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSummary")
            .field("id", &self.id)
            .field("has_user", &self.user().is_some())
            .field("created_at", &self.record.created_at())
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}
