//! What must be right whatever is lost, late, cut or abandoned: the machines. No I/O.
//!
//! A machine knows no store, clock, lock, randomness or user code. It says what it wants to know or have done
//! ([`Ask`]), is told a [`Reply`], and says the next [`Step`]; at the end it has an [`Outcome`]. A driver runs it:
//!
//! ```text
//! loop {
//!     let reply = match machine.ask() { None => break, Some(ask) => answer(ask) };
//!     match machine.step(reply, now) { Step::Ask => {}, Step::Wait(id) => wait(id), Step::Done => break }
//! }
//! let finished = machine.finish();
//! ```
//!
//! Each machine has a writer of its own, drawn for it alone: the writes of two could be taken for each other otherwise.
//!
//! A driver that is cut before that [abandons](Machine::abandon) the machine, and hands what is to be undone to the background.
//!
//! # Why it holds
//!
//! A store applies each call once or not at all, now or within six minutes, and says so or not. The rules:
//!
//! 1. *A reply is done, refused, or unknown.* After an unknown reply only the record's list of writers settles it, or a version
//!    that is gone for good: [`cas`].
//! 2. *An id is closed by a marker, never by a deletion*, which would open it again to a creation that arrives late: [`undoing`].
//! 3. *Ending is one compare-and-swap to a marker*, which expires by itself: [`ending`].
//! 4. *A session is at one id.* The old session becomes the marker that leads to the new one, by one compare-and-swap: the
//!    moment of the move. Who finds a move that is not finished finishes it before reading: [`moving`], [`helping`].
//! 5. *Log-ins of one user from one session end in one session*: [`joining`].
//! 6. *Who ends a session that has not finished moving bars it first*, so that its request learns of it: [`limiting`], [`ending`].
//!
//! The model checker in `tests/model` explores every interleaving of these machines within its bounds, and shows that
//! each rule is needed: without it, one of the properties falls.
//!
//! Files, each of which uses only those before it: `rec`, `ask`, `undo`; `cas`, `creation`; `ending`, `helping`, `undoing`; `write`,
//! `touching`, `claiming`; `joining`, `limiting`, `rewriting`, `moving`. `kept` fits the stored record to all of them.
// The model checker sees these items through a hidden module, behind a feature.
#![cfg_attr(not(feature = "__model"), allow(unreachable_pub))]

mod ask;
mod cas;
mod claiming;
mod creation;
mod ending;
mod helping;
mod joining;
mod kept;
mod limiting;
mod moving;
mod outcome;
mod rec;
mod rewriting;
mod touching;
mod undo;
mod undoing;
mod write;

#[cfg(feature = "__model")]
pub use self::rec::Policy;
pub use self::{
    ask::{Ask, Reply, Step},
    claiming::Claim,
    ending::End,
    helping::Help,
    kept::Cause,
    moving::Move,
    outcome::{Abandon, Finished, Outcome},
    rec::Rec,
    touching::Touch,
    undo::Undo,
    undoing::Undoing,
    write::Write,
};
use crate::clock::Timestamp;

/// Any of the machines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Machine<R: Rec> {
    /// Creates or updates a session.
    Write(Write<R>),
    /// Takes a value that only one may have.
    Claim(Claim<R>),
    /// Records activity.
    Touch(Box<Touch<R>>),
    /// Logs in, or cycles.
    Move(Box<Move<R>>),
    /// Ends a session.
    End(Box<End<R>>),
    /// Finishes a move that another request began.
    Help(Box<Help<R>>),
    /// Takes back what an abandoned machine has begun.
    Undo(Box<Undoing<R>>),
}

impl<R: Rec> Machine<R> {
    /// The next thing to ask; `None` where there is nothing to do: [`finish`](Self::finish) it.
    #[inline]
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        match self {
            Self::Write(write) => Some(write.ask()),
            Self::Claim(claim) => Some(claim.ask()),
            Self::Touch(touch) => Some(touch.ask()),
            Self::Move(moving) => moving.ask(),
            Self::End(end) => end.ask(),
            Self::Help(help) => help.ask(),
            Self::Undo(undoing) => undoing.ask(),
        }
    }

    /// Takes the reply to the last [`ask`](Self::ask); `now` is the time of the reply.
    #[inline]
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        match self {
            Self::Write(write) => write.step(reply, now),
            Self::Claim(claim) => claim.step(reply, now),
            Self::Touch(touch) => touch.step(reply),
            Self::Move(moving) => moving.step(reply, now),
            Self::End(end) => end.step(reply, now),
            Self::Help(help) => help.step(reply, now),
            Self::Undo(undoing) => undoing.step(reply, now),
        }
    }

    /// What it came to, after [`Step::Done`], or where there was nothing to ask.
    #[inline]
    pub fn finish(self) -> Finished<R> {
        match self {
            Self::Write(write) => write.finish(),
            Self::Claim(claim) => claim.finish(),
            Self::Touch(touch) => touch.finish(),
            Self::Move(moving) => moving.finish(),
            Self::End(end) => end.finish(),
            Self::Help(help) => help.finish(),
            Self::Undo(undoing) => undoing.finish(),
        }
    }

    /// Gives the machine up before its end, with a call under way or not.
    pub fn abandon(self, why: Abandon<R::Error>) -> Finished<R> {
        match self {
            Self::Write(write) => write.abandon(),
            Self::Move(moving) => moving.abandon(why),
            Self::End(end) => end.abandon(),
            Self::Claim(_) | Self::Touch(_) | Self::Help(_) | Self::Undo(_) => Finished::nothing(),
        }
    }
}
