//! What one request of a schedule does, and what its visitor is told: [`answer`].

use std::sync::Arc;

use cloakroom::{Error, ErrorKind, Session, SessionId, SessionLayer};
use http::StatusCode;
use parking_lot::Mutex;

use crate::support::{Visitor, acts};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Adds one to the count.
    Increment,
    /// The same by a `save`.
    Save,
    /// The same by a `save`, then a log-in.
    SaveLogIn(&'static str),
    /// Puts a voucher there.
    Insert,
    /// Takes the voucher.
    Claim,
    LogIn(&'static str),
    /// A log-in that takes the voucher in the same request, by a `try_update`.
    LogInTake(&'static str),
    Cycle,
    Destroy,
    Touch,
    /// A visitor without a session.
    Create,
    /// A visitor with a cookie of another library.
    Import,
    /// The operator ends this session.
    Revoke,
    /// The operator ends a user's sessions.
    RevokeUser(&'static str),
}

impl Op {
    pub(super) fn user(self) -> Option<&'static str> {
        match self {
            Self::LogIn(user) | Self::LogInTake(user) | Self::SaveLogIn(user) => Some(user),
            _ => None,
        }
    }

    pub(super) fn moves(self) -> bool {
        self.user().is_some() || self == Self::Cycle
    }

    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Destroy | Self::Revoke | Self::RevokeUser(_))
    }

    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Increment | Self::Save | Self::SaveLogIn(_))
    }
}

/// With whose token a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// That of the nth session at the beginning.
    Old(usize),
    /// That which the nth request was given.
    New(usize),
}

/// What the visitor, or the operator, is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// 200, and it is stored.
    Ok,
    /// 200, dropped: the session had ended or moved.
    Dropped,
    /// The voucher is theirs.
    Got,
    NotThere,
    /// 200 with the token of this session.
    Moved(SessionId),
    /// 200: the session has ended, by this request or before.
    Gone,
    /// 503, or a refusal of its own.
    Failed,
    /// 503 with the token of a new session.
    InDoubt(SessionId),
    /// The request was dropped, and what it had begun is undone.
    Cancelled,
    /// Its node is gone.
    Crashed,
    /// It has never begun.
    Idle,
}

impl Out {
    /// The session whose token the response has.
    pub(super) fn given(self) -> Option<SessionId> {
        match self {
            Self::Moved(id) | Self::InDoubt(id) => Some(id),
            _ => None,
        }
    }

    pub(super) fn is_answered_move(self) -> bool {
        matches!(self, Self::Moved(_))
    }
}

/// What is certain before the response.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Certain>>);

#[derive(Clone, Copy, Default)]
pub(super) struct Certain {
    /// The handler has the voucher.
    pub(super) got: bool,
    /// The save before a log-in was answered.
    pub(super) has_saved: bool,
}

impl Progress {
    pub(super) fn certain(&self) -> Certain {
        *self.0.lock()
    }
}

async fn pause(turns: u64) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

fn count(session: &Session) -> Result<(), Error> {
    session
        .update("n", |n: Option<u64>| n.unwrap_or(0) + 1)
        .map(drop)
}

fn log_in(session: &Session, user: &'static str) -> Result<(), Error> {
    session.log_in(user)?;
    session.insert(format!("private-{user}"), 1)
}

/// What does nothing to a session that has ended.
fn unless_ended<T: Default>(done: Result<T, Error>) -> Result<T, Error> {
    match done {
        Err(error) if error.kind() == ErrorKind::Ended => Ok(T::default()),
        done => done,
    }
}

/// The handler of `op`, in which the visitor's session is known.
async fn act(op: Op, session: &Session, progress: &Progress) -> Result<StatusCode, Error> {
    match op {
        Op::Increment | Op::Create => count(session)?,
        Op::Save => {
            count(session)?;
            // What was not saved is saved with the response.
            let _ = session.save().await;
        }
        Op::SaveLogIn(user) => {
            count(session)?;
            progress.0.lock().has_saved = true;
            let _ = session.save().await;
            log_in(session, user)?;
        }
        Op::Insert => session.insert("voucher", 1)?,
        Op::Claim => {
            let claimed: Option<u64> = unless_ended(session.claim("voucher").await)?;
            progress.0.lock().got = claimed.is_some();
        }
        Op::LogIn(user) => log_in(session, user)?,
        Op::LogInTake(user) => {
            let take = |voucher: Option<u64>| voucher.map(|_| None).ok_or(());
            if session.try_update("voucher", take)?.is_err() {
                return Ok(StatusCode::CONFLICT);
            }
            log_in(session, user)?;
        }
        Op::Cycle => session.cycle_id()?,
        Op::Import => {}
        Op::Destroy => session.destroy(),
        Op::Touch => unless_ended(session.touch().await)?,
        Op::Revoke | Op::RevokeUser(_) => unreachable!("the operator's"),
    }
    Ok(StatusCode::OK)
}

/// One request from its beginning to its answer; `pauses`: for how many turns its handler waits.
pub(super) async fn answer(op: Op, visitor: Visitor, progress: Progress, pauses: [u64; 2]) -> Out {
    let former = visitor.cookie();
    let used = Mutex::new(None);
    let reply = visitor
        .visit(async |session: Session| {
            pause(pauses[0]).await;
            let acted = act(op, &session, &progress).await;
            *used.lock() = Some(session);
            pause(pauses[1]).await;
            acted
        })
        .await;
    let is_sent = visitor.cookie() != former && visitor.cookie().is_some();
    let id = is_sent.then(|| acts::id(&visitor));
    match (reply.status, id) {
        (StatusCode::OK, Some(id)) if op.moves() || op == Op::Import => Out::Moved(id),
        (StatusCode::OK, _) => match op {
            Op::Claim if progress.certain().got => Out::Got,
            Op::Claim => Out::NotThere,
            Op::Destroy => Out::Gone,
            _ if op.moves() || op == Op::Import => Out::Dropped,
            _ => match used.lock().as_ref().and_then(Session::id) {
                Some(_) => Out::Ok,
                None => Out::Dropped,
            },
        },
        (_, Some(id)) => Out::InDoubt(id),
        (_, None) => Out::Failed,
    }
}

/// What the operator does.
pub(super) async fn operate(op: Op, layer: SessionLayer, id: SessionId) -> Out {
    let done = match op {
        Op::RevokeUser(user) => layer.sessions().revoke_user(user).await.map(drop),
        _ => layer.sessions().revoke(id).await.map(drop),
    };
    done.map_or(Out::Failed, |()| Out::Gone)
}
