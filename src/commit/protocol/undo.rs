//! What to do in the background after a machine was abandoned: [`Undo`].

use crate::{
    commit::protocol::rec::Rec,
    record::{token::SessionId, version::Version},
};

/// What to roll back, end or finish in the background. It has ids, versions and a verifier, but no data.
// Boxed: rarely there, and every commit moves a place for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Undo<R: Rec>(pub(super) Box<Task<R>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task<R: Rec> {
    /// Close the id `new`. If a marker that leads to it may have been sent, bar the old session first.
    Close {
        new: SessionId,
        stub: R::Stub,
        old: Option<SessionId>,
    },
    End {
        id: SessionId,
        writer: u64,
        sent: Option<Version>,
    },
    Help(SessionId),
    /// Store the ledger entry of an import, which may have been sent; close `new` if another entry was stored.
    Enter {
        ledger: SessionId,
        entry: R,
        new: SessionId,
        stub: R::Stub,
    },
}

impl<R: Rec> Undo<R> {
    pub(super) fn of(task: Task<R>) -> Self {
        Self(Box::new(task))
    }

    /// Undoes a creation.
    pub(super) fn creation(id: SessionId, record: &R) -> Self {
        Self::of_move(id, record, None)
    }

    /// Undoes a move. `old` is set if its marker may have been sent.
    pub(super) fn of_move(new: SessionId, record: &R, old: Option<SessionId>) -> Self {
        Self::of(Task::Close {
            new,
            stub: record.stub(),
            old,
        })
    }

    /// Repeats a log-out that was not confirmed.
    pub(super) fn end(id: SessionId, writer: u64, sent: Option<Version>) -> Self {
        Self::of(Task::End { id, writer, sent })
    }

    /// Finishes a move that may or may not have been applied.
    pub(super) fn help(id: SessionId) -> Self {
        Self::of(Task::Help(id))
    }

    /// Stores the ledger `entry` of an import that created `new`.
    pub(super) fn entry(ledger: SessionId, entry: R, new: SessionId, record: &R) -> Self {
        let stub = record.stub();
        Self::of(Task::Enter {
            ledger,
            entry,
            new,
            stub,
        })
    }

    /// The session's id, for the log.
    #[must_use]
    pub fn id(&self) -> SessionId {
        match &*self.0 {
            Task::Close { new, .. } | Task::Enter { new, .. } => *new,
            Task::End { id, .. } | Task::Help(id) => *id,
        }
    }
}
