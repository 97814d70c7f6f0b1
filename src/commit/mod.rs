//! What happens to the session when the response head is ready, or at `save`:
//! the decision table, and what follows from what the store said.

pub(crate) mod attempt;
pub(crate) mod limit;
pub(crate) mod prompt;
pub(crate) mod protocol;
pub(crate) mod relocate;
pub(crate) mod revoke;
pub(crate) mod swap;
pub(crate) mod unborn;
pub(crate) mod upkeep;
pub(crate) mod write;

use std::{error::Error as _, future::poll_fn, pin::pin, sync::Arc};

use tracing::{Span, debug, debug_span, field, warn};

use crate::{
    clock::Timestamp,
    commit::{
        attempt::settle_unconfirmed_save,
        relocate::relocate,
        swap::Swap,
        write::{Committed, InDoubt, create, renew, touch, update},
    },
    config::Config,
    deadline::within,
    error::{Error, ErrorKind},
    observe::event::{EndReason, Event},
    record::{Record, data::Data, renewal, token::Token},
    state::{
        Generations, Identity, State, Stored, Usage, change_seq::ChangeSeq, changes::Changes,
        shared::Shared, unconfirmed::UnconfirmedSave,
    },
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
pub(crate) enum Plan {
    Nothing,
    Touch,
    Create,
    /// With the data as it is to be.
    Update(Data),
    /// The secret, and nothing else.
    Renew,
    Move,
}

/// What a commit works on: a copy of the state, so that handlers may go on.
pub(crate) struct Work {
    pub(crate) stored: Option<Stored>,
    pub(crate) identity: Identity,
    pub(crate) changes: Option<Arc<Changes>>,
    pub(crate) is_displaced: bool,
    /// Something is to be done about the secret.
    pub(crate) renews: bool,
    pub(crate) until: ChangeSeq,
    pub(crate) generations: Generations,
}

impl Work {
    pub(crate) fn new(state: &State, config: &Config, occasion: Occasion) -> Self {
        let work = Self {
            stored: state.stored.clone(),
            identity: state.identity.clone(),
            changes: state.changes.clone(),
            until: state.last_change(),
            is_displaced: state.is_displaced,
            renews: occasion == Occasion::Head && state.is_renewal_due(config),
            generations: state.generations,
        };
        match (occasion, &work.identity, &work.stored) {
            (Occasion::Save, Identity::Cycle(_), Some(_)) => Self {
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
    pub(crate) fn plan(&self, state: &State, config: &Config) -> Plan {
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
        if let Some(data) = changes.and_then(|changes| changes.merged(&stored.record)) {
            return Plan::Update(data);
        }
        if self.renews {
            Plan::Renew
        } else if state.is_touch_due(config) {
            Plan::Touch
        } else {
            Plan::Nothing
        }
    }

    /// A visitor about whom there is nothing to remember gets no session.
    fn has_data(&self) -> bool {
        let changes = self.changes.as_ref();
        changes.is_some_and(|changes| changes.leave_values())
    }
}

/// What a commit's log lines are under, with the id that is being committed, and whether there is one.
pub(crate) fn span(shared: &Shared) -> (Span, bool) {
    let span = debug_span!("session_commit", session.id = field::Empty);
    let is_named = shared.name(&span);
    (span, is_named)
}

/// The commit, in its span. A session that begins has its id there at the end.
///
/// # Errors
///
/// As [`commit`].
pub(crate) async fn commit_in_span(shared: &Shared, occasion: Occasion) -> Result<Outcome, Failed> {
    let (span, is_named) = span(shared);
    // By hand: `Instrumented` would move it, and it is large.
    let mut commit = pin!(commit(shared, occasion));
    let committed = poll_fn(|context| span.in_scope(|| commit.as_mut().poll(context))).await;
    if !is_named {
        shared.name(&span);
    }
    committed
}

/// The commit, within the deadline.
///
/// # Errors
///
/// Where the store failed and something may be lost by it. At the head nothing
/// is left pending then: nobody could save it any more.
pub(crate) async fn commit(shared: &Shared, occasion: Occasion) -> Result<Outcome, Failed> {
    let removes_cookie = shared.state().destroyed.is_some();
    // Pinned where it is: it is large, and would be moved otherwise.
    let running = pin!(async { Ok(run(shared, occasion).await) });
    let error = match within(shared.config.store_timeout, running).await {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(error)) => error,
        Err(late) => match do_without(shared, occasion, &late) {
            Some(outcome) => return Ok(outcome),
            None => late,
        },
    };
    if occasion == Occasion::Head {
        shared.abandon();
    }
    Err(Failed {
        error,
        removes_cookie,
    })
}

/// Where there was nothing to do but to touch, it is only logged that it came
/// to nothing (rule F2): be it that others talked with the store for so long.
fn do_without(shared: &Shared, occasion: Occasion, late: &Error) -> Option<Outcome> {
    let now = shared.config.clock.now();
    let mut state = shared.state();
    if state.unconfirmed_save.is_some() || state.is_modified() {
        return None;
    }
    let id = state.stored.as_ref().map(Stored::id)?;
    warn!(session.id = %id, error = %late, cause = ?late.source(), "touch failed");
    state.is_head_gone |= occasion == Occasion::Head;
    state.is_committed |= occasion == Occasion::Head;
    Some(outcome(&mut state, shared, Some(now)))
}

async fn run(shared: &Shared, occasion: Occasion) -> Result<Outcome, Error> {
    let config = &*shared.config;
    let _gate = shared.enter().await;
    settle_unconfirmed_save(shared).await?;
    let (mut work, plan, destroyed, is_too_late) = {
        let mut state = shared.state();
        let is_too_late = state.is_head_gone && occasion == Occasion::Save;
        state.is_head_gone |= occasion == Occasion::Head;
        let work = Work::new(&state, config, occasion);
        let plan = work.plan(&state, config);
        (work, plan, state.destroyed.clone(), is_too_late)
    };
    let now = config.clock.now();
    if let Some(ended) = destroyed {
        let id = ended.id();
        let was_there = Swap::new(config).delete(id).await?;
        debug!(session.id = %id, "session destroyed");
        shared
            .state()
            .destroyed
            .take_if(|pending| pending.id() == id);
        if was_there {
            let reason = EndReason::Destroyed;
            let event = || Event::ended(id, Some(ended.kept()), now, reason);
            config.observers().notify_destroyed(id, event);
        }
    }
    let (generations, until) = (work.generations, work.until);
    let logs_in = matches!(work.identity, Identity::LogIn(_));
    let attempting = |stored: &Stored, former| {
        if occasion == Occasion::Save {
            shared.state().unconfirmed_save = Some(Box::new(UnconfirmedSave {
                stored: stored.clone(),
                former,
                until,
                generations,
            }));
        }
    };
    let mut committed = match plan {
        Plan::Nothing => Committed::Nothing,
        Plan::Create if is_too_late => return Err(Error::too_late("a new session")),
        Plan::Touch => touch(config, &work, now).await,
        Plan::Create => {
            let note = |stored: &Stored| {
                attempting(stored, None);
                shared.state().identity.take_token();
            };
            let in_doubt = match occasion {
                Occasion::Head => InDoubt::TakenBack(&shared.config),
                Occasion::Save => InDoubt::Noted(note),
            };
            let created = create(config, &work, now, in_doubt).await;
            created.inspect_err(|error| shared.state().refuse(error))?
        }
        Plan::Update(data) => {
            let attempting = |stored: &Stored, former: &Arc<Record>| {
                attempting(stored, Some(Arc::clone(former)));
            };
            let updated = update(config, &mut work, Some(data), now, attempting).await;
            updated.inspect_err(|error| shared.state().refuse(error))?
        }
        Plan::Renew => Box::pin(renew(config, &mut work, now)).await,
        // Boxed, because its future is larger than all others and rarely needed.
        Plan::Move => Box::pin(relocate(&shared.config, work, now)).await?,
    };
    if let (Committed::Begun(new), true) = (&mut committed, logs_in) {
        // Where that fails, the next attempt is another session.
        shared.state().unconfirmed_save = None;
        limit::enforce(config, new).await?;
    }
    let is_expired = matches!(committed, Committed::Expired);
    let outcome = shared.alter(|state| {
        state.is_committed |= occasion == Occasion::Head;
        state.unconfirmed_save = None;
        state.conclude(committed, generations, until, shared, now)
    });
    if is_expired {
        return Err(Error::new(
            ErrorKind::Ended,
            "the session expired while the request was running, and its changes were not saved",
        ));
    }
    Ok(outcome)
}

impl State {
    /// Loading counts as activity (rule L2), but is worth a store call only now and then.
    pub(crate) fn is_touch_due(&self, config: &Config) -> bool {
        match (&self.stored, self.loaded_at) {
            (Some(stored), Some(loaded_at)) if self.usage == Usage::Loaded => config
                .lifetimes
                .is_touch_due(&stored.record, stored.activity, loaded_at),
            _ => false,
        }
    }

    /// By the time of the load, as the touch.
    pub(crate) fn is_renewal_due(&self, config: &Config) -> bool {
        match (&self.stored, self.loaded_at) {
            (Some(stored), Some(loaded_at)) if self.usage == Usage::Loaded => {
                let (record, secret) = (&stored.record, &stored.token.secret);
                renewal::step(record, secret, config.renew_every, loaded_at).is_some()
            }
            _ => false,
        }
    }

    /// The store has said no, for certain: what was on its way to it is not there.
    pub(crate) fn refuse(&mut self, error: &Error) {
        if !error.is_ambiguous() {
            self.unconfirmed_save = None;
        }
    }

    /// What the head says, or will say, of what was committed.
    pub(crate) fn conclude(
        &mut self,
        committed: Committed,
        generations: Generations,
        until: ChangeSeq,
        shared: &Shared,
        now: Timestamp,
    ) -> Outcome {
        self.is_cookie_due |= self.take_in(committed, generations, until, &shared.config, now);
        outcome(self, shared, Some(now))
    }

    /// Whether the cookie must be sent again: for its Max-Age, or to lose it.
    pub(crate) fn take_in(
        &mut self,
        committed: Committed,
        generations: Generations,
        until: ChangeSeq,
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
            // Destroyed while this was on its way to the store.
            Committed::Begun(stored) if self.generations.destroyed != generations.destroyed => {
                self.destroyed = Some(Box::new(stored));
                false
            }
            _ if self.generations.destroyed != generations.destroyed => false,
            Committed::Ended | Committed::Expired => {
                debug!("ended elsewhere: changes dropped");
                self.end();
                false
            }
            Committed::Touched(stored) => {
                let refreshed = is_persistent(&stored);
                self.loaded_at = Some(now);
                self.stored = Some(stored);
                refreshed
            }
            Committed::Renewed(stored) => {
                debug!(session.id = %stored.id(), "session renewed");
                self.is_token_fresh = true;
                self.confirm(stored, until);
                true
            }
            Committed::Saved(stored) => {
                debug!(session.id = %stored.id(), "session saved");
                let was_persistent = self.stored.as_ref().is_some_and(is_persistent);
                let refreshed = was_persistent || is_persistent(&stored);
                self.confirm(stored, until);
                refreshed
            }
            Committed::Begun(stored) => {
                debug!(session.id = %stored.id(), "session stored under a new id");
                if self.generations.identified == generations.identified {
                    self.identity = Identity::Same;
                }
                self.is_displaced = false;
                self.is_token_fresh = true;
                self.confirm(stored, until);
                true
            }
        }
    }
}

/// What the head says, after whatever the store did.
pub(crate) fn outcome(state: &mut State, shared: &Shared, now: Option<Timestamp>) -> Outcome {
    let config = &*shared.config;
    let now = || now.unwrap_or_else(|| config.clock.now());
    let cookie = match &state.stored {
        Some(stored) if state.is_cookie_due && state.may_issue(stored, config, now()) => {
            let now = now();
            let lifetimes = &config.lifetimes;
            let last_seen_at = stored.activity.last_seen_at;
            let max_age = lifetimes.max_age(&stored.record, last_seen_at, now);
            Cookie::Issue(stored.token, max_age)
        }
        Some(_) => Cookie::None,
        None => {
            let is_forgotten = state.was_destroyed && !state.is_displaced && state.was_presented;
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
