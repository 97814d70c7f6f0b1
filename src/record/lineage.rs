//! Which session a session comes from, its [`Origin`], and which one it became, its [`Successor`].
// The model checker sees these through a hidden module, behind a feature.
#![cfg_attr(not(feature = "__model"), allow(unreachable_pub))]

use crate::record::{token::SessionId, version::Version};

/// How a session moved to another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MoveKind {
    /// It stays the same session.
    Cycle,
    /// A user logged in, which begins another session. Ending the old session does not end it.
    LogIn,
}

/// The session that a new session comes from. The next write under the new token clears it.
///
/// The move is finished when the record under the old id is a marker that names this session. A request that
/// loads the new session before finishes the move first.
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
    /// No record has this version, so the old session counts as changed.
    pub(crate) const UNKNOWN_VERSION: Version = Version {
        counter: 0,
        writer: 0,
    };
}

/// The session that a session became. The marker under the old id has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Successor {
    /// The new session.
    pub id: SessionId,
    /// How it moved.
    pub kind: MoveKind,
}
