//! What a machine asks and what it is told: [`Ask`], [`Reply`], [`Step`].

use crate::{commit::protocol::rec::Rec, record::token::SessionId};

/// What a machine wants to know or have done next. It borrows from the machine.
#[derive(Debug)]
pub enum Ask<'a, R: Rec> {
    /// What the store has under this id, past any cache. Reply: `Loaded`.
    Load(SessionId),
    /// Store a record where nothing is. Reply: `Created` or `Exists`.
    Create(SessionId, &'a R),
    /// Replace `former` by `next`, if it is still what is stored. Reply: `Saved`, `Conflict` or `Missing`.
    Update {
        /// Which session.
        id: SessionId,
        /// What is to be replaced.
        former: &'a R,
        /// What is to be stored.
        next: &'a R,
    },
    /// Move the activity of this very version forward. Reply: `Touched`, `Stale` or `Missing`.
    Touch(SessionId, &'a R),
    /// All sessions and markers of the record's user that have not expired, from every page. Reply: `Listed`.
    List(&'a R),
    /// The request's changes on top of this record, which another request has written meanwhile, as its next
    /// version by the machine's writer. Reply: `Merged`, `Unchanged`, `Ended`, or `Refused`
    /// where a closure refuses.
    Merge(&'a R),
    /// The record of a new session, as its first version by the machine's writer, with its id. Reply: `Begun`,
    /// `Ended`, or `Refused` where a closure refuses.
    Begin {
        /// What goes on under the new id, as far as its user may see it; `None`: the request's own changes only.
        base: Option<&'a R>,
        /// Whether the token drawn so far is no good: another session has its id.
        redraw: bool,
    },
    /// This session of the same user with a secret of the request's own beside its secrets, and the request's changes
    /// on top, as its next version by the machine's writer. Reply: `Merged`, or `Unchanged` where it takes no further secret.
    Join(SessionId, &'a R),
    /// Whether the operator means this session. Reply: `Meant`.
    Judge(SessionId, &'a R),
}

/// What a machine is told. A store's reply is one of three: done, as the variants say; refused; unknown.
#[derive(Clone, Debug)]
pub enum Reply<R: Rec> {
    /// What is stored.
    Loaded(Option<R>),
    /// The record is stored.
    Created,
    /// Another record has this id; nothing was changed.
    Exists,
    /// The record is stored in place of the former.
    Saved,
    /// Another version is stored; nothing was changed.
    Conflict,
    /// Nothing is stored under this id.
    Missing,
    /// The activity is stored.
    Touched,
    /// Another version is stored; nothing was changed.
    Stale,
    /// What the user has.
    Listed(Vec<(SessionId, R)>),
    /// What is to be stored.
    Merged(R),
    /// The changes make no difference.
    Unchanged,
    /// The session's absolute deadline has passed: there is nothing to write to.
    Ended,
    /// A new session's id and record.
    Begun(SessionId, R),
    /// Whether it is one of those to be ended.
    Meant(bool),
    /// Certainly not done.
    Refused(R::Error),
    /// Done or not, now or within minutes: the reply was lost, late or cut, or the store cannot tell.
    Unknown(R::Error),
}

impl<R: Rec> Reply<R> {
    /// The error of a call that did not work out.
    pub(super) fn into_error(self) -> R::Error {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
            _ => unreachable!("the reply to another ask"),
        }
    }
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Answer the machine's next ask.
    Ask,
    /// Others write to this session: wait for a turn, or back off; then answer the next ask.
    Wait(SessionId),
    /// Take the outcome.
    Done,
}

/// How often a machine asks again where a reply was unknown.
pub(super) const MAX_LOST_REPLIES: u8 = 3;
