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

    /// What is needed of a record to write its marker later. It has no data.
    type Stub: Clone + Debug + Eq + Hash;

    /// Which write the record comes from.
    fn version(&self) -> Version;

    /// Whether the write with this `version` made this record, or one before it.
    fn wrote(&self, version: Version) -> Wrote;

    /// Whether this is a marker: the session has ended, or moved to another id.
    fn is_marker(&self) -> bool;

    /// The session that a marker leads to. `None` if the session has ended.
    fn successor(&self) -> Option<Successor>;

    /// The session that this one comes from, until a request writes under its token.
    fn origin(&self) -> Option<Origin>;

    /// The id that the session never moves to, because that move was rolled back.
    fn bar(&self) -> Option<SessionId>;

    /// Orders the log-ins of one user. `None` without a log-in.
    fn ranked_at(&self) -> Option<Timestamp>;

    /// Whether both have the same user. Two without a user do not.
    fn has_user_of(&self, other: &Self) -> bool;

    /// The marker that replaces the record.
    #[must_use]
    fn marker(&self, to: Option<Successor>, writer: u64, now: Timestamp) -> Self;

    /// The same session, barred from `id`. Its origin stays.
    #[must_use]
    fn barred(&self, id: SessionId, writer: u64) -> Self;

    /// The same log-in or cycle with the data of `origin`. Without data if that is `None`, or belongs to another user.
    #[must_use]
    fn taking_over(&self, origin: Option<&Self>, writer: u64) -> Self;

    /// This content as the version after `former`, by `writer`.
    #[must_use]
    fn replacing(self, former: &Self, writer: u64) -> Self;

    /// The same version, with this origin.
    #[must_use]
    fn with_origin(self, origin: Option<Origin>) -> Self;

    /// The same version, whose log-in is ordered by `rank`.
    #[must_use]
    fn with_rank(self, rank: Option<Timestamp>) -> Self;

    /// What is needed to close the record's id later.
    fn stub(&self) -> Self::Stub;

    /// The marker that closes an id.
    fn closing(stub: &Self::Stub, writer: u64, now: Timestamp) -> Self;

    /// Whether this session, which was imported with the ledger entry `entry`, still takes requests with the old token: no
    /// visitor has presented a secret of its own yet, or the first one did so less than a minute ago.
    fn admits(&self, entry: &Self, now: Timestamp) -> bool;

    /// Whether `rule` is in force. All are, except in the model checker, which switches one off at a time.
    #[must_use]
    #[inline]
    fn keeps(rule: Policy) -> bool {
        let _ = rule;
        true
    }
}

/// The rules that the model checker can switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A write whose reply was lost fails if the record does not remember that far back.
    WriteBeyondMemoryFails,
    /// A claim fails in the same case.
    ClaimBeyondMemoryFails,
    /// Whether the write is in the record is asked before whether the session has moved.
    WroteBeforeMoved,
    /// A claim whose reply was lost fails if the record is gone.
    ClaimMissingFails,
    /// A log-in that meets a faster one of the same user joins it.
    Joins,
    /// A log-in joins only a session of the same user.
    JoinsSameUser,
    /// A log-in joins only a session that nobody has written to.
    JoinsUnwritten,
    /// A log-in whose session has moved begins without its data.
    LaterBeginsEmpty,
    /// After a conflict the new session takes over the old data before the marker is tried again.
    RewritesBeforeMarker,
    /// The limit is enforced before the old session is left.
    LimitBeforeMarker,
    /// The limit ends a new session together with the old one that it is about to leave.
    LimitEndsBoth,
    /// The user's sessions are listed again if one of those to end has a later log-in than the list says.
    LimitListsAgain,
    /// If the marker may or may not have been applied, the response has the new token.
    TokenInDoubt,
    /// A refused log-in closes the session that it has created.
    RefusedIsClosed,
    /// Ending a session whose move is not finished bars it first.
    EndBars,
    /// A log-out follows a cycle.
    EndFollowsCycle,
    /// A log-out does not follow a log-in.
    EndSparesLogIn,
    /// Loading a session whose move is not finished finishes it.
    Helps,
    /// Finishing a move takes over the current data of the old session.
    HelpTakesOver,
    /// Undoing a move bars the old session first.
    UndoBars,
    /// A marker closes the id of a new session whose token no visitor has.
    UndoCloses,
    /// An import closes its session if there is a ledger entry already.
    ImportsOnce,
    /// An old token opens only a session whose own secrets nobody has presented yet.
    ImportsUnused,
    /// An import whose ledger entry may have been stored keeps its session.
    ImportsInDoubtStay,
}
