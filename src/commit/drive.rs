//! Runs a machine: [`drive`] waits for the store, [`drive_now`] uses a store in memory, which answers at once.
//!
//! Both run the same machines. An [`Answer`] replies to the asks that only the request or the operator can answer, such as
//! merges. User code runs there, without a lock and with panics caught.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    clock::{Clock as _, Timestamp},
    commit::protocol::{Ask, Cause, Machine, Reply, Step},
    config::Config,
    deadline::{back_off, catching_panics},
    error::{Error, ErrorKind, store::StoreError},
    queue::Turn,
    record::{Kept, Record, token::SessionId},
    store::{Created, Former, MemoryInner, Query, StoreCall, Touched, Updated},
};

/// Replies to the asks that do not go to the store.
pub(crate) trait Answer {
    /// `ask` is a merge, a begin, a join or a judge.
    fn answer(&mut self, config: &Config, ask: Ask<'_, Kept>, now: Timestamp) -> Reply<Kept>;

    /// Loads the session of another library.
    fn fetch(&mut self, config: &Config) -> impl Future<Output = Reply<Kept>> + Send {
        let _ = config;
        async { nobody() }
    }

    /// Deletes the session of another library.
    fn forget(&mut self) -> impl Future<Output = Reply<Kept>> + Send {
        async { nobody() }
    }
}

fn nobody() -> Reply<Kept> {
    let error = Error::new(ErrorKind::Other, "nobody can answer this");
    Reply::Refused(Cause(error))
}

/// For machines that ask only the store.
pub(crate) struct NoAnswers;

impl Answer for NoAnswers {
    fn answer(&mut self, _: &Config, _: Ask<'_, Kept>, _: Timestamp) -> Reply<Kept> {
        nobody()
    }
}

/// How many sessions are listed at once.
const PAGE: usize = 100;

/// Runs `machine` to its end, without a time limit. `step` is its first step.
pub(crate) async fn drive(
    config: &Config,
    machine: &mut Machine<Kept>,
    own: &mut impl Answer,
    mut step: Step,
) {
    let mut waiting = Waiting {
        config,
        turn: None,
        conflicts: 0,
    };
    loop {
        match step {
            Step::Ask => {}
            // Boxed because the future is large and rarely needed.
            Step::Wait(id) => Box::pin(waiting.wait(id)).await,
            Step::Done => return,
        }
        let Some(ask) = machine.ask() else { return };
        let reply = match ask {
            Ask::Merge(_) | Ask::Begin { .. } | Ask::Join(..) | Ask::Judge(..) => {
                answer(config, own, ask, config.clock.now())
            }
            Ask::Fetch => catching_panics(own.fetch(config))
                .await
                .unwrap_or_else(panicked),
            Ask::Forget => catching_panics(own.forget()).await.unwrap_or_else(panicked),
            ask => catching_panics(ask_store(config, ask))
                .await
                .unwrap_or_else(panicked),
        };
        step = machine.step(reply, config.clock.now());
    }
}

/// Runs `machine` without waiting. Returns its next step, which is `Done` if it has ended.
pub(crate) fn drive_now(
    config: &Config,
    machine: &mut Machine<Kept>,
    own: &mut impl Answer,
    now: Timestamp,
) -> Step {
    loop {
        let Some(ask) = machine.ask() else {
            return Step::Done;
        };
        let reply = match ask {
            Ask::Merge(_) | Ask::Begin { .. } | Ask::Join(..) | Ask::Judge(..) => {
                answer(config, own, ask, now)
            }
            ask => match ask_memory(config, ask, now) {
                Some(reply) => reply,
                None => return Step::Ask,
            },
        };
        match machine.step(reply, now) {
            Step::Ask => {}
            step => return step,
        }
    }
}

fn answer(
    config: &Config,
    own: &mut impl Answer,
    ask: Ask<'_, Kept>,
    now: Timestamp,
) -> Reply<Kept> {
    catch_unwind(AssertUnwindSafe(|| own.answer(config, ask, now)))
        .unwrap_or_else(|_| Reply::Refused(Cause(Error::panicked())))
}

fn panicked() -> Reply<Kept> {
    Reply::Unknown(Cause(Error::panicked()))
}

async fn ask_store(config: &Config, ask: Ask<'_, Kept>) -> Reply<Kept> {
    let store = &config.store;
    match ask {
        Ask::Load(id) => store
            .load_latest(id)
            .await
            .map_or_else(failed, Reply::Loaded),
        Ask::Create(id, (record, activity)) => {
            let created = store.create(id, record, *activity).await;
            created.map_or_else(failed, of_create)
        }
        Ask::Update { id, former, next } => {
            let expected = Former::new(&former.0, former.1);
            let updated = store.update(id, &next.0, next.1, expected).await;
            updated.map_or_else(failed, of_update)
        }
        Ask::Touch(id, (record, seen)) => {
            let activity = config.lifetimes.activity(record, config.clock.now());
            let touched = store.touch(id, Former::new(record, *seen), activity).await;
            touched.map_or_else(failed, of_touch)
        }
        Ask::List((record, _)) => match list(config, record).await {
            Ok(found) => Reply::Listed(found),
            Err(error) => failed(error),
        },
        Ask::Merge(_)
        | Ask::Begin { .. }
        | Ask::Join(..)
        | Ask::Judge(..)
        | Ask::Fetch
        | Ask::Forget => {
            unreachable!("answered by the request")
        }
    }
}

/// `None` if the store is not in memory, or for an ask that has to be waited for in any case.
pub(super) fn ask_memory(
    config: &Config,
    ask: Ask<'_, Kept>,
    now: Timestamp,
) -> Option<Reply<Kept>> {
    let store = &config.store;
    Some(match ask {
        Ask::Load(id) => {
            let load = |inner: &MemoryInner| Ok(inner.load(id));
            let loaded = store.at_once(StoreCall::LoadLatest, load)?;
            loaded.map_or_else(failed, Reply::Loaded)
        }
        Ask::Create(id, (record, activity)) => {
            let create = |inner: &MemoryInner| inner.create(id, record, *activity);
            let created = store.at_once(StoreCall::Create, create)?;
            created.map_or_else(failed, of_create)
        }
        Ask::Update { id, former, next } => {
            let expected = former.0.version();
            let update = |inner: &MemoryInner| inner.update(id, &next.0, next.1, expected);
            let updated = store.at_once(StoreCall::Update, update)?;
            updated.map_or_else(failed, of_update)
        }
        Ask::Touch(id, (record, _)) => {
            let activity = config.lifetimes.activity(record, now);
            let touch = |inner: &MemoryInner| Ok(inner.touch(id, record.version(), activity));
            let touched = store.at_once(StoreCall::Touch, touch)?;
            touched.map_or_else(failed, of_touch)
        }
        _ => return None,
    })
}

#[inline]
fn of_create(created: Created) -> Reply<Kept> {
    match created {
        Created::Yes => Reply::Created,
        Created::Exists => Reply::Exists,
    }
}

#[inline]
fn of_update(updated: Updated) -> Reply<Kept> {
    match updated {
        Updated::Saved => Reply::Saved,
        Updated::Conflict => Reply::Conflict,
        Updated::Missing => Reply::Missing,
    }
}

fn of_touch(touched: Touched) -> Reply<Kept> {
    match touched {
        Touched::Yes => Reply::Touched,
        Touched::Stale => Reply::Stale,
        Touched::Missing => Reply::Missing,
    }
}

#[cold]
fn failed(error: StoreError) -> Reply<Kept> {
    let is_refused = error.is_not_applied();
    let cause = Cause(error.into());
    if is_refused {
        Reply::Refused(cause)
    } else {
        Reply::Unknown(cause)
    }
}

/// The sessions of the user of `record` that have not expired, and markers.
async fn list(config: &Config, record: &Record) -> Result<Vec<(SessionId, Kept)>, StoreError> {
    let query = match record.user() {
        Some(user) => Query::default().with_user(user),
        None => return Ok(Vec::new()),
    };
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = config.store.list(&query, after.as_ref(), PAGE).await?;
        let now = config.clock.now();
        for listed in page.sessions {
            let record: &Arc<Record> = &listed.record;
            if record.is_moved() || config.lifetimes.is_live(record, listed.activity, now) {
                found.push((listed.id, (listed.record, listed.activity)));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// A machine's place in the queue of a session that other requests write to (rule M1).
struct Waiting<'a> {
    config: &'a Config,
    turn: Option<(SessionId, Turn<SessionId>)>,
    conflicts: u32,
}

impl Waiting<'_> {
    /// Joins the session's queue. At its head, backs off from other processes.
    async fn wait(&mut self, id: SessionId) {
        if self.turn.as_ref().is_some_and(|(queue, _)| *queue == id) {
            back_off(self.conflicts).await;
            self.conflicts += 1;
            return;
        }
        // Two machines in the same two queues could block each other.
        self.turn = None;
        self.turn = Some((id, self.config.queues.enter(id).await));
    }
}
