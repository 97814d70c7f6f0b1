//! Creates a record: [`Creation`].
//!
//! A creation whose reply was lost is sent again unchanged. The id was drawn for this record, so a record under it is
//! this one or a later version. If the session has ended meanwhile, there is a marker, and sending again cannot bring
//! the session back while the marker lives. A creation that is resumed later is not sent again: if there is no
//! record, a marker closes the id.

use crate::{
    clock::Timestamp,
    commit::protocol::{
        ask::{Ask, MAX_LOST_REPLIES, Reply, Step},
        rec::Rec,
    },
    record::{token::SessionId, version::Wrote},
};

/// Creates a record, and finds out whether that was applied.
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
    /// Closing the id, so that the creation cannot be applied any more.
    Closing(R),
}

/// The state of the creation after a reply.
pub(super) enum Creating<R: Rec> {
    /// Not certain yet.
    Not(Step),
    Created,
    /// Not stored: another session has the id, or the session has ended already.
    Taken,
    /// Failed. The flag says whether it may have been stored.
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

    /// Whether the record is what it asks the store to create.
    #[inline]
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.stage, Stage::Sending)
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

    /// Whether the record may be stored although no reply has said so.
    pub(super) fn is_open(&self) -> bool {
        self.lost.is_some()
    }

    /// Asks the store whether the last call was applied, because it was interrupted or failed.
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
            // The marker is stored: nothing can be created under this id any more.
            Reply::Created => Creating::Taken,
            Reply::Loaded(Some(found)) => {
                let is_ours = found.wrote(self.record.version()) == Wrote::Yes;
                if is_ours && found.is_marker() == self.record.is_marker() {
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
