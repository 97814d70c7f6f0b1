//! Records activity without data: [`Touch`]. Touching twice does no harm, so after a lost reply it is sent again.

use crate::{
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        outcome::{Finished, Outcome},
        rec::Rec,
    },
    record::token::SessionId,
};

/// Writes a session's activity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Touch<R: Rec> {
    id: SessionId,
    record: R,
    /// Whether to touch also a version that another request has written meanwhile.
    insists: bool,
    lost_replies: u8,
    stage: Stage<R::Error>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<E> {
    Touching,
    Reading,
    Touched,
    Stale,
    Ended,
    Failed(E),
}

impl<R: Rec> Touch<R> {
    /// Touches `record`. If another request has written meanwhile, the outcome is [`Outcome::Stale`], unless it
    /// `insists`: then it touches the newer version.
    pub fn new(id: SessionId, record: R, insists: bool) -> Self {
        Self {
            id,
            record,
            insists,
            lost_replies: 0,
            stage: Stage::Touching,
        }
    }

    /// The next thing to ask.
    pub fn ask(&self) -> Ask<'_, R> {
        match self.stage {
            Stage::Reading => Ask::Load(self.id),
            _ => Ask::Touch(self.id, &self.record),
        }
    }

    /// Takes the reply to [`ask`](Self::ask).
    pub fn step(&mut self, reply: Reply<R>) -> Step {
        let (stage, step) = match reply {
            Reply::Touched => (Stage::Touched, Step::Done),
            Reply::Stale if self.insists => (Stage::Reading, Step::Wait(self.id)),
            Reply::Stale => (Stage::Stale, Step::Done),
            Reply::Loaded(Some(latest)) if !latest.is_marker() => {
                self.record = latest;
                (Stage::Touching, Step::Ask)
            }
            Reply::Missing | Reply::Loaded(_) => (Stage::Ended, Step::Done),
            Reply::Unknown(_) if self.lost_replies < MAX_LOST_REPLIES => {
                self.lost_replies += 1;
                return Step::Ask;
            }
            reply => (Stage::Failed(reply.into_error()), Step::Done),
        };
        self.stage = stage;
        step
    }

    /// The outcome, after [`Step::Done`].
    pub fn finish(self) -> Finished<R> {
        Finished::of(match self.stage {
            Stage::Touched => Outcome::Touched(self.record),
            Stage::Failed(error) => Outcome::Failed(error),
            Stage::Ended => Outcome::Ended,
            _ => Outcome::Stale,
        })
    }
}
