//! The machines: state machines that stay correct when replies are lost or late, and requests are cancelled. No I/O.
//!
//! A machine knows no store, clock, lock, randomness or user code. It says what it needs ([`Ask`]), takes a [`Reply`],
//! and returns the next [`Step`]. At the end it has an [`Outcome`]. A driver runs it:
//!
//! ```text
//! loop {
//!     let reply = match machine.ask() { None => break, Some(ask) => answer(ask) };
//!     match machine.step(reply, now) { Step::Ask => {}, Step::Wait(id) => wait(id), Step::Done => break }
//! }
//! let finished = machine.finish();
//! ```
//!
//! Each machine has a writer of its own, because writes with the same writer cannot be told apart.
//!
//! A driver that is interrupted [abandons](Machine::abandon) the machine, and runs the returned [`Undo`] in the
//! background.
//!
//! # Why it is correct
//!
//! A store applies each call once or not at all, at once or within six minutes, and its reply may be lost. The rules:
//!
//! 1. *A reply is done, refused, or unknown.* After an unknown reply the record's list of writers tells whether the call
//!    was applied: [`cas`].
//! 2. *A marker closes an id, never a deletion*: a creation that arrives late would succeed after a deletion: [`undoing`].
//! 3. *Ending is one compare-and-swap to a marker*, which expires by itself: [`ending`].
//! 4. *A session is at one id.* One compare-and-swap replaces the old session by a marker that leads to the new one. A
//!    request that finds an unfinished move finishes it before it reads: [`moving`], [`helping`].
//! 5. *Concurrent log-ins of one user from one session end in one session*: [`joining`].
//! 6. *A session of another library becomes one session*, the one that its ledger entry leads to: [`importing`].
//! 7. *Before a session is ended during a move, a bar is written*, so that the moving request finds out: [`limiting`],
//!    [`ending`].
//!
//! The model checker in `tests/model` explores every interleaving of these machines within its bounds. It also switches
//! each rule off, and shows that a property fails then.
//!
//! A file uses only those before it: `rec`, `ask`, `undo`; `cas`, `creation`; `ending`, `helping`, `undoing`; `write`,
//! `touching`, `claiming`; `joining`, `limiting`, `rewriting`, `moving`; `importing`. `kept` implements [`Rec`] for the stored record.
// The model checker sees these items through a hidden module, behind a feature.
#![cfg_attr(not(feature = "__model"), allow(unreachable_pub))]

mod ask;
mod cas;
mod claiming;
mod creation;
mod ending;
mod helping;
mod importing;
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
    importing::Import,
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
    /// Takes a value that only one request may have.
    Claim(Claim<R>),
    /// Records activity.
    Touch(Box<Touch<R>>),
    /// Logs in, or cycles.
    Move(Box<Move<R>>),
    /// Ends a session.
    End(Box<End<R>>),
    /// Finishes a move that another request began.
    Help(Box<Help<R>>),
    /// Undoes what an abandoned machine has begun.
    Undo(Box<Undoing<R>>),
    /// Imports a session of another library.
    Import(Box<Import<R>>),
}

impl<R: Rec> Machine<R> {
    /// The next thing to ask; `None` if there is nothing to do; then [`finish`](Self::finish) it.
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
            Self::Import(import) => import.ask(),
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
            Self::Import(import) => import.step(reply, now),
        }
    }

    /// The outcome, after [`Step::Done`], or if there was nothing to ask.
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
            Self::Import(import) => import.finish(),
        }
    }

    /// Abandons the machine, perhaps during a call.
    pub fn abandon(self, why: Abandon<R::Error>) -> Finished<R> {
        match self {
            Self::Write(write) => write.abandon(),
            Self::Move(moving) => moving.abandon(why),
            Self::End(end) => end.abandon(),
            Self::Import(import) => import.abandon(),
            Self::Claim(_) | Self::Touch(_) | Self::Help(_) | Self::Undo(_) => Finished::nothing(),
        }
    }
}
