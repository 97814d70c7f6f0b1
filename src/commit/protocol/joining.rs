//! A log-in that joins a faster one of the same user: [`Join`].
//!
//! A double click on a log-in button makes two log-ins from one session. The first moves the session with its data.
//! The second finds the marker, and adds a secret of its own to the session that the marker leads to. So the visitor
//! reaches the same session, whichever response the browser keeps.
//!
//! It joins only a session of the same user that still names the old one as its origin, which means that nobody has
//! written under its token. Otherwise, somebody with the old token and the password could get into a session that has
//! passed a second factor since.

use crate::{
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        cas::{Cas, Swapped},
        rec::{Policy, Rec},
    },
    record::{lineage::MoveKind, token::SessionId},
};

/// Adds a secret to the session that the old one became.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Join<R: Rec> {
    old: SessionId,
    id: SessionId,
    stage: Stage<R>,
    lost_replies: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R: Rec> {
    Loading,
    Merging(R),
    Storing(Cas<R>),
}

/// The state of the join after a reply.
pub(super) enum Joining<R: Rec> {
    /// Not certain yet.
    Not(Step),
    Joined {
        id: SessionId,
        former: R,
        record: R,
    },
    /// There is no session to join.
    Alone,
    Failed(R::Error),
}

impl<R: Rec> Join<R> {
    /// The session `old` became `id`.
    pub(super) fn new(old: SessionId, id: SessionId) -> Self {
        Self {
            old,
            id,
            stage: Stage::Loading,
            lost_replies: 0,
        }
    }

    pub(super) fn ask(&self) -> Ask<'_, R> {
        match &self.stage {
            Stage::Loading => Ask::Load(self.id),
            Stage::Merging(target) => Ask::Join(self.id, target),
            Stage::Storing(cas) => cas.ask(),
        }
    }

    /// `own` is the session that the log-in would begin by itself.
    pub(super) fn step(&mut self, reply: Reply<R>, own: &R) -> Joining<R> {
        let old = self.old;
        match (&mut self.stage, reply) {
            (Stage::Loading, Reply::Loaded(Some(target))) if may_join(old, &target, own) => {
                self.go(Stage::Merging(target))
            }
            (Stage::Loading, Reply::Loaded(_)) => Joining::Alone,
            (Stage::Loading, Reply::Unknown(_)) if self.lost_replies < MAX_LOST_REPLIES => {
                self.lost_replies += 1;
                Joining::Not(Step::Ask)
            }
            (Stage::Merging(target), Reply::Merged(next)) => {
                // Further log-ins may join too. Together they count as the latest of them.
                let rank = target.ranked_at().max(own.ranked_at());
                let next = next.with_origin(target.origin()).with_rank(rank);
                let cas = Cas::new(self.id, target.clone(), next);
                self.go(Stage::Storing(cas))
            }
            (Stage::Merging(_), Reply::Unchanged | Reply::Ended) => Joining::Alone,
            (Stage::Storing(cas), reply) => match cas.step(reply) {
                Swapped::Not(step) => Joining::Not(step),
                Swapped::Saved => Joining::Joined {
                    id: self.id,
                    former: cas.former.clone(),
                    record: cas.next.clone(),
                },
                Swapped::Fresher(_) => self.go(Stage::Loading),
                Swapped::Moved(_) | Swapped::Missing(_) => Joining::Alone,
                Swapped::Failed(error, _) => Joining::Failed(error),
            },
            (_, reply) => Joining::Failed(reply.into_error()),
        }
    }

    fn go(&mut self, stage: Stage<R>) -> Joining<R> {
        self.stage = stage;
        Joining::Not(Step::Ask)
    }
}

fn may_join<R: Rec>(old: SessionId, target: &R, own: &R) -> bool {
    let is_unwritten = target
        .origin()
        .is_some_and(|origin| origin.id == old && origin.kind == MoveKind::LogIn);
    !target.is_marker()
        && (is_unwritten || !R::keeps(Policy::JoinsUnwritten))
        && (target.has_user_of(own) || !R::keeps(Policy::JoinsSameUser))
}

/// The session under the old id, or the session that the marker there leads to by a log-in.
pub(super) fn left_by<R: Rec>(found: Option<R>) -> (Option<R>, Option<SessionId>) {
    let marker = found.as_ref().filter(|record| record.is_marker());
    let led_to = marker.and_then(joinable);
    (found.filter(|record| !record.is_marker()), led_to)
}

/// The session that a marker leads to, if by a log-in.
pub(super) fn joinable<R: Rec>(marker: &R) -> Option<SessionId> {
    let to = marker.successor().filter(|to| to.kind == MoveKind::LogIn)?;
    R::keeps(Policy::Joins).then_some(to.id)
}
