//! What happens to sessions: [`Event`], and the [`Listener`] that is called for it.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use crate::{
    clock::Timestamp,
    observe::{context::EventContext, summary::SessionSummary},
    record::{Kept, Record, token::SessionId},
};

/// Is called for everything that happens to the sessions of a layer.
///
/// Closures of `&Event` implement it. Add one with
/// [`SessionLayer::on_event`](crate::SessionLayer::on_event).
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
///
/// # When it is called
///
/// After the store has confirmed the change, on the thread of the request or of the background
/// task, one listener after the other. A slow listener delays the response: give long work to a
/// task or a channel. [`Stats::listening`](crate::Stats::listening) says how long listeners took.
/// A listener that panics is reported in the log, and nothing else changes.
///
/// A listener may call the store, and may read the session of the event. It must not wait for the
/// session's `save`, `claim` or `reload`: they wait for the commit, which waits for the listener.
pub trait Listener: Send + Sync + 'static {
    /// Something happened to a session.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Listener for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

/// Something that happened to a session. A [`Listener`] receives it.
///
/// ```
/// use cloakroom::{EndReason, Event, EventKind};
///
/// /// A line for an audit log. It names no secret and no data.
/// fn audit(event: &Event) -> Option<String> {
///     let user = event.user()?;
///     match event.kind() {
///         EventKind::LoggedIn { .. } => Some(format!("{user} logged in")),
///         EventKind::Ended { reason: EndReason::Copied } => Some(format!("{user}: cookie copied")),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Event {
    pub(crate) id: Option<SessionId>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) at: Timestamp,
    pub(crate) kind: EventKind,
    pub(crate) summary: Option<SessionSummary>,
    pub(crate) operator: Option<Arc<str>>,
    pub(crate) context: Option<EventContext>,
}

/// What happened to a session.
///
/// A session has at most one `Created` or `Imported` and one `Ended` in each process, and exactly one of each in
/// all processes together, if no node fails and the store reports the sessions that it ends. A
/// session that logs in or cycles continues under another id: that is neither an end nor a
/// creation. If several layers share a store in one process, each of them receives the endings
/// that the store reports.
///
/// # Which endings are reported
///
/// The process that ends a session for `Destroyed`, `Revoked`, `RevokedAll`, `Limit` or `Copied` reports it,
/// with every store. Sessions that a store ends by itself are reported in the process in which the
/// store does so, through [`report_removals`](crate::SessionStore::report_removals):
///
/// | store | reports |
/// | --- | --- |
/// | `MemoryStore` | `Idle`, `Absolute`, `Evicted` |
/// | `FileStore`, `SqliteStore`, `PostgresStore`, `MySqlStore` | `Idle`, `Absolute`, in the process whose sweep deletes the record |
/// | `RedisStore` | nothing: Redis expires records by itself |
/// | `TieredStore` | what the store behind it reports; a copy that is evicted is not an ending |
/// | your own store | what it reports; by default nothing |
///
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The session was stored for the first time.
    Created,
    /// A session of another library was stored for the first time, in place of `Created`. See
    /// [`SessionLayer::import`](crate::SessionLayer::import).
    Imported,
    /// A user logged in, and the session continues under the new id `to`.
    LoggedIn {
        /// The id before the log-in. `None` if the session began with it.
        from: Option<SessionId>,
        /// The id from now on.
        to: SessionId,
    },
    /// The session continues under another id.
    Cycled {
        /// The id before.
        from: SessionId,
        /// The id from now on.
        to: SessionId,
    },
    /// Changes to an existing session were stored. If a log-in or a cycle stores changes too, this
    /// follows its event.
    Saved {
        /// The keys whose values this request set or removed, sorted. Empty if only the session's
        /// timeouts changed.
        keys: Vec<String>,
    },
    /// The session ended.
    Ended {
        /// Why it ended.
        reason: EndReason,
    },
    /// A cookie did not open a session.
    Rejected {
        /// Why it did not.
        why: Rejection,
    },
    /// The store has failed so often that the layer does not ask it any more, see
    /// [`circuit_breaker`](crate::SessionLayer::circuit_breaker). The event is about no session.
    CircuitOpened,
    /// The store answers again. The event is about no session.
    CircuitClosed,
}

/// Why a session ended.
///
/// ```
/// use cloakroom::EndReason;
///
/// fn message(reason: EndReason) -> &'static str {
///     match reason {
///         EndReason::Idle | EndReason::Absolute => "Your session has expired.",
///         EndReason::Limit => "You logged in on another device.",
///         _ => "You have been logged out.",
///     }
/// }
/// # assert_eq!(message(EndReason::Revoked), "You have been logged out.");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// [`Session::destroy`](crate::Session::destroy) ended it.
    Destroyed,
    /// The idle timeout passed. The event is sent when the record is deleted, at least five
    /// minutes later. Also after [`Sessions::expire_idle`](crate::Sessions::expire_idle), which
    /// sends it at once.
    Idle,
    /// The absolute timeout passed. The event is sent when the record is deleted, at least five
    /// minutes later.
    Absolute,
    /// A [`MemoryStore`](crate::MemoryStore) was full, and evicted it.
    Evicted,
    /// [`Sessions`](crate::Sessions) ended it.
    Revoked,
    /// Its user logged in more often than
    /// [`max_sessions_per_user`](crate::SessionLayer::max_sessions_per_user) allows.
    Limit,
    /// A secret came back after [`renew_every`](crate::SessionLayer::renew_every) had replaced it
    /// and its grace period had passed: somebody copied the cookie.
    Copied,
    /// [`Sessions::revoke_all`](crate::Sessions::revoke_all) ended it, with all others.
    RevokedAll,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Destroyed,
        Self::Idle,
        Self::Absolute,
        Self::Evicted,
        Self::Revoked,
        Self::Limit,
        Self::Copied,
        Self::RevokedAll,
    ];

    /// The reason in lower case, as in the label of the metrics, such as `revoked_all`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::Evicted => "evicted",
            Self::Revoked => "revoked",
            Self::Limit => "limit",
            Self::Copied => "copied",
            Self::RevokedAll => "revoked_all",
        }
    }
}

/// How a session ended, for code that waits for it with [`Session::ended`](crate::Session::ended).
///
/// ```
/// use cloakroom::{EndReason, SessionEnd};
///
/// /// The close code for a WebSocket whose session has ended.
/// fn close_code(end: SessionEnd) -> u16 {
///     match end {
///         SessionEnd::Ended(EndReason::Idle | EndReason::Absolute) => 4001, // "log in again"
///         SessionEnd::Moved => 4002, // "connect again, with the new cookie"
///         _ => 4000, // "logged out"
///     }
/// }
/// # assert_eq!(close_code(SessionEnd::Moved), 4002);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The session ended, for this reason.
    Ended(EndReason),
    /// The session continues under another id, after a log-in or a cycle. The visitor's client
    /// can connect again with the new cookie.
    Moved,
    /// Another process ended the session without saying why: it was destroyed, revoked or evicted.
    Gone,
}

/// Why a cookie did not open a session. A listener sees it in [`EventKind::Rejected`].
///
/// ```
/// use cloakroom::{Event, EventKind, Rejection};
///
/// /// A listener that looks for guessed tokens.
/// fn watch(event: &Event) {
///     if let EventKind::Rejected { why: Rejection::Unproven } = event.kind() {
///         eprintln!("a wrong secret for the session {:?}", event.id());
///     }
/// }
/// let layer = cloakroom::SessionLayer::default().on_event(watch);
/// ```
///
/// Most rejections are harmless: sessions expire, and browsers send the cookie once more. Many
/// `Unproven` ones in a short time mean that somebody guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// The cookie's value is not a token. Reported once for each request, without an id.
    Malformed,
    /// The cookie's value has the form of a token, but not the MAC that
    /// [`token_keys`](crate::SessionLayer::token_keys) asks for. The store was not asked. Reported once
    /// for each request, without an id.
    Forged,
    /// There is no session with this id. It has ended and was deleted, or never existed.
    Unknown,
    /// There is a session with this id, but the token's secret is not the session's.
    Unproven,
    /// The token is of a session of another realm: a cookie of another layer over the same store,
    /// under this layer's name. See [`SessionLayer::realm`](crate::SessionLayer::realm).
    OtherRealm,
    /// The token came by another transport than the one it was issued for, such as the value of the
    /// cookie in a header. See [`SessionLayer::transport`](crate::SessionLayer::transport).
    OtherTransport,
    /// The session has expired, or moved to another id more than a minute ago.
    Expired,
    /// The session moved to another id less than a minute ago.
    Moved,
    /// The request has valid tokens of two sessions, so somebody planted one of them. Reported for
    /// both. ([Rule](crate#rules) T5.)
    Planted,
    /// A cookie of another library did not become a session: nothing was kept for it, or it moved over before and was used
    /// since. Reported without an id.
    NotImported,
}

impl Rejection {
    /// Every kind of rejection.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Forged,
        Self::Unknown,
        Self::Unproven,
        Self::OtherRealm,
        Self::OtherTransport,
        Self::Expired,
        Self::Moved,
        Self::Planted,
        Self::NotImported,
    ];

    /// The kind in lower case, as in the label of the metrics, such as `unproven`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
            Self::Unproven => "unproven",
            Self::OtherRealm => "other_realm",
            Self::OtherTransport => "other_transport",
            Self::Expired => "expired",
            Self::Moved => "moved",
            Self::Planted => "planted",
            Self::NotImported => "not_imported",
        }
    }
}

impl Event {
    pub(crate) fn of(id: SessionId, record: &Record, at: Timestamp, kind: EventKind) -> Self {
        Self {
            id: Some(id),
            user: record.user().map(Box::from),
            at,
            kind,
            summary: None,
            operator: None,
            context: None,
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
            operator: None,
            context: None,
        }
    }

    /// Something that is about no session.
    pub(crate) fn of_store(at: Timestamp, kind: EventKind) -> Self {
        Self {
            id: None,
            user: None,
            at,
            kind,
            summary: None,
            context: None,
            operator: None,
        }
    }

    /// On behalf of this operator.
    pub(crate) fn by(self, operator: Option<Arc<str>>) -> Self {
        Self { operator, ..self }
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
            operator: None,
            context: None,
        }
    }

    /// The session's id. `None` for a cookie whose value is not a token, and for events about the
    /// store.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// The session's user. `None` if nobody has logged in, or the store did not say who.
    ///
    /// For a rejected cookie this is the user of the session that the cookie names, who need not be
    /// the visitor.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The operator who ended the session, as named by
    /// [`Sessions::as_operator`](crate::Sessions::as_operator). `None` for all other events, and if
    /// no operator was named.
    #[must_use]
    pub fn operator(&self) -> Option<&str> {
        self.operator.as_deref()
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

    /// The session as it was when it ended. `None` for all other events, and if the store did not
    /// have the session any more.
    #[must_use]
    pub fn session(&self) -> Option<&SessionSummary> {
        self.summary.as_ref()
    }

    /// What [`SessionLayer::event_context`](crate::SessionLayer::event_context) kept of the request
    /// that caused this. `None` without a request: what a background task or an operator does, and
    /// what a handler does in a task that it has spawned. `None` too if the value is no `T`.
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&T> {
        self.context.as_ref()?.get()
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
