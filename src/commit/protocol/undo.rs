//! What an abandoned machine leaves to be done in the background: [`Undo`].

use crate::{
    commit::protocol::rec::Rec,
    record::{token::SessionId, version::Version},
};

/// What is to be taken back, ended or finished in the background: ids, versions and a verifier, no data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Undo<R: Rec>(pub(super) Task<R::Stub>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task<S> {
    /// Close the id `new`; if the old session may be about to become the marker to it, bar that first.
    Close {
        new: SessionId,
        stub: S,
        old: Option<SessionId>,
    },
    End {
        id: SessionId,
        writer: u64,
        sent: Option<Version>,
    },
    Help(SessionId),
}

impl<R: Rec> Undo<R> {
    /// Of a session that was being created.
    pub(super) fn creation(id: SessionId, record: &R) -> Self {
        Self::of_move(id, record, None)
    }

    /// Of a move; `old` where its marker may have been sent.
    pub(super) fn of_move(new: SessionId, record: &R, old: Option<SessionId>) -> Self {
        Self(Task::Close {
            new,
            stub: record.stub(),
            old,
        })
    }

    /// A log-out that was not confirmed.
    pub(super) fn end(id: SessionId, writer: u64, sent: Option<Version>) -> Self {
        Self(Task::End { id, writer, sent })
    }

    /// A move that was left in doubt: it is finished, not taken back.
    pub(super) fn help(id: SessionId) -> Self {
        Self(Task::Help(id))
    }

    /// Which session it is about, for the log.
    pub fn id(&self) -> SessionId {
        match &self.0 {
            Task::Close { new, .. } => *new,
            Task::End { id, .. } | Task::Help(id) => *id,
        }
    }
}
