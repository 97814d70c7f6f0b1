//! Log-in and cycle: [`Move`].
//!
//! First the new session is created; it names the id and the version of the old one. Then, for a log-in, the limit is
//! enforced. Then a marker that leads to the new session replaces the old one, by compare-and-swap. That is the
//! move. Before it the old session is unchanged, so a failure costs the visitor nothing. After it the new token works.
//!
//! If the old session has changed meanwhile, the new one takes over its data, and the marker is tried again. If the old
//! session has ended or moved, a cycled session has ended too. A log-in then joins a faster one of the same user, or
//! begins with the request's own changes alone, because the old data must not be in two places.
//!
//! If nobody can tell whether the marker was applied, the response is a 503 with the new token, and nothing is undone:
//! the next request with that token finishes the move.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        creation::{Creating, Creation},
        joining::{Join, Joining, joinable, left_by},
        limiting::{Limit, Limiting, rank_after},
        outcome::{Abandon, Finished, Outcome},
        rec::{Policy, Rec},
        rewriting::{Rewrite, Rewriting},
        undo::Undo,
    },
    record::{
        lineage::{MoveKind, Origin, Successor},
        token::SessionId,
    },
};

/// Moves a session to a new id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Move<R: Rec> {
    kind: MoveKind,
    writer: u64,
    old: Option<SessionId>,
    /// The old session, as the new one has taken it over. `None` if there is no old session to leave.
    base: Option<R>,
    new: Option<(SessionId, R)>,
    most: Option<usize>,
    /// The session that the old one became by another log-in, if the request presented the old token.
    led_to: Option<SessionId>,
    trace: Trace,
    evicted: Vec<(SessionId, R)>,
    stage: Stage<R>,
}

const HAS_BEGUN: &str = "the new session has begun";

/// What may be stored already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Trace {
    /// The creation was sent, and not refused.
    may_exist: bool,
    is_created: bool,
    is_marker_sent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    /// Loading the old session. This many attempts have failed.
    Reloading(u8),
    Beginning {
        redraw: bool,
    },
    /// Listing the user's sessions. This many attempts have failed.
    Ranking(u8),
    Creating(Creation<R>),
    Limiting(Limit<R>),
    Marking(Cas<R>),
    Rewriting(Rewrite<R>),
    Joining(Join<R>),
    /// Closing the new session. The log-in has this outcome.
    Closing(Cas<R>, Box<Outcome<R>>),
    Done(Box<Outcome<R>>),
}

impl<R: Rec> Move<R> {
    /// A log-in from the session `old`, or from the marker under its id. `most` is how many sessions the user may have.
    pub fn log_in(old: Option<(SessionId, R)>, writer: u64, most: Option<usize>) -> Self {
        Self::new(MoveKind::LogIn, old, writer, most)
    }

    /// A cycle of the session `old`.
    pub fn cycle(old: SessionId, record: R, writer: u64) -> Self {
        Self::new(MoveKind::Cycle, Some((old, record)), writer, None)
    }

    fn new(kind: MoveKind, old: Option<(SessionId, R)>, writer: u64, most: Option<usize>) -> Self {
        let (old, record) = old.unzip();
        let (base, led_to) = left_by(record);
        Self {
            kind,
            writer,
            old,
            base,
            new: None,
            most,
            led_to,
            trace: Trace::default(),
            evicted: Vec::new(),
            stage: Stage::Beginning { redraw: false },
        }
    }

    /// Loads the old session again first, because it was loaded a minute ago or earlier. If it has moved or ended since,
    /// its marker may have expired, and nobody could tell an unfinished move from a finished one.
    #[must_use]
    pub fn reloading(mut self) -> Self {
        if self.old.is_some() {
            self.stage = Stage::Reloading(0);
        }
        self
    }

    /// The next thing to ask; `None` if there is nothing to do; then [`finish`](Self::finish) it.
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        Some(match (&self.stage, &self.new) {
            (Stage::Reloading(_), _) => Ask::Load(self.old?),
            (Stage::Beginning { redraw }, _) => Ask::Begin {
                base: self.base.as_ref(),
                redraw: *redraw,
            },
            (Stage::Ranking(_), Some((_, record))) => Ask::List(record),
            (Stage::Creating(creation), _) => creation.ask(),
            (Stage::Limiting(limit), Some((_, record))) => limit.ask(record),
            (Stage::Joining(join), _) => join.ask(),
            (Stage::Rewriting(rewrite), _) => rewrite.ask(),
            (Stage::Marking(cas) | Stage::Closing(cas, _), _) => cas.ask(),
            (Stage::Ranking(_) | Stage::Limiting(_) | Stage::Done(_), _) => return None,
        })
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        let done = Stage::Done(Box::new(Outcome::Ended));
        match (std::mem::replace(&mut self.stage, done), reply) {
            (Stage::Beginning { redraw }, Reply::Begun(id, record)) => {
                self.begun(id, record, redraw)
            }
            (Stage::Reloading(_), Reply::Loaded(found)) => self.reloaded(found),
            (Stage::Reloading(lost), Reply::Unknown(_)) if lost < MAX_LOST_REPLIES => {
                self.go(Stage::Reloading(lost + 1))
            }
            (Stage::Ranking(_), Reply::Listed(found)) => self.rank(&found),
            (Stage::Ranking(lost), Reply::Unknown(_)) if lost < MAX_LOST_REPLIES => {
                self.go(Stage::Ranking(lost + 1))
            }
            (Stage::Creating(mut creation), reply) => match creation.step(reply, false, now) {
                Creating::Not(step) => self.wait(Stage::Creating(creation), step),
                Creating::Created => {
                    self.trace.is_created = true;
                    self.created(now)
                }
                Creating::Taken => {
                    self.trace.may_exist = false;
                    self.go(Stage::Beginning { redraw: true })
                }
                Creating::Failed(error, may_exist) => {
                    self.trace.may_exist = may_exist;
                    self.done(Outcome::Failed(error))
                }
            },
            (Stage::Limiting(mut limit), reply) => {
                let new = self.new.as_ref().expect(HAS_BEGUN);
                let limiting = limit.step(reply, new, &mut self.evicted, now);
                self.limited(limit, limiting, now)
            }
            (Stage::Marking(mut cas), reply) => {
                let swapped = cas.step(reply);
                self.marked(cas, swapped, now)
            }
            (Stage::Rewriting(mut rewrite), reply) => {
                let rewriting = rewrite.step(reply, self.current());
                self.rewritten(rewrite, rewriting, now)
            }
            (Stage::Joining(mut join), reply) => {
                let joining = join.step(reply, &self.current().1);
                self.joined(join, joining, now)
            }
            (Stage::Closing(mut cas, outcome), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Closing(cas, outcome), step),
                Swapped::Fresher(latest) => self.close(latest, *outcome, now),
                Swapped::Failed(..) => self.done(*outcome),
                Swapped::Saved | Swapped::Moved(_) | Swapped::Missing(_) => {
                    self.trace.may_exist = false;
                    self.done(*outcome)
                }
            },
            (Stage::Beginning { .. }, Reply::Ended) => self.give_up(Outcome::Ended, now),
            (_, reply) => self.give_up(Outcome::Failed(reply.into_error()), now),
        }
    }

    /// The outcome, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        match self.stage {
            Stage::Done(_) => self.settle(),
            _ => self.abandon(Abandon::Cancelled),
        }
    }

    /// Abandons it.
    pub fn abandon(mut self, why: Abandon<R::Error>) -> Finished<R> {
        let stage = std::mem::replace(&mut self.stage, Stage::Beginning { redraw: false });
        let outcome = match (stage, why) {
            (Stage::Done(outcome), _) => outcome,
            // Only the closing is missing, which continues in the background.
            (Stage::Closing(_, outcome), Abandon::Late(_)) => outcome,
            (Stage::Marking(_), Abandon::Late(error)) if R::keeps(Policy::TokenInDoubt) => {
                Box::new(self.in_doubt(error))
            }
            _ => {
                return Finished {
                    outcome: None,
                    undo: self.undo(),
                    evicted: self.evicted,
                };
            }
        };
        self.stage = Stage::Done(outcome);
        self.settle()
    }

    fn settle(mut self) -> Finished<R> {
        let Stage::Done(outcome) =
            std::mem::replace(&mut self.stage, Stage::Beginning { redraw: false })
        else {
            unreachable!("an outcome")
        };
        let undo = match &*outcome {
            Outcome::Moved { .. } | Outcome::Begun { .. } => None,
            Outcome::InDoubt { id, .. } => Some(Undo::help(*id)),
            _ => self.undo(),
        };
        Finished {
            outcome: Some(*outcome),
            undo,
            evicted: self.evicted,
        }
    }

    /// What undoes the new session, if it may have been created.
    fn undo(&self) -> Option<Undo<R>> {
        let (id, record) = self.new.as_ref().filter(|_| self.trace.may_exist)?;
        let old = self.old.filter(|_| self.trace.is_marker_sent);
        Some(Undo::of_move(*id, record, old))
    }

    fn reloaded(&mut self, found: Option<R>) -> Step {
        (self.base, self.led_to) = left_by(found);
        match (&self.base, self.kind) {
            (None, MoveKind::Cycle) => self.done(Outcome::Ended),
            _ => self.go(Stage::Beginning { redraw: false }),
        }
    }

    fn begun(&mut self, id: SessionId, record: R, is_redrawn: bool) -> Step {
        let record = record.with_origin(self.origin(self.base.as_ref()));
        self.new = Some((id, record));
        match (self.old, self.led_to) {
            (Some(old), Some(to)) if !is_redrawn => self.go(Stage::Joining(Join::new(old, to))),
            _ => self.prepare(),
        }
    }

    /// With a limit, lists the user's sessions, so that this log-in gets a later rank than those.
    fn prepare(&mut self) -> Step {
        match self.most {
            Some(_) if self.kind == MoveKind::LogIn => self.go(Stage::Ranking(0)),
            _ => self.create(),
        }
    }

    fn rank(&mut self, found: &[(SessionId, R)]) -> Step {
        let (id, record) = self.current();
        if let Some(rank) = rank_after(record, found) {
            self.new = Some((*id, record.clone().with_rank(Some(rank))));
        }
        self.create()
    }

    fn create(&mut self) -> Step {
        let (id, record) = self.current();
        let creation = Creation::new(*id, record.clone());
        self.trace.may_exist = true;
        self.go(Stage::Creating(creation))
    }

    fn created(&mut self, now: Timestamp) -> Step {
        if R::keeps(Policy::LimitBeforeMarker) {
            self.enforce_limit(now)
        } else {
            self.leave(now)
        }
    }

    fn enforce_limit(&mut self, now: Timestamp) -> Step {
        match self.most.filter(|_| self.kind == MoveKind::LogIn) {
            Some(most) => {
                let old = self.old.filter(|_| self.base.is_some());
                self.go(Stage::Limiting(Limit::new(most, old)))
            }
            None => self.leave(now),
        }
    }

    fn limited(&mut self, limit: Limit<R>, limiting: Limiting<R>, now: Timestamp) -> Step {
        match limiting {
            Limiting::Not(step) => self.wait(Stage::Limiting(limit), step),
            Limiting::Within if R::keeps(Policy::LimitBeforeMarker) => self.leave(now),
            Limiting::Within => self.moved(),
            Limiting::Outdone => self.give_up(Outcome::Outdone, now),
            Limiting::Failed(error) => self.give_up(Outcome::Failed(error), now),
        }
    }

    /// Replaces the old session by the marker that leads to the new one.
    fn leave(&mut self, now: Timestamp) -> Step {
        let (Some(old), Some(base)) = (self.old, self.base.clone()) else {
            return self.moved();
        };
        let to = Successor {
            id: self.current().0,
            kind: self.kind,
        };
        let marker = base.marker(Some(to), self.writer, now);
        self.trace.is_marker_sent = true;
        self.go(Stage::Marking(Cas::new(old, base, marker)))
    }

    fn marked(&mut self, cas: Cas<R>, swapped: Swapped<R>, now: Timestamp) -> Step {
        match swapped {
            Swapped::Not(step) => self.wait(Stage::Marking(cas), step),
            Swapped::Saved => self.left(),
            Swapped::Fresher(latest) if latest.bar() == Some(self.current().0) => {
                self.give_up(Outcome::Outdone, now)
            }
            Swapped::Fresher(latest) if R::keeps(Policy::RewritesBeforeMarker) => {
                self.rewrite(Some(latest))
            }
            Swapped::Fresher(latest) => {
                self.base = Some(latest);
                self.leave(now)
            }
            Swapped::Moved(marker)
                if marker
                    .successor()
                    .is_some_and(|to| to.id == self.current().0) =>
            {
                self.left()
            }
            Swapped::Moved(_) | Swapped::Missing(_) if self.kind == MoveKind::Cycle => {
                self.give_up(Outcome::Ended, now)
            }
            Swapped::Moved(marker) => match joinable(&marker) {
                Some(to) => self.go(Stage::Joining(Join::new(cas.id, to))),
                None => self.go_alone(),
            },
            Swapped::Missing(_) => self.go_alone(),
            Swapped::Failed(error, true) if R::keeps(Policy::TokenInDoubt) => {
                let outcome = self.in_doubt(error);
                self.done(outcome)
            }
            Swapped::Failed(error, true) => self.done(Outcome::Failed(error)),
            Swapped::Failed(error, false) => self.give_up(Outcome::Failed(error), now),
        }
    }

    fn left(&mut self) -> Step {
        match self.most.filter(|_| self.kind == MoveKind::LogIn) {
            Some(most) if !R::keeps(Policy::LimitBeforeMarker) => {
                self.go(Stage::Limiting(Limit::new(most, self.old)))
            }
            _ => self.moved(),
        }
    }

    fn moved(&mut self) -> Step {
        let (id, record) = self.current().clone();
        let outcome = match (self.old, self.base.take()) {
            (Some(from), Some(former)) => Outcome::Moved {
                from,
                former,
                id,
                record,
                kind: self.kind,
            },
            _ => Outcome::Begun { id, record },
        };
        self.done(outcome)
    }

    fn rewritten(&mut self, rewrite: Rewrite<R>, rewriting: Rewriting<R>, now: Timestamp) -> Step {
        match rewriting {
            Rewriting::Not(step) => self.wait(Stage::Rewriting(rewrite), step),
            Rewriting::Saved { record, base } => {
                let id = self.current().0;
                self.new = Some((id, record));
                let is_alone = base.is_none();
                self.base = base;
                if is_alone {
                    // The new session did not count before, because its old session did.
                    self.enforce_limit(now)
                } else {
                    self.leave(now)
                }
            }
            Rewriting::Outdone => self.give_up(Outcome::Outdone, now),
            Rewriting::Ended => self.give_up(Outcome::Ended, now),
            Rewriting::Refused(error) => self.give_up(Outcome::Failed(error), now),
            Rewriting::Failed(error) => self.done(Outcome::Failed(error)),
        }
    }

    fn joined(&mut self, join: Join<R>, joining: Joining<R>, now: Timestamp) -> Step {
        match joining {
            Joining::Not(step) => self.wait(Stage::Joining(join), step),
            Joining::Joined { id, former, record } => {
                self.give_up(Outcome::Joined { id, former, record }, now)
            }
            Joining::Alone => self.go_alone(),
            Joining::Failed(error) => self.give_up(Outcome::Failed(error), now),
        }
    }

    /// Continues without an old session: the log-in begins with the request's own changes.
    fn go_alone(&mut self) -> Step {
        self.base = None;
        match (self.trace.is_created, R::keeps(Policy::LaterBeginsEmpty)) {
            (false, _) => self.prepare(),
            (true, true) => self.rewrite(None),
            (true, false) => self.moved(),
        }
    }

    /// Closes the new session if it was created, because it is not needed.
    fn give_up(&mut self, outcome: Outcome<R>, now: Timestamp) -> Step {
        let is_closed = !matches!(outcome, Outcome::Outdone) || R::keeps(Policy::RefusedIsClosed);
        match &self.new {
            Some((_, record)) if self.trace.is_created && is_closed => {
                let record = record.clone();
                self.close(record, outcome, now)
            }
            _ => {
                self.trace.may_exist &= is_closed;
                self.done(outcome)
            }
        }
    }

    fn close(&mut self, current: R, outcome: Outcome<R>, now: Timestamp) -> Step {
        let marker = current.marker(None, self.writer, now);
        let cas = Cas::new(self.current().0, current, marker);
        self.go(Stage::Closing(cas, Box::new(outcome)))
    }

    fn in_doubt(&self, error: R::Error) -> Outcome<R> {
        let (id, record) = self.current().clone();
        Outcome::InDoubt { id, record, error }
    }

    /// Writes the new session again with the current data of the old one. `None`: without it.
    fn rewrite(&mut self, base: Option<R>) -> Step {
        let origin = self.origin(base.as_ref());
        self.go(Stage::Rewriting(Rewrite::new(base, origin, self.writer)))
    }

    fn origin(&self, base: Option<&R>) -> Option<Origin> {
        Some(Origin {
            id: self.old?,
            version: base?.version(),
            kind: self.kind,
        })
    }

    /// The new session.
    fn current(&self) -> &(SessionId, R) {
        self.new.as_ref().expect(HAS_BEGUN)
    }

    fn go(&mut self, stage: Stage<R>) -> Step {
        self.wait(stage, Step::Ask)
    }

    fn wait(&mut self, stage: Stage<R>, step: Step) -> Step {
        self.stage = stage;
        step
    }

    fn done(&mut self, outcome: Outcome<R>) -> Step {
        self.wait(Stage::Done(Box::new(outcome)), Step::Done)
    }
}
