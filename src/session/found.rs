//! The result of looking up a request's tokens: [`Found`], with the tokens that were [`Rejected`].

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    cookie::PresentedToken,
    error::Error,
    observe::event::{Event, Rejection},
    record::{
        Activity, Kept, Record,
        token::{SessionId, Token},
    },
    state::Stored,
};

/// The result of a load, before it becomes part of the request's state.
#[derive(Default)]
pub(super) struct Found {
    /// The session, with the token that opened it. `None` if no token opens one.
    pub(super) stored: Option<Stored>,
    /// Whether the token came under a former name of the cookie.
    pub(super) is_former: bool,
    /// Whether the token has a former key, or none: the response issues it again with the current key.
    pub(super) is_stale: bool,
    /// Whether the visitor's session has moved, or a cookie was planted. Only a log-in is stored then.
    pub(super) is_displaced: bool,
    /// Whether the session was imported, and the response issues a token for it.
    pub(super) is_issued: bool,
    /// The marker that the visitor's token led to, if their session has moved.
    pub(super) marker: Option<Box<Stored>>,
    pub(super) rejected: Vec<Rejected>,
    /// Why the load failed.
    pub(super) failure: Option<Error>,
}

impl Found {
    pub(super) fn failed(error: Error) -> Self {
        Self {
            failure: Some(error),
            ..Self::default()
        }
    }

    /// The token opens the session `kept`.
    pub(super) fn open(&mut self, presented: &PresentedToken, kept: Kept) {
        self.stored = Some(Stored::of(presented.token, kept));
        self.is_former = presented.is_former;
        self.is_stale = presented.is_stale;
    }
}

/// A token that does not open a session.
pub(super) struct Rejected {
    id: Option<SessionId>,
    /// The record of the session that the token names, if there is one.
    record: Option<Arc<Record>>,
    pub(super) why: Rejection,
    /// Whether the secret is an old one of the session (rule R3).
    pub(super) is_copied: bool,
}

impl Rejected {
    pub(super) fn of(id: SessionId, record: Option<Arc<Record>>, why: Rejection) -> Self {
        Self {
            id: Some(id),
            record,
            why,
            is_copied: false,
        }
    }

    /// The marker of a session that has moved, if the token was valid for it.
    pub(super) fn marker(&self, token: &Token) -> Option<Box<Stored>> {
        let record = self
            .record
            .clone()
            .filter(|_| self.why == Rejection::Moved)?;
        let at = record.moved_at().unwrap_or(Timestamp::EPOCH);
        let activity = Activity {
            last_seen_at: at,
            expires_at: None,
        };
        Some(Box::new(Stored::of(*token, (record, activity))))
    }

    pub(super) fn copied(id: SessionId, record: Arc<Record>) -> Self {
        Self {
            is_copied: true,
            ..Self::of(id, Some(record), Rejection::Unproven)
        }
    }

    pub(super) fn not_imported() -> Self {
        Self::without_id(Rejection::NotImported)
    }

    pub(super) fn without_id(why: Rejection) -> Self {
        Self {
            id: None,
            record: None,
            why,
            is_copied: false,
        }
    }

    pub(super) fn event(&self, now: Timestamp) -> Event {
        Event::rejected(self.id, self.record.as_deref(), now, self.why)
    }
}
