//! A new record where nothing is: [`Creation`].
//!
//! A creation whose reply was lost is sent again as it was. The id is the record's own: what is found there is this
//! record, or what became of it. A session that has ended leaves a marker, so that sending again brings nothing back,
//! as long as it is sent within the marker's time. A creation that is taken up later is not sent again: where it is not
//! there, a marker closes its id.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        rec::Rec,
    },
    record::{token::SessionId, version::Wrote},
};

/// A record on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Creation<R: Rec> {
    pub(super) id: SessionId,
    pub(super) record: R,
    lost: Option<R::Error>,
    lost_replies: u8,
    stage: Stage<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<R> {
    Sending,
    Reading,
    /// It is not there, and must not come any more.
    Closing(R),
}

/// What became of the creation.
pub(super) enum Creating<R: Rec> {
    /// Not settled yet.
    Not(Step),
    Created,
    /// Not under this id: another session has it, or it has ended already.
    Taken,
    /// Refused, or never settled; `bool`: whether it may have been stored.
    Failed(R::Error, bool),
}

impl<R: Rec> Creation<R> {
    #[inline]
    pub(super) fn new(id: SessionId, record: R) -> Self {
        Self {
            id,
            record,
            lost: None,
            lost_replies: 0,
            stage: Stage::Sending,
        }
    }

    #[inline]
    pub(super) fn ask(&self) -> Ask<'_, R> {
        match &self.stage {
            Stage::Sending => Ask::Create(self.id, &self.record),
            Stage::Reading => Ask::Load(self.id),
            Stage::Closing(marker) => Ask::Create(self.id, marker),
        }
    }

    #[inline]
    pub(super) fn step(
        &mut self,
        reply: Reply<R>,
        is_resumed: bool,
        now: Timestamp,
    ) -> Creating<R> {
        if let (Stage::Sending, Reply::Created) = (&self.stage, &reply) {
            return Creating::Created;
        }
        self.settle(reply, is_resumed, now)
    }

    /// Whether the record may be stored, though no reply has told so.
    pub(super) fn is_open(&self) -> bool {
        self.lost.is_some()
    }

    /// The call under way was cut, or the last one failed: asks the store what became of it.
    pub(super) fn resume(&mut self, cut: R::Error) {
        self.lost.get_or_insert(cut);
        self.lost_replies = 0;
        self.stage = Stage::Reading;
    }

    #[cold]
    fn settle(&mut self, reply: Reply<R>, is_resumed: bool, now: Timestamp) -> Creating<R> {
        match reply {
            Reply::Exists if self.lost.is_none() => Creating::Taken,
            Reply::Exists => self.go(Stage::Reading),
            // The marker: nothing comes under this id any more.
            Reply::Created => Creating::Taken,
            Reply::Loaded(Some(found)) => {
                let is_ours = found.wrote(self.record.version()) == Wrote::Yes;
                if is_ours && !found.is_marker() {
                    Creating::Created
                } else {
                    Creating::Taken
                }
            }
            Reply::Loaded(None) if is_resumed => {
                let marker = self.record.marker(None, self.record.version().writer, now);
                self.go(Stage::Closing(marker))
            }
            Reply::Loaded(None) => self.go(Stage::Sending),
            Reply::Unknown(error) => self.lose(error),
            Reply::Refused(error) => {
                Creating::Failed(self.lost.clone().unwrap_or(error), self.is_open())
            }
            _ => unreachable!("the reply to another ask"),
        }
    }

    fn go(&mut self, stage: Stage<R>) -> Creating<R> {
        self.stage = stage;
        Creating::Not(Step::Ask)
    }

    fn lose(&mut self, error: R::Error) -> Creating<R> {
        if matches!(self.stage, Stage::Sending) {
            self.lost.get_or_insert(error.clone());
            self.stage = Stage::Reading;
        }
        self.lost_replies += 1;
        if self.lost_replies > MAX_LOST_REPLIES {
            let error = self.lost.clone().unwrap_or(error);
            return Creating::Failed(error, self.is_open());
        }
        Creating::Not(Step::Ask)
    }
}
