//! Ending a session: [`End`], for a log-out, an operator's revocation, and the limit of sessions for each user.
//!
//! One compare-and-swap replaces the session by a marker without successor, which expires by itself. While it is there,
//! nothing comes back under the id: a write finds the marker, a concurrent cycle or log-in finds that the session has
//! ended, and a creation that arrives late finds the id taken. If two requests end one session, the marker of only
//! one of them is stored, and only that machine comes to [`Outcome::Closed`].
//!
//! If the session cycles at the same time, the machine follows it to the new id. It does not follow a log-in, which is
//! a new session.
//!
//! A session whose move is not finished has two records. In a cycle the old one counts: it is ended, and the new one
//! closed. In a log-in the new one counts: the old session is barred first, by a write that the log-in's marker
//! conflicts with. So either the log-in is already finished, or it finds out that its session has ended before its response
//! is sent.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        outcome::{Finished, Outcome},
        rec::{Policy, Rec},
        undo::Undo,
    },
    record::{
        lineage::{MoveKind, Origin},
        token::SessionId,
        version::Version,
    },
};

/// Ends a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct End<R: Rec> {
    id: SessionId,
    writer: u64,
    reason: Reason<R>,
    stage: Stage<R>,
    /// The new session of an unfinished cycle, which is closed after the old one.
    unfinished: Option<SessionId>,
    /// The marker that an earlier try has sent.
    sent: Option<Version>,
    lost_replies: u8,
    outcome: Option<Outcome<R>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reason<R> {
    /// A log-out.
    Destroy,
    /// A revocation. The driver judges which session is meant.
    Revoke,
    /// The limit of sessions per user. Ends the session if its log-in is older than this one.
    Limit(SessionId, R),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    Loading,
    Judging(R),
    LoadingOrigin(R, Origin),
    Barring(R, Cas<R>),
    Ending(Cas<R>, /* whether anybody may have the token */ bool),
    LoadingUnfinished(SessionId),
    EndingUnfinished(Cas<R>),
    Done,
}

impl<R: Rec> End<R> {
    /// A log-out of `record`, which is a session or a marker. A cycle is followed.
    pub fn destroy(id: SessionId, record: R, writer: u64, now: Timestamp) -> Self {
        let mut end = Self::new(id, writer, Reason::Destroy);
        let _ = end.consider(record, now);
        end
    }

    /// A revocation of the session that the driver [judges](Ask::Judge) to be meant. Each session needs a writer of its
    /// own.
    pub fn revoke(id: SessionId, writer: u64) -> Self {
        Self::new(id, writer, Reason::Revoke)
    }

    /// Ends a session because of the log-in `newer` of the same user, if it is older.
    pub(super) fn evict(id: SessionId, newer: (SessionId, R), writer: u64) -> Self {
        Self::new(id, writer, Reason::Limit(newer.0, newer.1))
    }

    /// A log-out that was abandoned. Its marker may still be stored, as version `sent`.
    pub(super) fn destroy_later(id: SessionId, writer: u64, sent: Option<Version>) -> Self {
        Self {
            sent,
            ..Self::new(id, writer, Reason::Destroy)
        }
    }

    fn new(id: SessionId, writer: u64, reason: Reason<R>) -> Self {
        Self {
            id,
            writer,
            reason,
            stage: Stage::Loading,
            unfinished: None,
            sent: None,
            lost_replies: 0,
            outcome: None,
        }
    }

    /// The next thing to ask; `None` if there is nothing to do; then [`finish`](Self::finish) it.
    pub fn ask(&self) -> Option<Ask<'_, R>> {
        Some(match &self.stage {
            Stage::Loading => Ask::Load(self.id),
            Stage::Judging(record) => Ask::Judge(self.id, record),
            Stage::LoadingOrigin(_, origin) => Ask::Load(origin.id),
            Stage::Barring(_, cas) | Stage::Ending(cas, _) | Stage::EndingUnfinished(cas) => {
                cas.ask()
            }
            Stage::LoadingUnfinished(id) => Ask::Load(*id),
            Stage::Done => return None,
        })
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>, now: Timestamp) -> Step {
        match (std::mem::replace(&mut self.stage, Stage::Done), reply) {
            (stage, Reply::Unknown(_))
                if stage.is_loading() && self.lost_replies < MAX_LOST_REPLIES =>
            {
                self.lost_replies += 1;
                self.go(stage)
            }
            (Stage::Loading, Reply::Loaded(found)) => match found {
                Some(record) => self.consider(record, now),
                None => self.end(Outcome::Gone),
            },
            (Stage::Judging(record), Reply::Meant(true)) => self.look_back(record, now),
            (Stage::Judging(_), Reply::Meant(false)) => self.end(Outcome::Gone),
            (Stage::LoadingOrigin(record, from), Reply::Loaded(origin)) => {
                self.meant(record, from, origin, now)
            }
            (Stage::Barring(record, mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Barring(record, cas), step),
                Swapped::Saved => self.mark(record, false, now),
                Swapped::Failed(error, _) => self.end(Outcome::Failed(error)),
                Swapped::Fresher(_) | Swapped::Moved(_) | Swapped::Missing(_) => {
                    self.go(Stage::Loading)
                }
            },
            (Stage::Ending(mut cas, is_known), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::Ending(cas, is_known), step),
                Swapped::Saved if is_known => self.closed(cas.former),
                Swapped::Saved | Swapped::Missing(_) => self.end(Outcome::Gone),
                Swapped::Fresher(latest) | Swapped::Moved(latest) => self.consider(latest, now),
                Swapped::Failed(error, _) => {
                    self.sent = Some(cas.next.version());
                    self.end(Outcome::Failed(error))
                }
            },
            (Stage::LoadingUnfinished(id), Reply::Loaded(Some(record))) if !record.is_marker() => {
                let marker = record.marker(None, self.writer, now);
                self.go(Stage::EndingUnfinished(Cas::new(id, record, marker)))
            }
            (Stage::EndingUnfinished(mut cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => self.wait(Stage::EndingUnfinished(cas), step),
                Swapped::Fresher(_) => self.go(Stage::LoadingUnfinished(cas.id)),
                // The marker of the old session hides the unclosed record in lists.
                _ => Step::Done,
            },
            (Stage::LoadingUnfinished(_), _) => Step::Done,
            (_, reply) => self.end(Outcome::Failed(reply.into_error())),
        }
    }

    /// The outcome, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        let undo = match (&self.outcome, &self.reason) {
            (Some(Outcome::Failed(_)), Reason::Destroy) => {
                Some(Undo::end(self.id, self.writer, self.sent))
            }
            _ => None,
        };
        Finished {
            undo,
            ..Finished::of(self.outcome.unwrap_or(Outcome::Gone))
        }
    }

    /// Abandons it. A log-out is tried again in the background.
    pub fn abandon(self) -> Finished<R> {
        let sent = match &self.stage {
            Stage::Ending(cas, _) => Some(cas.next.version()),
            _ => self.sent,
        };
        match (self.outcome, &self.reason) {
            (Some(outcome), _) => Finished::of(outcome),
            (None, Reason::Destroy) => Finished {
                undo: Some(Undo::end(self.id, self.writer, sent)),
                ..Finished::nothing()
            },
            (None, _) => Finished::nothing(),
        }
    }

    /// Decides what to do with the record that is stored now.
    fn consider(&mut self, record: R, now: Timestamp) -> Step {
        if !record.is_marker() {
            return match &self.reason {
                Reason::Destroy => self.mark(record, true, now),
                Reason::Revoke => self.go(Stage::Judging(record)),
                Reason::Limit(newer, limiting) => {
                    let is_older = (record.ranked_at(), self.id) < (limiting.ranked_at(), *newer);
                    if !record.has_user_of(limiting) {
                        self.end(Outcome::Gone)
                    } else if is_older {
                        self.look_back(record, now)
                    } else {
                        self.end(Outcome::LoggedInSince)
                    }
                }
            };
        }
        if self.sent == Some(record.version()) {
            return self.end(Outcome::Closed {
                id: self.id,
                record: None,
            });
        }
        match record.successor() {
            Some(to) if to.kind == MoveKind::Cycle && R::keeps(Policy::EndFollowsCycle) => {
                self.id = to.id;
                self.go(Stage::Loading)
            }
            Some(to) if to.kind == MoveKind::LogIn && !R::keeps(Policy::EndSparesLogIn) => {
                self.id = to.id;
                self.go(Stage::Loading)
            }
            Some(to) if to.kind == MoveKind::LogIn => self.end(Outcome::LoggedInSince),
            _ => self.end(Outcome::Gone),
        }
    }

    /// Checks whether the move of a session with an origin is finished.
    fn look_back(&mut self, record: R, now: Timestamp) -> Step {
        match record.origin() {
            Some(origin) if R::keeps(Policy::EndBars) => {
                self.go(Stage::LoadingOrigin(record, origin))
            }
            _ => self.mark(record, true, now),
        }
    }

    fn meant(&mut self, record: R, from: Origin, origin: Option<R>, now: Timestamp) -> Step {
        match origin {
            None => self.mark(record, true, now),
            Some(origin) if origin.is_marker() => {
                // If the marker leads elsewhere, the move was too late, and no visitor has its token.
                let is_finished = origin.successor().is_some_and(|to| to.id == self.id);
                self.mark(record, is_finished, now)
            }
            Some(origin) => match from.kind {
                MoveKind::Cycle => {
                    self.unfinished = Some(self.id);
                    self.id = from.id;
                    self.consider(origin, now)
                }
                MoveKind::LogIn if origin.bar() == Some(self.id) => self.mark(record, false, now),
                MoveKind::LogIn => {
                    let barred = origin.barred(self.id, self.writer);
                    self.go(Stage::Barring(record, Cas::new(from.id, origin, barred)))
                }
            },
        }
    }

    fn mark(&mut self, record: R, is_known: bool, now: Timestamp) -> Step {
        let marker = record.marker(None, self.writer, now);
        self.go(Stage::Ending(Cas::new(self.id, record, marker), is_known))
    }

    fn closed(&mut self, record: R) -> Step {
        let _ = self.end(Outcome::Closed {
            id: self.id,
            record: Some(record),
        });
        match self
            .unfinished
            .take()
            .filter(|unfinished| *unfinished != self.id)
        {
            Some(unfinished) => self.go(Stage::LoadingUnfinished(unfinished)),
            None => Step::Done,
        }
    }

    fn go(&mut self, stage: Stage<R>) -> Step {
        self.wait(stage, Step::Ask)
    }

    fn wait(&mut self, stage: Stage<R>, step: Step) -> Step {
        self.stage = stage;
        step
    }

    fn end(&mut self, outcome: Outcome<R>) -> Step {
        self.outcome = Some(outcome);
        Step::Done
    }
}

impl<R: Rec> Stage<R> {
    fn is_loading(&self) -> bool {
        matches!(
            self,
            Self::Loading | Self::LoadingOrigin(..) | Self::LoadingUnfinished(_)
        )
    }
}
