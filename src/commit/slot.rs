//! Holds a commit's machine, so that an abandoned one can be undone: [`Slot`].
//!
//! It also holds the pass of the request's gate, until the state knows what was committed. Otherwise a `save` in another
//! task could store the same changes again.

use std::error::Error as _;

use tracing::warn;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        begin::begin,
        drive::{NoAnswers, ask_memory, drive, drive_now},
        events,
        plan::Plan,
        protocol::{self, Abandon, Cause, Machine, Step},
        response::{Committed, Cookie, Failed, ResponseHead, response_head},
        unconfirmed::{self, close, keep},
        undo::hand_on,
        work::{Occasion, Work},
    },
    error::{Error, ErrorKind},
    observe::event::EndReason,
    record::Kept,
    state::{
        State, Stored, Strong,
        shared::{HeldPass, Pass, Shared},
    },
};

/// One commit, and the machine that runs for it, to be continued in another future.
pub(crate) struct Started {
    pub(crate) pass: HeldPass,
    pub(crate) work: Work,
    pub(crate) machine: Machine<Kept>,
    pub(crate) step: Step,
}

/// One commit, and the machine that runs for it. If the machine is abandoned, its effects are undone.
pub(crate) struct Slot<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) occasion: Occasion,
    pub(crate) work: Option<Work>,
    machine: Option<Machine<Kept>>,
    /// The new session of a move that may or may not have been applied.
    in_doubt: Option<Box<Stored>>,
    /// From the plan of a response head until its result is in the state. If the slot is dropped in between, the request's
    /// changes are dropped too.
    is_pending: bool,
    /// The last field, so that the gate opens last.
    pass: Option<Pass<'a>>,
}

impl<'a> Slot<'a> {
    pub(crate) fn new(shared: &'a Shared, occasion: Occasion) -> Self {
        Self {
            shared,
            occasion,
            work: None,
            machine: None,
            in_doubt: None,
            is_pending: false,
            pass: None,
        }
    }

    /// Waits until no other store call of this request is running.
    pub(crate) async fn enter(&mut self) {
        self.pass = Some(self.shared.enter().await);
    }

    pub(crate) fn try_enter(&mut self) -> bool {
        self.pass = self.shared.try_enter();
        self.pass.is_some()
    }

    /// Copies the request's state into the work of this commit, and decides what to do. At the response head, the head
    /// counts as sent from now on.
    #[inline]
    pub(crate) fn plan(&mut self, state: &mut State, writer: u64) -> Plan {
        let config = &self.shared.config;
        self.is_pending = self.occasion == Occasion::Head;
        state.is_head_gone |= self.is_pending;
        let work = self
            .work
            .insert(Work::new(state, self.shared, self.occasion, writer));
        if self.occasion == Occasion::Save && work.stored.is_some() {
            work.leave_identity();
        }
        let plan = Plan::of(work, state, config);
        work.is_optional = matches!(plan, Plan::Touch | Plan::Renew);
        plan
    }

    /// Makes the machine that carries out `plan`. Returns the result if the plan needs no machine.
    #[inline]
    pub(crate) fn begin(&mut self, plan: Plan, now: Timestamp) -> Result<Option<Committed>, Error> {
        let Some(work) = &mut self.work else {
            return Ok(Some(Committed::Nothing));
        };
        begin(&self.shared.config, work, plan, now, &mut self.machine)
    }

    /// Runs `machine`, which ends the session that the request has destroyed.
    pub(crate) async fn end(&mut self, machine: Machine<Kept>) -> Result<(), Error> {
        let config = &self.shared.config;
        let machine = self.machine.insert(machine);
        drive(config, machine, &mut NoAnswers, Step::Ask).await;
        let finished = self.machine.take().map(Machine::finish);
        match finished.and_then(|finished| hand_on(config, finished)) {
            Some(protocol::Outcome::Failed(Cause(error))) => Err(error),
            Some(outcome) => {
                let now = config.clock.now();
                events::notify(config, &outcome, EndReason::Destroyed, now);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Runs the machine to its end, beginning with `step`. Returns its result.
    pub(crate) async fn run(&mut self, step: Step) -> Result<Committed, Error> {
        let config = &self.shared.config;
        if let (Some(machine), Some(work)) = (&mut self.machine, &mut self.work) {
            drive(config, machine, work, step).await;
        }
        self.finish(config.clock.now())
    }

    /// Runs the machine as far as it goes without waiting. Returns its result, or the step that waits.
    #[inline]
    pub(crate) fn run_now(&mut self, now: Timestamp) -> Result<Result<Committed, Error>, Step> {
        let config = &self.shared.config;
        // Almost every write is stored by its first call.
        if let (Some(Machine::Write(write)), Some(work)) = (&mut self.machine, &self.work)
            && let Some(reply) = ask_memory(config, write.ask(), now)
        {
            if write.is_stored_by(&reply) {
                return Ok(match self.machine.take() {
                    Some(Machine::Write(write)) => work.committed(config, write.stored(), now),
                    _ => Ok(Committed::Nothing),
                });
            }
            match write.step(reply, now) {
                Step::Ask => {}
                Step::Done => return Ok(self.finish(now)),
                step @ Step::Wait(_) => return Err(step),
            }
        }
        self.drive_now(now)
    }

    #[cold]
    fn drive_now(&mut self, now: Timestamp) -> Result<Result<Committed, Error>, Step> {
        let config = &self.shared.config;
        if let (Some(machine), Some(work)) = (&mut self.machine, &mut self.work) {
            let step = drive_now(config, machine, work, now);
            if step != Step::Done {
                return Err(step);
            }
        }
        Ok(self.finish(now))
    }

    /// Goes on with a commit that could not be finished without waiting.
    pub(crate) async fn go_on(&mut self, started: Started) -> Result<Committed, Error> {
        self.pass = Some(started.pass.resume(self.shared));
        self.is_pending = self.occasion == Occasion::Head;
        self.work = Some(started.work);
        self.machine = Some(started.machine);
        self.run(started.step).await
    }

    /// Hands over the machine, so that another future continues with `step`.
    #[cold]
    pub(crate) fn hand_over(mut self, shared: &Strong<Shared>, step: Step) -> Option<Started> {
        let (work, machine) = self.work.take().zip(self.machine.take())?;
        self.is_pending = false;
        Some(Started {
            pass: Shared::hold(shared, self.pass.take()?),
            work,
            machine,
            step,
        })
    }

    #[inline]
    fn finish(&mut self, now: Timestamp) -> Result<Committed, Error> {
        let Some(mut machine) = self.machine.take() else {
            return Ok(Committed::Nothing);
        };
        let is_save = self.occasion == Occasion::Save;
        let is_kept = is_save && self.keep_unconfirmed_save(&mut machine);
        let is_move = matches!(machine, Machine::Move(_));
        let mut finished = machine.finish();
        if is_kept {
            finished.undo = None;
        }
        let committed = match hand_on(&self.shared.config, finished) {
            Some(outcome) => self.committed(outcome, now),
            None => Ok(Committed::Nothing),
        };
        if committed.is_err() && is_move && is_save {
            self.shared.state().identity.redraw();
        }
        committed
    }

    /// Updates the request's state with the result. A touch or a renewal that failed is only logged.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        committed: Result<Committed, Error>,
        now: Timestamp,
    ) -> Result<ResponseHead, Error> {
        match committed {
            Err(error) if self.work.as_ref().is_some_and(|work| work.is_optional) => {
                let id = self.shared.state().stored.as_ref().map(Stored::id);
                if let Some(suppressed) = self.shared.config.failures.not_touched.admit() {
                    warn!(session.id = ?id, %error, cause = ?error.source(), suppressed, "touch or renewal failed");
                }
                self.update_state(Committed::Nothing, now)
            }
            committed => self.update_state(committed?, now),
        }
    }

    /// The failure of this commit. At the response head, pending changes are dropped, because no later call could save
    /// them. `is_left` says whether the request has destroyed its session: the response removes the cookie then.
    #[cold]
    pub(crate) fn fail(&mut self, error: Error, is_left: bool) -> Failed {
        if self.occasion == Occasion::Head {
            self.is_pending = false;
            unconfirmed::abandon(self.shared);
        }
        let cookie = match self.cookie_in_doubt() {
            Cookie::None if is_left => Cookie::Remove,
            cookie => cookie,
        };
        Failed {
            error,
            cookie,
            is_left,
        }
    }

    /// Abandons the machine, because the store timeout has passed. Returns its result if that is certain already.
    pub(crate) fn late(&mut self, late: &Error) -> Option<Result<ResponseHead, Error>> {
        let outcome = self.abandon(Abandon::Late(Cause(late.clone())))?;
        let now = self.shared.config.clock.now();
        Some(match self.committed(outcome, now) {
            Ok(committed) => self.update_state(committed, now),
            Err(error) => Err(error),
        })
    }

    /// The response head without the touch or the renewal, if that was all there was to do. Its failure is only logged
    /// (rule F2).
    pub(crate) fn do_without(&mut self, late: &Error) -> Option<ResponseHead> {
        let shared = self.shared;
        let now = shared.config.clock.now();
        let mut state = shared.state();
        if state.unconfirmed_save.is_some() || state.is_modified() {
            return None;
        }
        let id = state.stored.as_ref().map(Stored::id)?;
        if let Some(suppressed) = shared.config.failures.not_touched.admit() {
            warn!(session.id = %id, error = %late, cause = ?late.source(), suppressed, "touch or renewal failed");
        }
        let is_head = self.occasion == Occasion::Head;
        state.is_head_gone |= is_head;
        state.is_committed |= is_head;
        self.is_pending = false;
        Some(response_head(&mut state, shared, Some(now)))
    }

    /// Abandons the machine. An unconfirmed `save` is kept in the request's state; anything else is undone in the
    /// background. Returns what is certain already.
    fn abandon(&mut self, why: Abandon<Cause>) -> Option<protocol::Outcome<Kept>> {
        let mut machine = self.machine.take()?;
        if self.occasion == Occasion::Save {
            if self.keep_unconfirmed_save(&mut machine) {
                return None;
            }
            if let Machine::Move(_) = &machine {
                self.shared.state().identity.redraw();
            }
        }
        hand_on(&self.shared.config, machine.abandon(why))
    }

    /// Keeps a `save` whose reply is missing, so that the next commit confirms it first.
    fn keep_unconfirmed_save(&self, machine: &mut Machine<Kept>) -> bool {
        match (machine, &self.work) {
            (Machine::Write(write), Some(work)) if write.is_open() => {
                keep(self.shared, work, write)
            }
            _ => false,
        }
    }

    /// What `outcome` means to the request. Sends its events.
    fn committed(
        &mut self,
        outcome: protocol::Outcome<Kept>,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let Some(work) = &self.work else {
            return Ok(Committed::Nothing);
        };
        if let protocol::Outcome::InDoubt { id, record, .. } = &outcome {
            self.in_doubt = work.stored(*id, record.clone()).map(Box::new);
        }
        work.committed(&self.shared.config, outcome, now)
    }

    /// Updates the request's state with what was committed.
    #[inline]
    fn update_state(
        &mut self,
        committed: Committed,
        now: Timestamp,
    ) -> Result<ResponseHead, Error> {
        let (shared, occasion) = (self.shared, self.occasion);
        let Some(work) = &self.work else {
            return Ok(ResponseHead::default());
        };
        if let (Occasion::Save, Committed::Begun(stored)) = (occasion, &committed)
            && shared.state().is_head_gone
        {
            // The request has ended meanwhile: nobody will ever have its token.
            close(shared, stored);
            return Err(Error::too_late("a new session"));
        }
        let is_expired = matches!(committed, Committed::Expired);
        let head = shared.alter(|state| {
            state.is_committed |= occasion == Occasion::Head;
            state.unconfirmed_save = None;
            state.apply_at_head(committed, work.generations, work.until, shared, now)
        });
        self.is_pending = false;
        if is_expired {
            return Err(expired());
        }
        Ok(head)
    }

    /// The cookie of a move that may or may not have been applied.
    fn cookie_in_doubt(&self) -> Cookie {
        let config = &self.shared.config;
        self.in_doubt.as_ref().map_or(Cookie::None, |stored| {
            let last_seen_at = stored.activity.last_seen_at;
            let lifetimes = &config.lifetimes;
            let now = config.clock.now();
            Cookie::Issue(
                stored.token,
                lifetimes.max_age(&stored.record, last_seen_at, now),
            )
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.is_pending {
            unconfirmed::abandon(self.shared);
        }
        if self.machine.is_some() {
            let _ = self.abandon(Abandon::Cancelled);
        }
    }
}

/// The error for a request whose session expired and was deleted while it was running. Its changes are lost.
fn expired() -> Error {
    Error::new(
        ErrorKind::Ended,
        "the session expired while the request was running, and its changes were not saved",
    )
}
