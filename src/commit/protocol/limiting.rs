//! How many sessions a user may have: [`Limit`].
//!
//! A log-in counts the user's sessions after its new session is stored and before it leaves the old one. So the last of
//! several concurrent log-ins sees them all, and a refused one has changed nothing for its visitor. All log-ins use the same
//! order, their times, so that no two end each other. [`rank_after`] ensures that a later log-in has a later rank.
//!
//! A session that is moving has two records and counts once: in a cycle the old one, in a log-in the new one. If it is
//! beyond the limit, both are ended, because the old one would count again.
//! Concurrent log-ins from the same session do not count each other, because one of them joins the other.

use std::{cmp::Reverse, time::Duration};

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        ending::End,
        outcome::Outcome,
        rec::{Policy, Rec},
    },
    record::{lineage::MoveKind, token::SessionId},
};

/// Ends the user's oldest sessions, or refuses the log-in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limit<R: Rec> {
    most: usize,
    /// The session that the log-in leaves.
    old: Option<SessionId>,
    stage: Stage<R>,
    lost_replies: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    Listing,
    /// Loads sessions that cycled to an id which the list had passed already.
    Following(Vec<(SessionId, R)>, Vec<SessionId>),
    Ending(Vec<SessionId>, Box<End<R>>),
}

/// The state after a reply.
pub(super) enum Limiting<R: Rec> {
    /// Not certain yet.
    Not(Step),
    /// No more than the limit are left.
    Within,
    /// Newer log-ins leave no room, or the new session was ended.
    Outdone,
    Failed(R::Error),
}

/// The smallest difference between two log-ins.
const TICK: Duration = Duration::from_millis(1);

/// The rank of a log-in that is not stored yet: later than all log-ins of its user that it has `found`. The time alone is
/// not enough: a clock may be set back, stand still, or be behind another node's clock. After it is stored, the rank must
/// not change, or two log-ins could end each other.
pub(super) fn rank_after<R: Rec>(own: &R, found: &[(SessionId, R)]) -> Option<Timestamp> {
    let others = found
        .iter()
        .filter(|(_, record)| !record.is_marker() && record.has_user_of(own));
    let newest = others.filter_map(|(_, record)| record.ranked_at()).max()?;
    own.ranked_at().max(Some(newest.saturating_add(TICK)))
}

impl<R: Rec> Limit<R> {
    /// Allows `most` sessions, for a log-in that leaves `old`.
    pub(super) fn new(most: usize, old: Option<SessionId>) -> Self {
        Self {
            most,
            old,
            stage: Stage::Listing,
            lost_replies: 0,
        }
    }

    pub(super) fn ask<'a>(&'a self, own: &'a R) -> Ask<'a, R> {
        match &self.stage {
            Stage::Listing => Ask::List(own),
            Stage::Following(_, ids) => ids.last().map_or(Ask::List(own), |id| Ask::Load(*id)),
            Stage::Ending(_, end) => end.ask().unwrap_or(Ask::List(own)),
        }
    }

    /// `own` is the new session, which is stored. Sessions that this ends are added to `evicted`.
    pub(super) fn step(
        &mut self,
        reply: Reply<R>,
        own: &(SessionId, R),
        evicted: &mut Vec<(SessionId, R)>,
        now: Timestamp,
    ) -> Limiting<R> {
        let writer = own.1.version().writer;
        match (std::mem::replace(&mut self.stage, Stage::Listing), reply) {
            (stage @ (Stage::Listing | Stage::Following(..)), Reply::Unknown(_))
                if self.lost_replies < MAX_LOST_REPLIES =>
            {
                self.lost_replies += 1;
                self.go(stage)
            }
            (Stage::Listing, Reply::Listed(found)) => {
                let ids = found
                    .iter()
                    .filter_map(|(_, record)| missed(record, &found))
                    .collect();
                self.follow(found, ids, own)
            }
            (Stage::Following(mut found, mut ids), Reply::Loaded(record)) => {
                let id = ids.pop();
                ids.extend(record.iter().filter_map(|record| missed(record, &found)));
                found.extend(id.zip(record));
                self.follow(found, ids, own)
            }
            (Stage::Ending(older, mut end), reply) => {
                let step = end.step(reply, now);
                if step != Step::Done {
                    return self.wait(Stage::Ending(older, end), step);
                }
                match end.finish().outcome {
                    Some(Outcome::Failed(error)) => return Limiting::Failed(error),
                    Some(Outcome::Closed { id, record }) => {
                        evicted.extend(record.map(|record| (id, record)));
                    }
                    // It has a later log-in than the list says, which may leave no room for this one.
                    Some(Outcome::LoggedInSince) if R::keeps(Policy::LimitListsAgain) => {
                        return self.go(Stage::Listing);
                    }
                    _ => {}
                }
                self.end_next(older, own, writer)
            }
            (_, reply) => Limiting::Failed(reply.into_error()),
        }
    }

    /// Completes the list with sessions that cycled while it was made.
    fn follow(
        &mut self,
        found: Vec<(SessionId, R)>,
        ids: Vec<SessionId>,
        own: &(SessionId, R),
    ) -> Limiting<R> {
        if ids.is_empty() {
            self.compare(found, own)
        } else {
            self.go(Stage::Following(found, ids))
        }
    }

    fn compare(&mut self, found: Vec<(SessionId, R)>, own: &(SessionId, R)) -> Limiting<R> {
        let mut sessions = self.sessions(&found, own);
        sessions.sort_by_key(|(id, record)| Reverse((record.ranked_at(), *id)));
        let (within, beyond) = sessions.split_at(self.most.min(sessions.len()));
        if !within.iter().any(|(id, _)| *id == own.0) {
            return Limiting::Outdone;
        }
        // From the back, a new session is ended first. Then the one that it was about to leave, which would count again.
        let mut older = Vec::new();
        for (id, record) in beyond {
            let left = found.iter().filter(|(left, other)| {
                let stays = || within.iter().any(|(_, record)| leaves(*record, *left));
                leaves(*record, *left) && is_of(other, &own.1) && !stays()
            });
            let left = left.filter(|_| R::keeps(Policy::LimitEndsBoth));
            older.extend(left.map(|(left, _)| *left));
            older.push(*id);
        }
        self.end_next(older, own, own.1.version().writer)
    }

    /// The records that count as sessions of the user.
    fn sessions<'a>(
        &self,
        found: &'a [(SessionId, R)],
        own: &(SessionId, R),
    ) -> Vec<(SessionId, &'a R)> {
        let counts = |id: SessionId, record: &R| {
            let is_left = || {
                let mut others = found.iter().filter(|(_, other)| !other.is_marker());
                others.any(|(_, other)| leaves(other, id))
            };
            let is_rival = || {
                record
                    .origin()
                    .is_some_and(|from| Some(from.id) == self.old)
            };
            !is_left() && !is_rival() && !is_unfinished_cycle(id, record, found)
        };
        let of_user = found.iter().filter(|(_, record)| is_of(record, &own.1));
        of_user
            .filter(|(id, record)| *id == own.0 || counts(*id, record))
            .map(|(id, record)| (*id, record))
            .collect()
    }

    fn end_next(
        &mut self,
        mut older: Vec<SessionId>,
        own: &(SessionId, R),
        writer: u64,
    ) -> Limiting<R> {
        match older.pop() {
            Some(id) => {
                let end = End::evict(id, own.clone(), writer);
                self.go(Stage::Ending(older, Box::new(end)))
            }
            None => Limiting::Within,
        }
    }

    fn go(&mut self, stage: Stage<R>) -> Limiting<R> {
        self.wait(stage, Step::Ask)
    }

    fn wait(&mut self, stage: Stage<R>, step: Step) -> Limiting<R> {
        self.stage = stage;
        Limiting::Not(step)
    }
}

/// Whether the record is a session of the same user.
fn is_of<R: Rec>(record: &R, own: &R) -> bool {
    !record.is_marker() && record.has_user_of(own)
}

/// Whether the new session of a log-in takes the place of the session `id`, now or as soon as the log-in is finished.
fn leaves<R: Rec>(new: &R, id: SessionId) -> bool {
    new.origin()
        .is_some_and(|from| from.id == id && from.kind == MoveKind::LogIn)
}

/// Whether the record is the new session of a cycle whose old session does not lead to it.
fn is_unfinished_cycle<R: Rec>(id: SessionId, record: &R, found: &[(SessionId, R)]) -> bool {
    let Some(from) = record.origin().filter(|from| from.kind == MoveKind::Cycle) else {
        return false;
    };
    let origin = found.iter().find(|(listed, _)| *listed == from.id);
    origin.is_some_and(|(_, origin)| origin.successor().is_none_or(|to| to.id != id))
}

/// The session that a marker leads to, if the list does not have it.
fn missed<R: Rec>(record: &R, found: &[(SessionId, R)]) -> Option<SessionId> {
    let to = record.successor().filter(|to| to.kind == MoveKind::Cycle)?;
    let is_listed = found.iter().any(|(id, _)| *id == to.id);
    (!is_listed).then_some(to.id)
}
