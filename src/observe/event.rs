//! What happens to sessions, told to whoever listens: [`Event`] and [`Listener`].

use std::{fmt, time::SystemTime};

use crate::{
    clock::Timestamp,
    observe::summary::SessionSummary,
    record::{Kept, Record, token::SessionId},
};

/// Hears of what happens to sessions; see [`SessionLayer::on_event`](crate::SessionLayer::on_event).
///
/// It is called on the thread of the request or of the sweep, after the store
/// has confirmed, in the order of registration. A listener that blocks holds up
/// that response: hand long work to a task or a channel. The time all listeners
/// took is in the [statistics](crate::Stats). One that panics is reported in the
/// log, and stops nothing else.
///
/// No lock is held: it may ask the store, and a session for its values. It must
/// not wait for a `save` or the like of the session it is told of, whose own
/// commit waits for the listener: that, too, is for a task.
///
/// ```
/// use cloakroom::{Event, EventKind, SessionLayer};
///
/// let layer = SessionLayer::default().on_event(|event: &Event| {
///     if let EventKind::Ended { reason } = event.kind() {
///         println!("{:?} ended: {reason:?}", event.id());
///     }
/// });
/// ```
pub trait Listener: Send + Sync + 'static {
    /// Something has happened.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Listener for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

/// Something that has happened to a session.
#[derive(Clone)]
pub struct Event {
    pub(crate) id: Option<SessionId>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) at: Timestamp,
    pub(crate) kind: EventKind,
    pub(crate) summary: Option<SessionSummary>,
}

/// What has happened.
///
/// A session has at most one `Created` and one `Ended` in one process, and
/// exactly one of each where nothing is disturbed and the store reports what it
/// ends by itself. Logging in and cycling go on with the same session under
/// another id: they are neither. A store that several layers share tells each
/// of them of what it ends.
///
/// # Which endings are told
///
/// `Destroyed`, `Revoked` and `Limit` with every store, by the process that did
/// it. What a store ends by itself it tells by
/// [`report_removals`](crate::SessionStore::report_removals), to the process in
/// which it does so:
///
/// | store | tells |
/// | --- | --- |
/// | `MemoryStore` | `Idle`, `Absolute`, `Evicted` |
/// | `FileStore`, `SqliteStore`, `PostgresStore`, `MySqlStore` | `Idle`, `Absolute`: in the one process whose sweep deletes it |
/// | `RedisStore` | neither: Redis expires records by itself |
/// | `TieredStore` | what the store behind it does; what leaves its copies has not ended |
/// | your own | what it reports; by default nothing |
///
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A session was stored for the first time.
    Created,
    /// A user was bound, under the new id `to`.
    LoggedIn {
        /// The id before; `None` where the session began with the log-in.
        from: Option<SessionId>,
        /// The id from now on.
        to: SessionId,
    },
    /// The session goes on under another id.
    Cycled {
        /// The id before.
        from: SessionId,
        /// The id from now on.
        to: SessionId,
    },
    /// Changes to an existing session were stored. What a log-in or cycle
    /// changes at the same time is told right after it.
    Saved {
        /// The names of the values that this request set or removed, sorted;
        /// none where it changed the session's timeouts alone.
        keys: Vec<String>,
    },
    /// The session is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// A cookie opened nothing.
    Rejected {
        /// Why.
        why: Rejection,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// By [`Session::destroy`](crate::Session::destroy).
    Destroyed,
    /// It was not seen for its idle timeout, which is told when it is deleted, five minutes or
    /// more after; or for longer than [`Sessions::expire_idle`](crate::Sessions::expire_idle) was told.
    Idle,
    /// Its absolute lifetime had passed. Told when it is deleted, five minutes or more after.
    Absolute,
    /// The store needed the room: a `MemoryStore`.
    Evicted,
    /// By [`Sessions`](crate::Sessions).
    Revoked,
    /// Its user logged in once more than `max_sessions_per_user` allows.
    Limit,
    /// A secret that [`renew_every`](crate::SessionLayer::renew_every) had replaced came back
    /// after its time: somebody has copied it.
    Copied,
}

impl EndReason {
    pub(crate) const ALL: [Self; 7] = [
        Self::Destroyed,
        Self::Idle,
        Self::Absolute,
        Self::Evicted,
        Self::Revoked,
        Self::Limit,
        Self::Copied,
    ];
}

/// Why a cookie opened nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// Its value is not a token. Told once a request, without an id.
    Malformed,
    /// There is no session of this id: it has ended, or never was.
    Unknown,
    /// The token's secret is not the session's.
    Unproven,
    /// The session's deadline has passed, or it moved more than a minute since.
    Expired,
    /// The session goes on under another id, less than a minute since.
    Moved,
    /// Two cookies prove themselves for different sessions (rule T5). Told of both.
    Planted,
}

impl Rejection {
    pub(crate) const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Unknown,
        Self::Unproven,
        Self::Expired,
        Self::Moved,
        Self::Planted,
    ];
}

impl Event {
    pub(crate) fn of(id: SessionId, record: &Record, at: Timestamp, kind: EventKind) -> Self {
        Self {
            id: Some(id),
            user: record.user().map(Box::from),
            at,
            kind,
            summary: None,
        }
    }

    pub(crate) fn ended(
        id: SessionId,
        kept: Option<Kept>,
        at: Timestamp,
        reason: EndReason,
    ) -> Self {
        let summary = kept.map(|(record, activity)| SessionSummary::new(id, record, activity));
        let user = summary.as_ref().and_then(SessionSummary::user);
        Self {
            id: Some(id),
            user: user.map(Box::from),
            at,
            kind: EventKind::Ended { reason },
            summary,
        }
    }

    pub(crate) fn rejected(
        id: Option<SessionId>,
        record: Option<&Record>,
        at: Timestamp,
        why: Rejection,
    ) -> Self {
        Self {
            id,
            user: record.and_then(Record::user).map(Box::from),
            at,
            kind: EventKind::Rejected { why },
            summary: None,
        }
    }

    /// Which session; `None` for a cookie that is not a token.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// The session's user, where one has logged in and it is known. For `Rejected` it is
    /// the user of the session that the cookie names, who need not be the visitor.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// When it happened, by the layer's clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at.into()
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// What the session was: for `Ended`, where the store could give it.
    #[must_use]
    pub fn session(&self) -> Option<&SessionSummary> {
        self.summary.as_ref()
    }
}

/// Shows neither the data nor the user.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("at", &self.at)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
