//! What happens to the session when the response head is ready, or at `save`:
//! the decision table, and its execution.

use std::{error::Error as _, sync::Arc};

use tracing::{debug, warn};

use crate::{
    Error, ErrorKind, Record, Timestamp,
    changes::{Changes, Moment},
    data::Data,
    deadline::within,
    layer::Config,
    lifetime::is_past,
    record::Wrote,
    state::{Attempt, Identity, Shared, State, Stored, Turns, Usage, amended},
    store::{SessionStore as _, Touched},
    swap::{Swap, Swapped},
    token::{Token, Verifier},
    version::Version,
};

/// What the response head tells the visitor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) cookie: Cookie,
    /// Whether the request loaded or peeked at the session.
    pub(crate) is_used: bool,
    /// Whether the visitor has a stored session now.
    pub(crate) is_live: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Cookie {
    #[default]
    None,
    /// With Max-Age in seconds, if it has one.
    Issue(Token, Option<u64>),
    Remove,
}

/// Why the visitor gets an empty 503 instead of the response.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// The visitor asked to be forgotten: the cookie goes all the same (rule F2).
    pub(crate) removes_cookie: bool,
}

/// When a commit happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The response head is ready: everything.
    Head,
    /// Now, at the handler's request: data. A pending log-in or cycle of a
    /// stored session waits for the head (rule C7).
    Save,
}

/// What the store must do.
enum Plan {
    Nothing,
    Touch,
    Create,
    /// With the data as it is to be.
    Update(Data),
    Move,
}

/// What a commit works on: a copy of the state, so that handlers may go on.
struct Work {
    stored: Option<Stored>,
    identity: Identity,
    changes: Option<Arc<Changes>>,
    until: Moment,
    is_displaced: bool,
    turns: Turns,
}

impl Work {
    fn new(state: &State, occasion: Occasion) -> Self {
        let work = Self {
            stored: state.stored.clone(),
            identity: state.identity.clone(),
            changes: state.changes.clone(),
            until: state.moment(),
            is_displaced: state.is_displaced,
            turns: state.turns,
        };
        match (occasion, &work.identity, &work.stored) {
            (Occasion::Save, Identity::Cycle, Some(_)) => Self {
                identity: Identity::Same,
                ..work
            },
            (Occasion::Save, Identity::LogIn(log_in), Some(_)) => {
                // What came after the log-in is not for the old token's holder to read.
                let until = log_in.since;
                let earlier = work.changes.as_ref().map(|changes| changes.until(until));
                Self {
                    identity: Identity::Same,
                    changes: earlier.filter(|earlier| !earlier.is_empty()).map(Arc::new),
                    until,
                    ..work
                }
            }
            _ => work,
        }
    }

    /// The decision table.
    fn plan(&self, state: &State, config: &Config) -> Plan {
        let logs_in = matches!(self.identity, Identity::LogIn(_));
        let Some(stored) = &self.stored else {
            let is_worth_it = !self.is_displaced && self.has_data();
            return if logs_in || is_worth_it {
                Plan::Create
            } else {
                Plan::Nothing
            };
        };
        if !matches!(self.identity, Identity::Same) {
            return Plan::Move;
        }
        let changes = self.changes.as_deref();
        if let Some(data) = changes.and_then(|changes| amended(&stored.record, changes)) {
            return Plan::Update(data);
        }
        if state.is_touch_due(config) {
            Plan::Touch
        } else {
            Plan::Nothing
        }
    }

    /// A visitor about whom there is nothing to remember gets no session.
    fn has_data(&self) -> bool {
        let changes = self.changes.as_ref();
        changes.is_some_and(|changes| changes.apply(&Data::default()).len() > 0)
    }
}

/// The response head is ready: what it says, where that takes no store.
pub(crate) fn settle_at_once(shared: &Shared) -> Option<Outcome> {
    let mut state = shared.state();
    let is_unchanged = state.destroyed.is_none()
        && state.changes.is_none()
        && matches!(state.identity, Identity::Same);
    if is_unchanged && !state.is_touch_due(&shared.config) {
        state.is_head_gone = true;
        Some(outcome(&mut state, shared, None))
    } else {
        None
    }
}

/// The commit, within the deadline.
///
/// # Errors
///
/// Where the store failed. At the head nothing is left pending then: nobody could save it any more.
pub(crate) async fn commit(shared: &Shared, occasion: Occasion) -> Result<Outcome, Failed> {
    let removes_cookie = shared.state().destroyed.is_some();
    let result = within(shared.config.store_timeout, run(shared, occasion)).await;
    result.map_err(|error| {
        if occasion == Occasion::Head {
            let mut state = shared.state();
            state.is_head_gone = true;
            state.destroyed = None;
            state.identity = Identity::Same;
            state.drop_changes();
        }
        Failed {
            error,
            removes_cookie,
        }
    })
}

async fn run(shared: &Shared, occasion: Occasion) -> Result<Outcome, Error> {
    let config = &*shared.config;
    let _gate = shared.enter().await;
    settle_open_save(shared).await?;
    let (mut work, plan, destroyed, is_too_late) = {
        let mut state = shared.state();
        let is_too_late = state.is_head_gone;
        state.is_head_gone |= occasion == Occasion::Head;
        let work = Work::new(&state, occasion);
        let plan = work.plan(&state, config);
        (work, plan, state.destroyed, is_too_late)
    };
    let now = config.clock.now();
    if let Some(id) = destroyed {
        Swap::new(config).delete(id).await?;
        debug!(session.id = %id, "session destroyed");
        let mut state = shared.state();
        state.destroyed = state.destroyed.filter(|pending| *pending != id);
    }
    let (turns, until) = (work.turns, work.until);
    let committed = match plan {
        Plan::Nothing => Committed::Nothing,
        Plan::Create if is_too_late => return Err(Error::too_late("a new session")),
        Plan::Touch => touch(config, &work, now).await,
        Plan::Create => create(config, &work, now).await?,
        Plan::Update(data) => {
            let attempting = |version| {
                if occasion == Occasion::Save {
                    shared.state().open_save = Some(Attempt { version, until });
                }
            };
            update(config, &mut work, data, now, attempting).await?
        }
        // Boxed, because its future is larger than all others and rarely needed.
        Plan::Move => Box::pin(relocate(config, work, now)).await?,
    };
    let mut state = shared.state();
    state.open_save = None;
    let refreshed = state.take_in(committed, turns, until, config, now);
    // At a save, what was refreshed is for the head to say.
    state.is_cookie_due |= refreshed;
    Ok(outcome(&mut state, shared, Some(now)))
}

/// Finds out whether an earlier save that never heard from the store was kept,
/// so that the changes in it are not made twice (rule M5).
pub(crate) async fn settle_open_save(shared: &Shared) -> Result<(), Error> {
    let (open_save, is_stale, stored) = {
        let state = shared.state();
        (state.open_save, state.is_stale, state.stored.clone())
    };
    let Some(mut stored) = stored else {
        return Ok(());
    };
    if let Some(attempt) = open_save {
        // Boxed, because it is rarely needed.
        let latest = Box::pin(shared.config.store.load_latest(stored.id())).await?;
        let mut state = shared.state();
        if let Some((record, activity)) = latest {
            let computes = state.changes.as_ref().is_some_and(|c| c.computes());
            match record.wrote(attempt.version) {
                Wrote::Yes if record.is_moved() => state.end(),
                Wrote::Yes => {
                    (stored.record, stored.activity) = (record, activity);
                    state.settle(stored.clone(), attempt.until);
                }
                Wrote::Unknown if computes => {
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        "an earlier save got no reply, and too many writes came after it to tell whether it was kept",
                    ));
                }
                Wrote::Unknown | Wrote::No => {}
            }
        }
        state.open_save = None;
    }
    if is_stale || shared.state().is_stale {
        shared.adopt(&stored.kept())?;
    }
    Ok(())
}

/// What a plan came to.
enum Committed {
    Nothing,
    Touched(Stored),
    Saved(Stored),
    /// Under a new id.
    Begun(Stored),
    Ended,
}

impl State {
    /// Loading counts as activity (rule L2), but is worth a store call only now and then.
    fn is_touch_due(&self, config: &Config) -> bool {
        match (&self.stored, self.loaded_at) {
            (Some(stored), Some(loaded_at)) if self.usage == Usage::Loaded => {
                let last_seen_at = stored.activity.last_seen_at;
                config
                    .lifetimes
                    .is_touch_due(&stored.record, last_seen_at, loaded_at)
            }
            _ => false,
        }
    }

    /// Whether the cookie must be sent again: for its Max-Age, or to lose it.
    fn take_in(
        &mut self,
        committed: Committed,
        turns: Turns,
        until: Moment,
        config: &Config,
        now: Timestamp,
    ) -> bool {
        let is_persistent = |stored: &Stored| config.lifetimes.is_persistent(&stored.record);
        match committed {
            Committed::Nothing => {
                if self.is_displaced && self.drop_changes() {
                    debug!("ended elsewhere: changes dropped");
                }
                false
            }
            Committed::Ended => {
                debug!("ended elsewhere: changes dropped");
                self.end();
                false
            }
            // Destroyed while this was on its way to the store.
            Committed::Begun(stored) if self.turns.destroyed != turns.destroyed => {
                self.destroyed = Some(stored.id());
                false
            }
            _ if self.turns.destroyed != turns.destroyed => false,
            Committed::Touched(stored) => {
                let refreshed = is_persistent(&stored);
                self.loaded_at = Some(now);
                self.stored = Some(stored);
                refreshed
            }
            Committed::Saved(stored) => {
                debug!(session.id = %stored.id(), "session saved");
                let was_persistent = self.stored.as_ref().is_some_and(is_persistent);
                let refreshed = was_persistent || is_persistent(&stored);
                self.settle(stored, until);
                refreshed
            }
            Committed::Begun(stored) => {
                debug!(session.id = %stored.id(), "session stored under a new id");
                if self.turns.identified == turns.identified {
                    self.identity = Identity::Same;
                }
                self.is_displaced = false;
                self.settle(stored, until);
                true
            }
        }
    }
}

/// What the head says, after whatever the store did.
fn outcome(state: &mut State, shared: &Shared, now: Option<Timestamp>) -> Outcome {
    let config = &*shared.config;
    let cookie = match &state.stored {
        Some(stored) if state.is_cookie_due => {
            let now = now.unwrap_or_else(|| config.clock.now());
            let lifetimes = &config.lifetimes;
            let last_seen_at = stored.activity.last_seen_at;
            let max_age = lifetimes.max_age(&stored.record, last_seen_at, now);
            Cookie::Issue(stored.token, max_age)
        }
        Some(_) => Cookie::None,
        None => {
            let is_forgotten =
                state.was_destroyed && !state.is_displaced && !shared.presented.is_empty();
            if is_forgotten || state.is_corrupt() {
                Cookie::Remove
            } else {
                Cookie::None
            }
        }
    };
    if state.is_head_gone {
        state.is_cookie_due = false;
    }
    Outcome {
        cookie,
        is_used: state.usage != Usage::Untouched,
        is_live: state.stored.is_some(),
    }
}

async fn touch(config: &Config, work: &Work, now: Timestamp) -> Committed {
    let Some(stored) = &work.stored else {
        return Committed::Nothing;
    };
    if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
        return Committed::Ended;
    }
    let activity = config.lifetimes.activity(&stored.record, now);
    let mut swap = Swap::new(config);
    let touching = swap.touch(stored.id(), stored.record.version(), activity);
    match within(config.store_timeout, touching).await {
        Ok(Touched::Yes) => {
            let stored = stored.clone();
            Committed::Touched(Stored { activity, ..stored })
        }
        // Somebody wrote since, and so was seen since.
        Ok(Touched::Stale) => Committed::Nothing,
        Ok(Touched::Missing) => Committed::Ended,
        Err(error) => {
            warn!(session.id = %stored.id(), %error, cause = ?error.source(), "touch failed");
            Committed::Nothing
        }
    }
}

async fn create(config: &Config, work: &Work, now: Timestamp) -> Result<Committed, Error> {
    let mut swap = Swap::new(config);
    let mut changes = work.changes.clone().unwrap_or_default();
    if work.is_displaced {
        // They were made on a record that has ended.
        Arc::make_mut(&mut changes).rebase(&Data::default(), config.max_data_bytes)?;
    }
    let login = match &work.identity {
        Identity::LogIn(log_in) => Some(log_in.login()),
        Identity::Same | Identity::Cycle => None,
    };
    let blank = |token: &Token, writer| {
        let verifier = Verifier::of(&token.secret);
        Record::new(verifier, Version::first(writer), now).with_login(login.clone())
    };
    let stored = begin(config, &mut swap, &changes, now, blank).await?;
    Ok(Committed::Begun(stored))
}

/// Two equal ids are not to be expected; a store that claims so again and again is broken.
const MAX_DRAWS: u32 = 3;

/// Stores a new record: what `blank` gives for a new token, with `changes` on top.
async fn begin(
    config: &Config,
    swap: &mut Swap<'_>,
    changes: &Changes,
    now: Timestamp,
    blank: impl Fn(&Token, u64) -> Record,
) -> Result<Stored, Error> {
    for _ in 0..MAX_DRAWS {
        let token = Token::generate()?;
        let record = blank(&token, swap.writer);
        let data = changes.apply(record.data());
        let record = Arc::new(changes.overriding(record.with_data(data)));
        let activity = config.lifetimes.activity(&record, now);
        if swap.create(token.id, &record, activity).await? {
            return Ok(Stored {
                token,
                record,
                activity,
            });
        }
    }
    Err(Error::new(
        ErrorKind::Other,
        "the store says of every new id that it exists",
    ))
}

async fn update(
    config: &Config,
    work: &mut Work,
    mut data: Data,
    now: Timestamp,
    attempting: impl Fn(Version),
) -> Result<Committed, Error> {
    let (Some(stored), Some(changes)) = (&mut work.stored, &mut work.changes) else {
        return Ok(Committed::Nothing);
    };
    let mut swap = Swap::new(config);
    loop {
        if is_past(config.lifetimes.absolute_deadline(&stored.record), now) {
            return Ok(Committed::Ended);
        }
        let rested = now.since(stored.activity.last_seen_at);
        let next = stored.record.successor(data, swap.writer, rested);
        let next = Arc::new(changes.overriding(next));
        let activity = config.lifetimes.activity(&next, now);
        let expected = stored.record.version();
        let counts = changes.computes();
        attempting(next.version());
        match swap
            .attempt(stored.id(), expected, &next, activity, counts)
            .await?
        {
            Swapped::Saved => {
                stored.record = next;
                stored.activity = activity;
                return Ok(Committed::Saved(stored.clone()));
            }
            Swapped::Fresher((record, activity)) => {
                Arc::make_mut(changes).rebase(record.data(), config.max_data_bytes)?;
                stored.record = record;
                stored.activity = activity;
                match amended(&stored.record, changes) {
                    Some(merged) => data = merged,
                    None => return Ok(Committed::Saved(stored.clone())),
                }
            }
            Swapped::Moved | Swapped::Missing => return Ok(Committed::Ended),
        }
    }
}

/// Log-in and cycle of a stored session (rules M6, M7, M8).
async fn relocate(config: &Config, work: Work, now: Timestamp) -> Result<Committed, Error> {
    let Some(old) = work.stored.clone() else {
        return Ok(Committed::Nothing);
    };
    let log_in = match &work.identity {
        Identity::LogIn(log_in) => Some(log_in.clone()),
        Identity::Same | Identity::Cycle => None,
    };
    let mut swap = Swap::new(config);
    let mut changes = work.changes.as_deref().cloned().unwrap_or_default();
    let mut base = old.kept();
    if is_past(config.lifetimes.absolute_deadline(&base.0), now) {
        if log_in.is_none() {
            return Ok(Committed::Ended);
        }
        let work = Work {
            is_displaced: true,
            ..work
        };
        return create(config, &work, now).await;
    }
    // What of `base` goes on under `token`.
    let continued = |base: &Record, token: &Token, writer| {
        let (verifier, version) = (Verifier::of(&token.secret), Version::first(writer));
        match &log_in {
            None => base.clone().with_token(verifier, version),
            Some(log_in) => {
                let start = if log_in.is_afresh {
                    Record::new(verifier, version, now)
                } else {
                    base.clone().with_token(verifier, version)
                };
                start.with_login(Some(log_in.login()))
            }
        }
    };
    let mut new = begin(config, &mut swap, &changes, now, |token, writer| {
        continued(&base.0, token, writer)
    })
    .await?;
    let is_afresh = log_in.as_ref().is_some_and(|log_in| log_in.is_afresh);
    let result = loop {
        let marker = Arc::new(base.0.marker(now, swap.writer));
        let activity = config.lifetimes.activity(&marker, now);
        let expected = base.0.version();
        let left = swap
            .attempt(old.id(), expected, &marker, activity, false)
            .await;
        // What the new session must take in before the old one can be left.
        let latest = match left {
            Ok(Swapped::Saved) => break Ok(true),
            Ok(Swapped::Moved) => break Ok(log_in.is_some()),
            Ok(Swapped::Missing) if log_in.is_none() => break Ok(false),
            Ok(Swapped::Missing) => None,
            Ok(Swapped::Fresher(latest)) => Some(latest),
            Err(error) => break Err(error),
        };
        if !is_afresh {
            // What has been destroyed does not live on in the new session.
            let gone = Record::new(*base.0.verifier(), expected, now);
            let basis = latest.as_ref().map_or(&gone, |(record, _)| record);
            let rest = continued(basis, &new.token, swap.writer);
            if let Err(error) = renew(config, &mut swap, &mut new, &mut changes, rest, now).await {
                break Err(error);
            }
        }
        match latest {
            Some(latest) => base = latest,
            None => break Ok(true),
        }
    };
    match result {
        Ok(true) => Ok(Committed::Begun(new)),
        Ok(false) => {
            swap.delete(new.id()).await?;
            Ok(Committed::Ended)
        }
        Err(error) => {
            // Nobody has its token; if this fails too, it expires.
            let _ = swap.delete(new.id()).await;
            Err(error)
        }
    }
}

/// Replaces the new session's record, which nobody else knows yet, by `rest` with `changes` on top.
async fn renew(
    config: &Config,
    swap: &mut Swap<'_>,
    new: &mut Stored,
    changes: &mut Changes,
    rest: Record,
    now: Timestamp,
) -> Result<(), Error> {
    changes.rebase(rest.data(), config.max_data_bytes)?;
    let expected = new.record.version();
    let data = changes.apply(rest.data());
    let verifier = *new.record.verifier();
    let rest = rest
        .with_data(data)
        .with_token(verifier, expected.next(swap.writer));
    let record = Arc::new(changes.overriding(rest));
    let activity = config.lifetimes.activity(&record, now);
    match swap
        .attempt(new.id(), expected, &record, activity, false)
        .await?
    {
        Swapped::Saved => {
            new.record = record;
            new.activity = activity;
            Ok(())
        }
        Swapped::Fresher(_) | Swapped::Moved | Swapped::Missing => Err(Error::ended()),
    }
}
