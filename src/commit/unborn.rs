//! A session of which nobody has the token yet: [`Unborn`], and [`is_born`] for who finds one.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tracing::debug;

use crate::{
    commit::swap::{Swap, Swapped},
    config::Config,
    deadline::{catching_panics, within},
    error::{Error, store::StoreError},
    observe::timed::TimedStore,
    record::{Record, token::SessionId},
    state::Stored,
    store::Former,
};

/// A session that a commit begins. Dropped before it is settled, it is taken
/// back by a task: nobody will ever have its token, and yet it would be listed,
/// and counted, until it expires.
pub(crate) struct Unborn<'a> {
    config: &'a Arc<Config>,
    stored: &'a Stored,
    /// The session that goes on as this one, and the writer of the marker that says so.
    leaving: Option<(SessionId, u64)>,
    is_settled: bool,
}

/// How often it is tried, with a pause of `store_timeout`, doubled each time.
const MAX_TRIES: u32 = 3;

impl<'a> Unborn<'a> {
    /// `stored` is about to be created, or has just been.
    pub(crate) fn new(config: &'a Arc<Config>, stored: &'a Stored) -> Self {
        Self {
            config,
            stored,
            leaving: None,
            is_settled: false,
        }
    }

    /// It is about to go on in place of the session `old`, by a marker of this writer.
    pub(crate) fn leave(&mut self, old: SessionId, writer: u64) {
        self.leaving = Some((old, writer));
    }

    /// It is there for good, or gone for certain.
    pub(crate) fn settle(&mut self) {
        self.is_settled = true;
    }

    #[cold]
    fn take_back(&self) {
        // Without a runtime it expires, and where so many wait for the store that one more is too many.
        let permit = Arc::clone(&self.config.taking_back).try_acquire_owned();
        if let (Ok(runtime), Ok(permit)) = (Handle::try_current(), permit) {
            let orphan = Orphan::of(self);
            let config = Arc::clone(self.config);
            runtime.spawn(async move {
                catching_panics(orphan.take_back_in_the_end(&config)).await;
                drop(permit);
            });
        }
    }
}

impl Drop for Unborn<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.take_back();
        }
    }
}

/// What is left of it: nothing of the data, because in an outage many may wait for the store.
struct Orphan {
    id: SessionId,
    record: Record,
    leaving: Option<(SessionId, u64)>,
}

impl Orphan {
    fn of(unborn: &Unborn<'_>) -> Self {
        let record = &unborn.stored.record;
        Self {
            id: unborn.stored.id(),
            record: Record::new(*record.verifier(), record.version(), record.created_at()),
            leaving: unborn.leaving,
        }
    }

    async fn take_back_in_the_end(self, config: &Config) {
        let mut pause = config.store_timeout;
        for _ in 0..MAX_TRIES {
            match within(config.store_timeout, self.take_back(config)).await {
                Ok(()) => {
                    return debug!(session.id = %self.id, "made sure of: nobody has its token");
                }
                Err(error) if !error.is_transient() => {
                    return debug!(session.id = %self.id, %error, "not taken back");
                }
                Err(error) => debug!(session.id = %self.id, %error, "not taken back yet"),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    async fn take_back(&self, config: &Config) -> Result<(), Error> {
        let mut swap = Swap::new(config);
        if let Some((old, writer)) = self.leaving
            && has_gone_on(config, &mut swap, old, writer).await?
        {
            return Ok(());
        }
        // Where it is not there it may be on its way still.
        while !swap.delete(self.id).await? && !swap.close(self.id, &self.record).await? {}
        Ok(())
    }
}

/// Whether the session `old` has become the marker of `writer`. Where it has
/// not, it does not any more: a marker on its way would take it away from its visitor.
async fn has_gone_on(
    config: &Config,
    swap: &mut Swap<'_>,
    old: SessionId,
    writer: u64,
) -> Result<bool, Error> {
    while let Some((record, activity)) = config.store.load_latest(old).await? {
        let version = record.version();
        if record.is_moved() {
            return Ok(version.writer == writer);
        }
        let same = record.successor(record.data().clone(), swap.writer, Duration::ZERO);
        let same = Arc::new(same);
        let former = Former::new(&record, activity);
        let written = swap.attempt(old, former, &same, activity, false);
        if let Swapped::Saved = written.await? {
            break;
        }
    }
    Ok(false)
}

/// Whether `id` is a session of its own: what a cycle has begun is still the
/// session it comes from, until that has become the marker that leads here.
pub(crate) async fn is_born(
    store: &TimedStore,
    id: SessionId,
    record: &Record,
) -> Result<bool, StoreError> {
    let Some(origin) = record.moved_from() else {
        return Ok(true);
    };
    match store.load_latest(origin).await {
        Ok(origin) => Ok(origin.is_none_or(|(origin, _)| origin.moved_to() == Some(id))),
        // A list leaves out what does not decode, and does not fail for it.
        Err(error) if error.is_of_record() => Ok(true),
        Err(error) => Err(error),
    }
}
