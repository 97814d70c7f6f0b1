//! Asking a store for many sessions: [`Filter`], and the [`Page`] that answers.

use std::{fmt, sync::Arc};

use crate::{
    clock::Timestamp,
    record::{Activity, Record, token::SessionId},
};

/// Which sessions a list is of. What is not set lets every session through.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Those of this user, compared byte by byte.
    pub user: Option<String>,
    /// Those last seen before this moment.
    pub last_seen_before: Option<Timestamp>,
    /// Those that began before this moment.
    pub created_before: Option<Timestamp>,
}

impl Filter {
    /// Whether a session with this record and activity gets through.
    #[must_use]
    pub fn admits(&self, record: &Record, activity: Activity) -> bool {
        self.user
            .as_deref()
            .is_none_or(|user| record.user() == Some(user))
            && self
                .last_seen_before
                .is_none_or(|before| activity.last_seen_at < before)
            && self
                .created_before
                .is_none_or(|before| record.created_at() < before)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("has_user", &self.user.is_some())
            .field("last_seen_before", &self.last_seen_before)
            .field("created_before", &self.created_before)
            .finish()
    }
}

/// A session in a [`Page`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which session.
    pub id: SessionId,
    /// What the store keeps for it.
    pub record: Arc<Record>,
    /// When it was last seen, and when it ends.
    pub activity: Activity,
}

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of their ids, byte by byte.
    pub sessions: Vec<Listed>,
    /// Where the next page begins: after this id. `None`: there is no more.
    pub next: Option<SessionId>,
}
