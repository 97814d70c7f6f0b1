//! A session as those see it who are not its visitor: [`SessionSummary`].

use std::{fmt, sync::Arc, time::SystemTime};

use serde::de::DeserializeOwned;

use crate::{
    error::Error,
    record::{Activity, Record, key::ReadKey, token::SessionId, value::read},
    store::Listed,
};

/// A session as its operator sees it: who, since when, how much. Its data is
/// read only where [`get`](Self::get) asks for it.
///
/// It describes the session as it was when it was asked for. It holds no
/// secret, and nothing that opens the session.
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

    /// Which session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Who has logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.record.user()
    }

    /// When the session began.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.record.created_at().into()
    }

    /// When its user logged in.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        self.record.authenticated_at().map(SystemTime::from)
    }

    /// When it was last seen, to the layer's `touch_after`.
    #[must_use]
    pub fn last_seen_at(&self) -> SystemTime {
        self.activity.last_seen_at.into()
    }

    /// When it ends, by the rules at the time it was last seen; `None`: never.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.activity.expires_at.map(SystemTime::from)
    }

    /// Bytes of its keys and values.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.record.data().bytes()
    }

    /// The names of its values, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let entries = self.record.data().iter();
        entries.map(|(key, _)| key.to_owned()).collect()
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`Deserialize`](crate::ErrorKind::Deserialize) where the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl ReadKey<T>) -> Result<Option<T>, Error> {
        read(key.name(), self.record.data().get(key.name()))
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
