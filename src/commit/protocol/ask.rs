//! How a machine and its driver talk: [`Ask`], [`Reply`] and [`Step`].

use crate::{commit::protocol::rec::Rec, record::token::SessionId};

/// What a machine asks for next. It borrows from the machine.
#[derive(Debug)]
pub enum Ask<'a, R: Rec> {
    /// Load the record under this id, past any cache. Reply: `Loaded`.
    Load(SessionId),
    /// Create this record if there is none under the id. Reply: `Created` or `Exists`.
    Create(SessionId, &'a R),
    /// Replace `former` by `next` if `former` is still stored. Reply: `Saved`, `Conflict` or `Missing`.
    Update {
        /// Which session.
        id: SessionId,
        /// The record to replace.
        former: &'a R,
        /// The record to store.
        next: &'a R,
    },
    /// Write the activity if this version is still stored. Reply: `Touched`, `Stale` or `Missing`.
    Touch(SessionId, &'a R),
    /// List all sessions and markers of the record's user that have not expired. Reply: `Listed`.
    List(&'a R),
    /// Apply the request's changes to this record, which another request has written, as its next version by the
    /// machine's writer. Reply: `Merged`, `Unchanged`, `Ended`, or `Refused` if a closure refuses.
    Merge(&'a R),
    /// Make the record of a new session and its id, as the first version by the machine's writer. Reply: `Begun`,
    /// `Ended`, or `Refused` if a closure refuses.
    Begin {
        /// The old session, whose data is taken over if the user may see it. `None`: only the request's changes.
        base: Option<&'a R>,
        /// Whether to draw another token, because another session has the id of the former one.
        redraw: bool,
    },
    /// Add the request's secret and its changes to this session of the same user, as its next version by the machine's
    /// writer. Reply: `Merged`, or `Unchanged` if it takes no further secret.
    Join(SessionId, &'a R),
    /// Is this one of the sessions to end? Reply: `Meant`.
    Judge(SessionId, &'a R),
    /// Load the other library's session, and make a new session's id and record, and its ledger entry. Reply: `Fetched`.
    Fetch,
    /// Delete the other library's session. Reply: `Forgotten`.
    Forget,
}

/// The reply to an ask. A store's reply is one of three: done, as the first variants say; refused; unknown.
#[derive(Clone, Debug)]
pub enum Reply<R: Rec> {
    /// The stored record, if there is one.
    Loaded(Option<R>),
    /// The record is stored.
    Created,
    /// Another record has this id. Nothing was changed.
    Exists,
    /// The former record was replaced.
    Saved,
    /// Another version is stored. Nothing was changed.
    Conflict,
    /// Nothing is stored under this id.
    Missing,
    /// The activity is stored.
    Touched,
    /// Another version is stored. Nothing was changed.
    Stale,
    /// The user's sessions and markers.
    Listed(Vec<(SessionId, R)>),
    /// The record to store.
    Merged(R),
    /// The changes make no difference.
    Unchanged,
    /// The session's absolute deadline has passed.
    Ended,
    /// A new session's id and record.
    Begun(SessionId, R),
    /// Whether the session is to be ended.
    Meant(bool),
    /// A new session's id and record, and its ledger entry. `None` if the other library has no session.
    Fetched(Option<Box<(SessionId, R, R)>>),
    /// The deletion was tried. It may have failed.
    Forgotten,
    /// The call was certainly not applied.
    Refused(R::Error),
    /// The call may have been applied, or may still be applied within minutes: the reply was lost or late, the call was
    /// interrupted, or the store cannot tell.
    Unknown(R::Error),
}

impl<R: Rec> Reply<R> {
    /// The error of a failed call.
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
    /// Other requests write to this session: wait in its queue or back off, then answer the next ask.
    Wait(SessionId),
    /// Take the outcome.
    Done,
}

/// How often a machine asks again after an unknown reply.
pub(super) const MAX_LOST_REPLIES: u8 = 3;
