//! The result of a machine: [`Outcome`] and [`Finished`].

use crate::{
    commit::protocol::{rec::Rec, undo::Undo},
    record::{lineage::MoveKind, token::SessionId},
};

/// The result of a machine. Each variant names the events that are sent for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<R: Rec> {
    /// A new session is stored. Event: `Created`.
    Created {
        /// Which session.
        id: SessionId,
        /// What is stored.
        record: R,
    },
    /// A write or a claim is stored. Event: `Saved` with the keys that differ.
    Saved {
        /// The record before.
        former: R,
        /// The stored record. Others may have written since.
        record: R,
    },
    /// The changes made no difference to this stored record, or it does not have the value that was to be claimed.
    Unchanged(R),
    /// A resumed write is not stored and never will be.
    NotSaved,
    /// The activity of this record is stored.
    Touched(R),
    /// Another request has written since the record was loaded, and has recorded activity by that.
    Stale,
    /// The session has ended or moved to another id: the request's changes are dropped, and its response stays.
    Ended,
    /// A cycle or log-in has moved the session. Events: `Cycled` or `LoggedIn` with the old id, then `Saved` with the
    /// keys that differ.
    Moved {
        /// The old id.
        from: SessionId,
        /// The old session when it was left.
        former: R,
        /// The new id.
        id: SessionId,
        /// The record under the new id.
        record: R,
        /// How it moved.
        kind: MoveKind,
    },
    /// A log-in without an old session, or whose old session has ended or moved elsewhere. Events: `Created`, and
    /// `LoggedIn` without an old id.
    Begun {
        /// The new id.
        id: SessionId,
        /// What is stored under it.
        record: R,
    },
    /// A log-in has joined a faster one of the same user, with a secret of its own. Event: `Saved` with the keys that
    /// differ.
    Joined {
        /// The session that was joined.
        id: SessionId,
        /// The record before.
        former: R,
        /// The record now.
        record: R,
    },
    /// The new session is stored, and nobody knows whether the old one was left: a 503 with the new token. No event:
    /// the request or task that finishes the move sends it.
    InDoubt {
        /// The new id.
        id: SessionId,
        /// What is stored under it.
        record: R,
        /// The unknown reply.
        error: R::Error,
    },
    /// A log-in was beyond the limit, or was ended before its answer: a 503, and the old session stays. No event.
    Outdone,
    /// This machine has ended a session. Event: `Ended`. If several machines end one session, only one of them has this
    /// outcome.
    Closed {
        /// The session's last id.
        id: SessionId,
        /// The record before. `None` if only an earlier try of this machine can have ended it.
        record: Option<R>,
    },
    /// There was nothing to end: there is no session, it has ended already, or it is not one of the sessions to end. No event.
    Gone,
    /// A log-in was faster, and its session stays. No event.
    LoggedInSince,
    /// A session of another library was imported. Event: `Imported`.
    Imported {
        /// The new id.
        id: SessionId,
        /// The stored record.
        record: R,
    },
    /// The session is ready to be used. Event, if this machine finished the move: `LoggedIn` or `Cycled`.
    Helped {
        /// What is stored.
        record: R,
        /// The id that the session came from, and how, if this machine wrote the marker.
        moved: Option<(SessionId, MoveKind)>,
    },
    /// What an abandoned machine had begun is rolled back, or was finished before. No event.
    Undone,
    /// Failed: a 503, or a line in the log if nothing was to be saved. No event.
    Failed(R::Error),
}

/// What a machine returns at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finished<R: Rec> {
    /// The outcome. For an abandoned machine, what is certain already, or `None`.
    pub outcome: Option<Outcome<R>>,
    /// What to roll back, end or finish in the background.
    pub undo: Option<Undo<R>>,
    /// The sessions that the limit has ended, with their records before. Event: `Ended` for each, whatever the outcome.
    pub evicted: Vec<(SessionId, R)>,
}

impl<R: Rec> Finished<R> {
    pub(super) fn of(outcome: Outcome<R>) -> Self {
        Self {
            outcome: Some(outcome),
            undo: None,
            evicted: Vec::new(),
        }
    }

    pub(super) fn nothing() -> Self {
        Self {
            outcome: None,
            undo: None,
            evicted: Vec::new(),
        }
    }
}

/// Why a machine is abandoned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Abandon<E> {
    /// There will be no response: the request was dropped, or panicked.
    Cancelled,
    /// The store timeout has passed, and the visitor waits for a response. The error is that of the timeout.
    Late(E),
}
