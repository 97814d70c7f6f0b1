//! What happens to sessions: [`Event`], and the [`Listener`] that is called for it.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use crate::{
    clock::Timestamp,
    observe::{context::EventContext, summary::SessionSummary},
    record::{Kept, Record, token::SessionId},
};

/// A callback for each [`Event`] of a layer's sessions.
///
/// Closures that take an `&Event` implement it. Add a listener with
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
/// The layer calls its listeners one after the other, after the store has confirmed the change, on the
/// thread of the request or of the background task. A slow listener delays the response: move long work
/// to a task or a channel. [`Stats::listening`](crate::Stats::listening) measures the time of listeners.
/// If a listener panics, the layer logs that, and the request continues.
///
/// A listener may call the store, and may read the session of the event. It must not wait for the
/// session's `save`, `claim` or `reload`: they wait for the commit, which waits for the listener.
pub trait Listener: Send + Sync + 'static {
    /// Called after each event.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Listener for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

/// A change of a session, or a rejected cookie. A [`Listener`] receives it.
///
/// ```
/// use cloakroom::{EndReason, Event, EventKind};
///
/// /// A line for an audit log. It contains neither a secret nor session data.
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

/// The kind of an [`Event`]. [`Event::kind`] returns it.
///
/// ```
/// use cloakroom::{Event, EventKind, SessionLayer};
///
/// let layer = SessionLayer::default().on_event(|event: &Event| match event.kind() {
///     EventKind::Created => println!("a new session"),
///     EventKind::LoggedIn { to, .. } => println!("a log-in, session {to}"),
///     EventKind::Ended { reason } => println!("a session ended: {}", reason.name()),
///     _ => {}
/// });
/// ```
///
/// Each session has exactly one `Created` or `Imported` and one `Ended` in all processes together, if no node
/// fails and the store reports the sessions that it ends. A session that logs in or cycles continues under
/// another id: that is neither an end nor a creation. If several layers share a store in one process, each of
/// them receives the endings that the store reports.
///
/// # Which endings are reported
///
/// With every store, the process that ends a session for `Destroyed`, `Revoked`, `RevokedAll`, `Limit` or
/// `Copied` reports it. If a store ends a session by itself, the process in which the store does so reports
/// it, through [`report_removals`](crate::SessionStore::report_removals):
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
    /// Changes to an existing session were stored. If a log-in or a cycle stores changes too, this event
    /// follows `LoggedIn` or `Cycled`.
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
    /// The store failed so often that the layer no longer calls it, see
    /// [`circuit_breaker`](crate::SessionLayer::circuit_breaker). The event has no session.
    CircuitOpened,
    /// The store answers again. The event has no session.
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
    /// minutes later. [`Sessions::expire_idle`](crate::Sessions::expire_idle) sends it at once.
    Idle,
    /// The absolute timeout passed. The event is sent when the record is deleted, at least five
    /// minutes later.
    Absolute,
    /// A [`MemoryStore`](crate::MemoryStore) was full, and evicted it.
    Evicted,
    /// [`Sessions`](crate::Sessions) ended it.
    Revoked,
    /// Its user had more sessions than
    /// [`max_sessions_per_user`](crate::SessionLayer::max_sessions_per_user) allows.
    Limit,
    /// A secret was used after [`renew_every`](crate::SessionLayer::renew_every) had replaced it
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

/// How a session ended. [`Session::ended`](crate::Session::ended) resolves to it.
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
/// Most rejections are harmless: sessions expire, and browsers send the old cookie once more. Many
/// `Unproven` rejections in a short time mean that somebody is guessing tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// The cookie's value is not a token. Reported once for each request, without an id.
    Malformed,
    /// The cookie's value has the form of a token, but not the MAC that
    /// [`token_keys`](crate::SessionLayer::token_keys) asks for. The store was not asked. Reported once
    /// for each request, without an id.
    Forged,
    /// There is no session with this id. It ended and was deleted, or never existed.
    Unknown,
    /// There is a session with this id, but the token's secret is not the session's.
    Unproven,
    /// The session has another realm. Somebody renamed the cookie of another layer over the same store. See
    /// [`SessionLayer::realm`](crate::SessionLayer::realm).
    OtherRealm,
    /// The token came by another transport than the one it was issued for. For example, a header had the
    /// value of the cookie. See [`SessionLayer::transport`](crate::SessionLayer::transport).
    OtherTransport,
    /// The session has expired, or moved to another id more than a minute ago.
    Expired,
    /// The session moved to another id less than a minute ago.
    Moved,
    /// The request has valid tokens of two sessions, so somebody planted one of them. Reported for
    /// both. ([Rule](crate#rules) T5.)
    Planted,
    /// A cookie of another library opened no session: the other library has no session for it, or the session was
    /// imported before and has been used since. Reported without an id.
    NotImported,
    /// A cookie of another library is not one that the [`import`](crate::SessionLayer::import) accepts. Somebody invented
    /// it, or the import has another key than the library, or takes signed cookies for plain ones. The library's store
    /// was not asked. Reported once for each request, without an id.
    NotVerified,
}

impl Rejection {
    /// Every kind of rejection.
    pub const ALL: [Self; 11] = [
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
        Self::NotVerified,
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
            Self::NotVerified => "not_verified",
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

    /// An event without a session.
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

    /// The session's id. `None` for a cookie that names no session, and for events about the store.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// The session's user. `None` if nobody has logged in, or if the store did not report the user.
    ///
    /// For a rejected cookie, this is the user of the session that the cookie names. The visitor may be
    /// somebody else.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The name of the operator who ended the session, from
    /// [`Sessions::as_operator`](crate::Sessions::as_operator). `None` for all other events, and if
    /// `as_operator` was not called.
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

    /// The session as it was when it ended. `None` for all other events, and if the store no longer had
    /// the session.
    #[must_use]
    pub fn session(&self) -> Option<&SessionSummary> {
        self.summary.as_ref()
    }

    /// The value that [`SessionLayer::event_context`](crate::SessionLayer::event_context) took from the
    /// request that caused the event. `None` if the value is not a `T`, or if no request caused the event: a
    /// background task, an operator, or a task that a handler has spawned.
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
