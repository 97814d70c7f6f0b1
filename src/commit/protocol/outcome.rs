//! What a machine came to: [`Outcome`], [`Finished`].

use crate::{
    commit::protocol::{rec::Rec, undoing::Undo},
    record::{lineage::MoveKind, token::SessionId},
};

/// What a machine came to, and with it what is to be told: each variant names the events that are certain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<R: Rec> {
    /// A new session is stored. Tell `Created`.
    Created {
        /// Which session.
        id: SessionId,
        /// What is stored.
        record: R,
    },
    /// A write or a claim is stored. Tell `Saved` with what differs.
    Saved {
        /// What was there before.
        former: R,
        /// What was stored. Others may have written on top.
        record: R,
    },
    /// The changes made no difference to this, which is stored; what was to be claimed is not there.
    Unchanged(R),
    /// What a resumed write was to store is not stored and never will be.
    NotSaved,
    /// The activity of this record is stored.
    Touched(R),
    /// Another request has written, and so was seen, since the record was loaded.
    Stale,
    /// The session ended or went on under another id: what the request did is dropped, with 200.
    Ended,
    /// A cycle or log-in has moved the session. Tell `Cycled`, or `LoggedIn` with the old id; `Saved` with what differs.
    Moved {
        /// The old id.
        from: SessionId,
        /// What the old session had when it was left.
        former: R,
        /// The new id.
        id: SessionId,
        /// What is stored under the new id.
        record: R,
        /// How it moved.
        kind: MoveKind,
    },
    /// A log-in without an old session, or whose old session ended or moved elsewhere. Tell `Created`, and `LoggedIn` without an old id.
    Begun {
        /// The new id.
        id: SessionId,
        /// What is stored under it.
        record: R,
    },
    /// A log-in has joined a faster one of the same user, under a secret of its own. Tell `Saved` with what differs.
    Joined {
        /// The session that was joined.
        id: SessionId,
        /// What it was before.
        former: R,
        /// What is stored now.
        record: R,
    },
    /// The new session is stored, and nobody knows whether the old one was left: 503 with the new token. Tell
    /// nothing: who finishes the move, in the background or by presenting the token, tells of it.
    InDoubt {
        /// The new id.
        id: SessionId,
        /// What is stored under it.
        record: R,
        /// Why nobody knows.
        error: R::Error,
    },
    /// A log-in has met the limit, or was ended before its answer: 503, and the old session stays. Tell nothing.
    Outdone,
    /// A session was ended, by this machine. Tell `Ended`.
    Closed {
        /// The id that the session had by then.
        id: SessionId,
        /// What it was; `None` where all that is known is that an earlier try has ended it.
        record: Option<R>,
    },
    /// There was nothing to end: it was not there, has ended already, or is not meant. Tell nothing.
    Gone,
    /// A log-in was faster, and is not followed: its session goes on. Tell nothing.
    LoggedInSince,
    /// The session is ready to be used. Where this machine finished the move, tell `LoggedIn` or `Cycled`.
    Helped {
        /// What is stored.
        record: R,
        /// The id that the session came from, and how, where this machine wrote the marker.
        moved: Option<(SessionId, MoveKind)>,
    },
    /// What an abandoned machine had begun is taken back, or had come about. Tell nothing.
    Undone,
    /// 503, or logged where nothing was to be saved. Tell nothing.
    Failed(R::Error),
}

/// What a machine leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finished<R: Rec> {
    /// What it came to. An abandoned machine: what is certain by now; `None`: nothing but that it was abandoned.
    pub outcome: Option<Outcome<R>>,
    /// What is to be taken back, or ended, in the background.
    pub undo: Option<Undo<R>>,
    /// The sessions that a limit has ended, and what they were. Tell `Ended`, whatever the outcome.
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

/// Why a machine is given up before its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Abandon<E> {
    /// There will be no response: the request was dropped, or a panic went through it.
    Cancelled,
    /// The deadline has passed, and the visitor waits for a response: the error that it would be.
    Late(E),
}
