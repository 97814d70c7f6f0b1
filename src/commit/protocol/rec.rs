//! What the machines need of a record: [`Rec`].

use std::{fmt::Debug, hash::Hash};

use crate::{
    clock::Timestamp,
    record::{
        lineage::{Origin, Successor},
        token::SessionId,
        version::{Version, Wrote},
    },
};

/// A record as the machines see it. The crate's is the stored record with its activity; the model
/// checker has a small one of its own around the same [`Version`] and [`Wrote`].
///
/// A method that takes a `writer` returns the next version of the record, by that writer.
pub trait Rec: Clone {
    /// Why a call failed. The machines keep it and hand it back.
    type Error: Clone + Debug + Eq + Hash;

    /// What is left of a record when only a marker is to be written in its place: no data.
    type Stub: Clone + Debug + Eq + Hash;

    /// Which write the record stems from.
    fn version(&self) -> Version;

    /// Whether the write of `version` is this record or was before it.
    fn wrote(&self, version: Version) -> Wrote;

    /// Whether the session is no longer here: it ended, or goes on under another id.
    fn is_marker(&self) -> bool;

    /// Where a marker leads; `None` where the session ended.
    fn successor(&self) -> Option<Successor>;

    /// Where the session comes from, until a request writes under its token.
    fn origin(&self) -> Option<Origin>;

    /// The id that the session never becomes: that move was taken back.
    fn bar(&self) -> Option<SessionId>;

    /// By which the log-ins of one user are ordered; `None` without a log-in.
    fn ranked_at(&self) -> Option<Timestamp>;

    /// Whether both have the same user. Two without a user do not.
    fn has_user_of(&self, other: &Self) -> bool;

    /// The marker that takes the record's place.
    #[must_use]
    fn marker(&self, to: Option<Successor>, writer: u64, now: Timestamp) -> Self;

    /// The same session, which never becomes `id`. Its origin stays.
    #[must_use]
    fn barred(&self, id: SessionId, writer: u64) -> Self;

    /// The same log-in or cycle, with the data that `origin` has now; with none of it where `None`, or where the
    /// origin is another user's.
    #[must_use]
    fn taking_over(&self, origin: Option<&Self>, writer: u64) -> Self;

    /// This content in place of `former`: the version after it, by `writer`.
    #[must_use]
    fn replacing(self, former: &Self, writer: u64) -> Self;

    /// The same version, with this origin.
    #[must_use]
    fn with_origin(self, origin: Option<Origin>) -> Self;

    /// The same version, whose log-in counts as one at `rank`.
    #[must_use]
    fn with_rank(self, rank: Option<Timestamp>) -> Self;

    /// What is needed to close the record's id later.
    fn stub(&self) -> Self::Stub;

    /// The marker that closes an id.
    fn closing(stub: &Self::Stub, writer: u64, now: Timestamp) -> Self;

    /// Whether `rule` is in force. All are; the model checker takes out one at a time and shows that it finds out.
    #[must_use]
    #[inline]
    fn keeps(rule: Policy) -> bool {
        let _ = rule;
        true
    }
}

/// The rules that the model checker can take out: planted faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A write that no reply told of, and that the record no longer remembers, fails.
    WriteBeyondMemoryFails,
    /// So does a claim.
    ClaimBeyondMemoryFails,
    /// Whether the write is in the record is asked before whether the session has moved.
    WroteBeforeMoved,
    /// A claim that no reply told of fails where the record is gone.
    ClaimMissingFails,
    /// A log-in that meets a faster one of the same user joins it.
    Joins,
    /// Only the session of the same user is joined.
    JoinsSameUser,
    /// Only a session that nobody has written to is joined.
    JoinsUnwritten,
    /// What meets a faster move begins without the data that moved.
    LaterBeginsEmpty,
    /// After a conflict the new session takes in what the old one has before the old one is left.
    RewritesBeforeMarker,
    /// The limit is enforced before the old session is left.
    LimitBeforeMarker,
    /// Where the marker's fate is unknown, the response carries the new token.
    TokenInDoubt,
    /// A log-in that is refused closes the id of what it created.
    RefusedIsClosed,
    /// Who ends a session that has not finished moving bars it first.
    EndBars,
    /// A log-out follows a cycle.
    EndFollowsCycle,
    /// A log-out does not follow a log-in.
    EndSparesLogIn,
    /// Who loads a session that has not finished moving finishes the move.
    Helps,
    /// Who finishes a move takes over what the old session has now.
    HelpTakesOver,
    /// What a cancelled move began in the old session is barred first.
    UndoBars,
    /// The id of a new session that nobody has the token of is closed by a marker.
    UndoCloses,
}
