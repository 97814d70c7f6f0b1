//! One state of the model: the store, calls under way, and the requests.

use std::sync::LazyLock;

use cloakroom::{
    SessionId, Version,
    protocol::{Ask, Machine, MoveKind, Reply, Successor, Undoing, Write},
};

use crate::record::{Fields, Small};

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Op {
    /// Adds one to the count.
    Increment,
    /// The same by a `save`, which is resumed after an interruption.
    Save,
    /// The same by a `save`, then a log-in.
    SaveLogIn(u8),
    /// Puts a voucher there.
    Insert,
    /// Takes the voucher.
    Claim,
    LogIn(u8),
    /// A log-in that takes the voucher in the same request, by a `try_update`.
    LogInTake(u8),
    Cycle,
    Destroy,
    Touch,
    /// A new secret.
    Renew,
    /// A visitor without a session.
    Create,
    /// A visitor with a cookie of another library.
    Import,
    /// The operator ends this session.
    Revoke,
    /// The operator ends a user's sessions.
    RevokeUser(u8),
}

impl Op {
    pub(crate) fn user(self) -> Option<u8> {
        match self {
            Self::LogIn(user) | Self::LogInTake(user) | Self::SaveLogIn(user) => Some(user),
            _ => None,
        }
    }

    pub(crate) fn moves(self) -> bool {
        self.user().is_some() || self == Self::Cycle
    }

    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Destroy | Self::Revoke | Self::RevokeUser(_))
    }

    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Increment | Self::Save | Self::SaveLogIn(_))
    }
}

/// The token of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum With {
    /// The token of the nth session at the beginning.
    Old(u8),
    /// The token that the nth request got.
    New(u8),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Actor {
    pub(crate) op: Op,
    pub(crate) with: With,
    /// The session of the request, and its secret.
    pub(crate) id: u8,
    pub(crate) secret: u8,
    pub(crate) phase: Phase,
    /// The save before a log-in was answered.
    pub(crate) has_saved: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Phase {
    Idle,
    Loading,
    /// Finishing a move before the session is used.
    Helping(Machine<Small>),
    /// `begun`: it has asked the store something.
    Running {
        machine: Machine<Small>,
        begun: bool,
    },
    Listing(u8),
    /// One session after another.
    Ending(Machine<Small>, Vec<u8>),
    /// A save without a reply.
    Kept(Write<Small>),
    Done(Out),
    Cancelled,
    Crashed,
}

/// The answer to the visitor or the operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Out {
    /// 200, and it is stored.
    Ok,
    /// 200, dropped: the session had ended or moved.
    Dropped,
    /// The visitor got the voucher.
    Got,
    NotThere,
    /// 200 with the token of a new session.
    Moved(u8),
    /// 200 with a token of a session that was joined.
    Joined(u8),
    /// 200 with a removal cookie; the session was ended by this request.
    Closed,
    /// The same, and there was nothing to end.
    Gone,
    /// The same, and a log-in was faster.
    LoggedInSince,
    /// 503.
    Failed,
    /// 503 with the token of a new session.
    InDoubt(u8),
    /// 503: the log-in is beyond the limit.
    Outdone,
}

impl Out {
    /// The session of the token in the response.
    pub(crate) fn given(self) -> Option<u8> {
        match self {
            Self::Moved(id) | Self::Joined(id) | Self::InDoubt(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn is_answered_move(self) -> bool {
        matches!(self, Self::Moved(_) | Self::Joined(_))
    }
}

/// A call on its way to the store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    Load(u8),
    Create(u8, Small),
    Update(u8, Version, Small),
    Touch(u8, Version),
    List(u8),
    /// Loads the other library's session, which becomes this session.
    Fetch(u8, u8),
    Forget,
}

impl Call {
    /// The store call that a machine asks for.
    pub(crate) fn of(ask: &Ask<'_, Small>) -> Option<Self> {
        Some(match ask {
            Ask::Load(id) => Self::Load(index(*id)),
            Ask::Create(id, record) => Self::Create(index(*id), (*record).clone()),
            Ask::Update { id, former, next } => {
                Self::Update(index(*id), former.version, (*next).clone())
            }
            Ask::Touch(id, record) => Self::Touch(index(*id), record.version),
            Ask::List(record) => Self::List(record.user),
            Ask::Forget => Self::Forget,
            Ask::Merge(_) | Ask::Begin { .. } | Ask::Join(..) | Ask::Judge(..) | Ask::Fetch => {
                return None;
            }
        })
    }

    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Create(..) | Self::Update(..) | Self::Forget)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) lost: u8,
    pub(crate) cancelled: u8,
    pub(crate) late: u8,
    pub(crate) crashed: u8,
    pub(crate) reaped: u8,
    pub(crate) evicted: u8,
    pub(crate) undo_lost: u8,
}

/// Events that must never happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Breaches {
    /// A response had a token that did not work at the moment of the move.
    pub(crate) dead_token: bool,
    /// A secret was added to a session that somebody has written to, or of another user.
    pub(crate) written_joined: bool,
    /// A session became a marker that leads to a missing session.
    pub(crate) dead_move: bool,
    /// The event of a session's end or log-in was sent twice.
    pub(crate) told_twice: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    pub(crate) store: Vec<Option<Small>>,
    /// Sent, and not applied yet; the reply was unknown.
    pub(crate) late: Vec<Call>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) undoing: Vec<Undoing<Small>>,
    /// The tokens that responses had: session and request.
    pub(crate) given: Vec<(u8, u8)>,
    /// The sessions with an event of their end.
    pub(crate) ended: Vec<u8>,
    /// The sessions with an event of their move, by the new id.
    pub(crate) moved: Vec<u8>,
    /// The sessions that a limit has ended.
    pub(crate) evicted: Vec<u8>,
    pub(crate) spent: Spent,
    pub(crate) breaches: Breaches,
    /// The requests with a stored claim, one bit each.
    pub(crate) claimed: u8,
    /// Whether the other library still has the old session.
    pub(crate) old: bool,
    pub(crate) helped: bool,
    pub(crate) resumed: bool,
}

impl World {
    pub(crate) fn get(&self, id: u8) -> Option<&Small> {
        self.store[id as usize].as_ref()
    }

    pub(crate) fn live(&self, id: u8) -> Option<&Small> {
        self.get(id).filter(|record| !record.is_marker)
    }

    /// The session that the ledger entry leads to. Its id comes after those of the requests. `None` if there is no entry.
    pub(crate) fn imported(&self) -> Option<u8> {
        let ledger = self.store.len() as u8 - 1;
        let entry = self.get(ledger)?;
        entry.successor.map(|to| index(to.id))
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = (u8, &Small)> {
        (0..self.store.len() as u8).filter_map(|id| Some((id, self.live(id)?)))
    }

    /// Whether everything has ended.
    pub(crate) fn is_settled(&self) -> bool {
        let is_over = |actor: &Actor| match &actor.phase {
            Phase::Done(_) | Phase::Cancelled | Phase::Crashed => true,
            Phase::Idle => {
                matches!(actor.with, With::New(of) if self.token_of(of).is_none() && self.is_over(of))
            }
            _ => false,
        };
        self.late.is_empty() && self.undoing.is_empty() && self.actors.iter().all(is_over)
    }

    fn is_over(&self, actor: u8) -> bool {
        matches!(
            self.actors[actor as usize].phase,
            Phase::Done(_) | Phase::Cancelled | Phase::Crashed
        )
    }

    /// The token that the nth request was given.
    pub(crate) fn token_of(&self, actor: u8) -> Option<u8> {
        self.given
            .iter()
            .find(|given| given.1 == actor)
            .map(|given| given.0)
    }

    /// Whether a request with the token reads the data without finishing a move first.
    pub(crate) fn is_readable(&self, id: u8) -> bool {
        let from = self.live(id).and_then(|record| record.origin);
        from.is_none_or(|from| {
            let origin = self.get(index(from.id));
            origin.is_none_or(|origin| origin.successor.is_some_and(|to| index(to.id) == id))
        })
    }

    /// Applies a call to the store.
    pub(crate) fn apply(&mut self, call: &Call) -> Reply<Small> {
        if let Call::Update(id, expected, next) = call {
            self.check(*id, *expected, next);
        }
        match call {
            Call::Load(id) => Reply::Loaded(self.store[*id as usize].clone()),
            Call::Create(id, record) => match &mut self.store[*id as usize] {
                Some(_) => Reply::Exists,
                empty => {
                    *empty = Some(record.clone());
                    Reply::Created
                }
            },
            Call::Update(id, expected, next) => match &mut self.store[*id as usize] {
                None => Reply::Missing,
                Some(stored) if stored.version != *expected => Reply::Conflict,
                Some(stored) => {
                    *stored = next.clone();
                    Reply::Saved
                }
            },
            Call::Touch(id, expected) => match self.get(*id) {
                None => Reply::Missing,
                Some(stored) if stored.version != *expected => Reply::Stale,
                Some(_) => Reply::Touched,
            },
            Call::Fetch(..) if !self.old => Reply::Fetched(None),
            Call::Fetch(actor, id) => {
                let (record, entry) = imported(*actor, *id);
                Reply::Fetched(Some(Box::new((session(*id), record, entry))))
            }
            Call::Forget => {
                self.old = false;
                Reply::Forgotten
            }
            Call::List(user) => Reply::Listed(
                (0..self.store.len() as u8)
                    .filter_map(|id| Some((session(id), self.get(id)?.clone())))
                    .filter(|(_, record)| record.user == *user)
                    .collect(),
            ),
        }
    }

    /// Checks a write before it is stored, and records what must never happen.
    fn check(&mut self, id: u8, expected: Version, next: &Small) {
        let Some(stored) = self.live(id).filter(|stored| stored.version == expected) else {
            return;
        };
        let added = next.secrets & !stored.secrets;
        let joins = added != 0 && !next.is_marker && !self.is_by(added, Op::Renew);
        let is_unwritten = if self.is_by(added, Op::Import) {
            !stored.is_used
        } else {
            let from = stored.origin;
            from.is_some_and(|from| from.kind == MoveKind::LogIn)
        };
        let claims = stored.voucher && !next.voucher && !next.is_marker;
        let is_lost = |to: u8| self.live(to).is_none() && self.spent.evicted == 0;
        let is_dead = next.successor.is_some_and(|to| is_lost(index(to.id)));
        self.breaches.written_joined |= joins && !is_unwritten;
        self.breaches.dead_move |= is_dead;
        let writer = (next.version.writer as usize).checked_sub(1);
        let actor = writer.and_then(|nth| Some((nth, self.actors.get(nth)?)));
        if let Some((nth, actor)) = actor
            && claims
            && actor.op == Op::Claim
        {
            self.claimed |= 1 << nth;
        }
    }

    /// Whether the secret is of a request that does `op`.
    fn is_by(&self, secret: u8, op: Op) -> bool {
        let actor = secret.trailing_zeros() as usize;
        let actor = actor
            .checked_sub(1)
            .and_then(|actor| self.actors.get(actor));
        actor.is_some_and(|actor| actor.op == op)
    }
}

/// The other library's session as a new session, and the ledger entry that leads to it.
fn imported(actor: u8, id: u8) -> (Small, Small) {
    let writer = u64::from(actor) + 1;
    let record = Small::of(Fields {
        voucher: true,
        cart: true,
        secrets: 2 << actor,
        ..Small::blank(writer)
    });
    let to = Successor {
        id: session(id),
        kind: MoveKind::LogIn,
    };
    let entry = Small::of(Fields {
        is_marker: true,
        successor: Some(to),
        ..Small::blank(writer)
    });
    (record, entry)
}

/// The id of the nth session.
pub(crate) fn session(index: u8) -> SessionId {
    static IDS: LazyLock<Vec<SessionId>> = LazyLock::new(|| {
        (0..16)
            .map(|index| {
                format!("00000000-0000-4000-8000-0000000000{index:02x}")
                    .parse()
                    .unwrap()
            })
            .collect()
    });
    IDS[index as usize]
}

/// Which session an id is of.
pub(crate) fn index(id: SessionId) -> u8 {
    id.as_bytes()[15]
}
