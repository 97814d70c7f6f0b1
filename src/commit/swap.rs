//! The compare-and-swap under every commit, however often others are faster: [`Swap`].

use std::sync::Arc;

use crate::{
    config::Config,
    deadline::back_off,
    error::{Error, store::StoreError},
    queue::Turn,
    random::unique,
    record::{
        Activity, Kept, Record,
        token::SessionId,
        version::{Version, Wrote},
    },
    store::{Created, Former, Touched, Updated},
};

/// One commit's dealings with the store: the same writer over all of its
/// retries (rule M5), and its place in the session's queue (rule M1).
pub(crate) struct Swap<'a> {
    config: &'a Config,
    pub(crate) writer: u64,
    turn: Option<Turn<'a, SessionId>>,
    conflicts: u32,
    lost_replies: u32,
    /// The first failure that leaves open whether the write at hand has happened.
    lost: Option<Error>,
}

/// What became of one attempt to replace a record.
pub(crate) enum Swapped {
    Saved,
    /// Another write came first: what there is now.
    Fresher(Kept),
    /// The session went on under another id.
    Moved,
    /// There is no record any more.
    Missing,
}

/// How often a call whose reply was lost is asked again.
const MAX_LOST_REPLIES: u32 = 3;

impl<'a> Swap<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        Self {
            config,
            writer: unique(),
            turn: None,
            conflicts: 0,
            lost_replies: 0,
            lost: None,
        }
    }

    /// Replaces `current` by `next`, if it is still what is stored.
    ///
    /// `counts`: whether it matters that `next` is applied once and not twice.
    pub(crate) async fn attempt(
        &mut self,
        id: SessionId,
        former: Former<'_>,
        next: &Arc<Record>,
        activity: Activity,
        counts: bool,
    ) -> Result<Swapped, Error> {
        self.lost = None;
        let current = former.version();
        loop {
            let is_lost = match self.config.store.update(id, next, activity, former).await {
                Ok(Updated::Saved) => return Ok(Swapped::Saved),
                Ok(Updated::Missing) => return Ok(Swapped::Missing),
                Ok(Updated::Conflict) => false,
                Err(error) => {
                    self.forgive(error)?;
                    true
                }
            };
            // What a lost reply left open is asked at once, while few can have written on top.
            if !is_lost {
                // Boxed, because it is large and rarely needed.
                Box::pin(self.wait(id)).await;
            }
            let latest = match self.config.store.load_latest(id).await {
                Ok(Some(latest)) => match (latest.0.wrote(next.version()), &self.lost) {
                    (Wrote::Unknown, Some(lost)) if counts => return Err(lost.clone()),
                    _ if is_lost && latest.0.version() == current => {
                        // Boxed, because it is large and rarely needed.
                        Box::pin(self.wait(id)).await;
                        continue;
                    }
                    _ => Some(latest),
                },
                Ok(None) => None,
                Err(error) => return Err(self.failure(error)),
            };
            return Ok(match latest {
                None => Swapped::Missing,
                Some((record, _)) if record.is_moved() && !next.is_moved() => Swapped::Moved,
                Some((record, _)) if record.wrote(next.version()) == Wrote::Yes => Swapped::Saved,
                Some((record, _)) if record.is_moved() => Swapped::Moved,
                Some(latest) => Swapped::Fresher(latest),
            });
        }
    }

    /// Stores what is not there yet. `false`: not under this id, now or ever.
    pub(crate) async fn create(
        &mut self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<bool, Error> {
        self.lost = None;
        match self.config.store.create(id, record, activity).await {
            Ok(Created::Yes) => return Ok(true),
            Ok(Created::Exists) => {}
            Err(error) => self.forgive(error)?,
        }
        // Boxed, because it is rarely needed.
        Box::pin(self.was_created(id, record)).await
    }

    /// Whether `record` is there, of which no reply has told. Where it is not, it may have been
    /// and have ended, or be on its way still: nothing begins under this id any more.
    pub(crate) async fn was_created(
        &mut self,
        id: SessionId,
        record: &Record,
    ) -> Result<bool, Error> {
        loop {
            match self.config.store.load_latest(id).await {
                Ok(Some((latest, _))) => {
                    let is_ours = latest.wrote(record.version()) == Wrote::Yes;
                    return Ok(is_ours && !latest.is_moved());
                }
                Ok(None) => {
                    if self.close(id, record).await? {
                        return Ok(false);
                    }
                }
                Err(error) => self.forgive(error)?,
            }
            self.wait(id).await;
        }
    }

    /// Leaves a marker where nothing is, so that nothing comes there later; whether nothing was there.
    pub(crate) async fn close(&mut self, id: SessionId, record: &Record) -> Result<bool, Error> {
        let now = self.config.clock.now();
        let marker = Arc::new(record.marker(now, None, self.writer));
        let activity = self.config.lifetimes.activity(&marker, now);
        match self.config.store.create(id, &marker, activity).await {
            Ok(created) => Ok(created == Created::Yes),
            Err(error) => {
                self.forgive(error)?;
                Ok(false)
            }
        }
    }

    /// Asks once more where the reply was lost: to delete or touch twice does no harm.
    pub(crate) async fn delete(&mut self, id: SessionId) -> Result<bool, Error> {
        match self.config.store.delete(id).await {
            Err(error) => {
                self.forgive(error)?;
                Ok(self.config.store.delete(id).await?)
            }
            deleted => Ok(deleted?),
        }
    }

    pub(crate) async fn touch(
        &mut self,
        id: SessionId,
        current: Version,
        activity: Activity,
    ) -> Result<Touched, Error> {
        match self.config.store.touch(id, current, activity).await {
            Err(error) => {
                self.forgive(error)?;
                Ok(self.config.store.touch(id, current, activity).await?)
            }
            touched => Ok(touched?),
        }
    }

    /// Lets an error pass that leaves open whether the call happened, a few times.
    fn forgive(&mut self, error: StoreError) -> Result<(), Error> {
        self.lost_replies += 1;
        if error.is_ambiguous() && self.lost_replies <= MAX_LOST_REPLIES {
            self.lost.get_or_insert_with(|| error.into());
            Ok(())
        } else {
            Err(self.failure(error))
        }
    }

    /// Why the write at hand failed. A later refusal does not tell that an earlier try did not happen.
    fn failure(&self, error: StoreError) -> Error {
        self.lost.clone().unwrap_or_else(|| error.into())
    }

    /// Joins the session's queue; at the head of it, backs off from other processes.
    async fn wait(&mut self, id: SessionId) {
        if self.turn.is_none() {
            self.turn = Some(self.config.queues.enter(id).await);
            return;
        }
        back_off(self.conflicts).await;
        self.conflicts += 1;
    }
}
