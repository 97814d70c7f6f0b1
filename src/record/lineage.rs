//! Which session a session comes from, and which one it became: [`Origin`], [`Successor`].
// The model checker sees these through a hidden module, behind a feature.
#![cfg_attr(not(feature = "__model"), allow(unreachable_pub))]

use crate::record::{token::SessionId, version::Version};

/// How a session goes on under another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MoveKind {
    /// It stays the same session.
    Cycle,
    /// A user was bound. Whoever ends the old session does not end the new one.
    LogIn,
}

/// Where a new session comes from. The next write under its token clears it.
///
/// Until the old session is the marker that names this one, the move is not finished: whoever
/// loads the new session finishes it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The old session.
    pub id: SessionId,
    /// The version of the old session whose data the new one has.
    pub version: Version,
    /// How it moved.
    pub kind: MoveKind,
}

impl Origin {
    /// No record has this version: the old session counts as changed.
    pub(crate) const UNKNOWN_VERSION: Version = Version {
        counter: 0,
        writer: 0,
    };
}

/// Where a session went: what the marker under its old id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Successor {
    /// The new session.
    pub id: SessionId,
    /// How it moved.
    pub kind: MoveKind,
}
