//! Holds a commit's machine, so that an abandoned one can be undone: [`Slot`].

use std::error::Error as _;

use tracing::warn;

use crate::{
    clock::{Clock as _, Timestamp},
    commit::{
        begin::{Begun, begin},
        drive::{NoAnswers, drive, drive_now},
        events,
        plan::Plan,
        protocol::{self, Abandon, Cause, Machine, Step},
        response::{Committed, Cookie, Failed, ResponseHead},
        unconfirmed::{abandon, close, keep},
        undo::hand_on,
        work::{Occasion, Work},
    },
    error::{Error, ErrorKind},
    observe::event::EndReason,
    record::Kept,
    state::{
        State, Stored,
        shared::{HeldGate, Shared},
    },
};

/// One commit, and the machine that runs for it. If it is dropped, what the machine has begun is undone.
pub(crate) struct Started {
    pub(crate) gate: HeldGate,
    pub(crate) work: Work,
    pub(crate) machine: Machine<Kept>,
    pub(crate) step: Step,
}

/// One commit, and the machine that is under way for it. What an abandoned machine has begun is undone.
pub(crate) struct Slot<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) occasion: Occasion,
    pub(crate) work: Option<Work>,
    machine: Option<Machine<Kept>>,
    /// The new session of a move that may or may not have been applied.
    in_doubt: Option<Stored>,
}

impl<'a> Slot<'a> {
    pub(crate) fn new(shared: &'a Shared, occasion: Occasion) -> Self {
        Self {
            shared,
            occasion,
            work: None,
            machine: None,
            in_doubt: None,
        }
    }

    /// Runs `machine`, which ends the session that the request has destroyed.
    #[inline]
    pub(crate) fn plan(&mut self, state: &mut State, writer: u64) -> Plan {
        let config = &self.shared.config;
        state.is_head_gone |= self.occasion == Occasion::Head;
        let work = self
            .work
            .insert(Work::new(state, self.shared, self.occasion, writer));
        let plan = Plan::of(work, state, config);
        work.is_optional = matches!(plan, Plan::Touch | Plan::Renew);
        plan
    }

    #[inline]
    pub(crate) fn begin(&mut self, plan: Plan, now: Timestamp) -> Result<Begun, Error> {
        match &mut self.work {
            Some(work) => begin(&self.shared.config, work, plan, now),
            None => Ok(Begun::Done(Committed::Nothing)),
        }
    }

    /// Runs `machine`, which ends what the request has destroyed.
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

    /// Runs `machine` and returns its result.
    pub(crate) async fn run(
        &mut self,
        machine: Machine<Kept>,
        step: Step,
    ) -> Result<Committed, Error> {
        let config = &self.shared.config;
        let machine = self.machine.insert(machine);
        match &mut self.work {
            Some(work) => drive(config, machine, work, step).await,
            None => drive(config, machine, &mut NoAnswers, step).await,
        }
        self.finish()
    }

    /// Runs `machine` as far as a store in memory takes it: what it came to, or with which step it goes on.
    #[inline]
    pub(crate) fn run_now(
        &mut self,
        machine: Machine<Kept>,
        now: Timestamp,
    ) -> Result<Result<Committed, Error>, Step> {
        let config = &self.shared.config;
        let machine = self.machine.insert(machine);
        let step = match &mut self.work {
            Some(work) => drive_now(config, machine, work, now),
            None => drive_now(config, machine, &mut NoAnswers, now),
        };
        match step {
            Step::Done => Ok(self.finish()),
            step => Err(step),
        }
    }

    /// Hands over the machine, to go on with `step`.
    #[cold]
    pub(crate) fn hand_over(mut self, gate: HeldGate, step: Step) -> Option<Started> {
        let (work, machine) = self.work.take().zip(self.machine.take())?;
        Some(Started {
            gate,
            work,
            machine,
            step,
        })
    }

    #[inline]
    fn finish(&mut self) -> Result<Committed, Error> {
        let Some(mut machine) = self.machine.take() else {
            return Ok(Committed::Nothing);
        };
        let is_kept = self.keeps(&mut machine);
        let is_move = matches!(machine, Machine::Move(_));
        let mut finished = machine.finish();
        if is_kept {
            finished.undo = None;
        }
        let committed = match hand_on(&self.shared.config, finished) {
            Some(outcome) => self.take_in(outcome),
            None => Ok(Committed::Nothing),
        };
        if committed.is_err() && is_move && self.occasion == Occasion::Save {
            self.shared.state().identity.redraw();
        }
        committed
    }

    /// Ends the machine, because the store timeout has passed. Returns its result if that is certain already.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        committed: Result<Committed, Error>,
    ) -> Result<ResponseHead, Error> {
        match committed {
            Err(error) if self.work.as_ref().is_some_and(|work| work.is_optional) => {
                let id = self.shared.state().stored.as_ref().map(Stored::id);
                if let Some(suppressed) = self.shared.config.failures.not_touched.admit() {
                    warn!(session.id = ?id, %error, cause = ?error.source(), suppressed, "touch or renewal failed");
                }
                self.conclude(Committed::Nothing)
            }
            committed => self.conclude(committed?),
        }
    }

    /// At the head nothing is left pending: nobody could save it any more.
    #[cold]
    pub(crate) fn fail(&self, error: Error, is_forgotten: bool) -> Failed {
        if self.occasion == Occasion::Head {
            abandon(self.shared);
        }
        let cookie = match self.cookie_in_doubt() {
            Cookie::None if is_forgotten => Cookie::Remove,
            cookie => cookie,
        };
        Failed {
            error,
            cookie,
            is_left: is_forgotten,
        }
    }

    /// The deadline has passed. What is certain all the same.
    pub(crate) fn late(&mut self, late: &Error) -> Option<Result<ResponseHead, Error>> {
        let outcome = self.cut(Abandon::Late(Cause(late.clone())))?;
        Some(match self.take_in(outcome) {
            Ok(committed) => self.conclude(committed),
            Err(error) => Err(error),
        })
    }

    fn cut(&mut self, why: Abandon<Cause>) -> Option<protocol::Outcome<Kept>> {
        let mut machine = self.machine.take()?;
        if self.keeps(&mut machine) {
            return None;
        }
        if let (Occasion::Save, Machine::Move(_)) = (self.occasion, &machine) {
            self.shared.state().identity.redraw();
        }
        hand_on(&self.shared.config, machine.abandon(why))
    }

    /// Keeps a `save` whose reply is missing, so that the next commit confirms it first.
    fn keeps(&self, machine: &mut Machine<Kept>) -> bool {
        match (self.occasion, machine, &self.work) {
            (Occasion::Save, Machine::Write(write), Some(work)) if write.is_open() => {
                keep(self.shared, work, write)
            }
            _ => false,
        }
    }

    fn take_in(&mut self, outcome: protocol::Outcome<Kept>) -> Result<Committed, Error> {
        let now = self.shared.config.clock.now();
        let Some(work) = &self.work else {
            return Ok(Committed::Nothing);
        };
        if let protocol::Outcome::InDoubt { id, record, .. } = &outcome {
            self.in_doubt = work.stored(*id, record.clone());
        }
        work.conclude(&self.shared.config, outcome, now)
    }

    /// Updates the request's state with what was committed.
    #[inline]
    fn conclude(&mut self, committed: Committed) -> Result<ResponseHead, Error> {
        let (shared, occasion) = (self.shared, self.occasion);
        let now = shared.config.clock.now();
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
            state.conclude(committed, work.generations, work.until, shared, now)
        });
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
        if self.machine.is_some() {
            let _ = self.cut(Abandon::Cancelled);
        }
    }
}

/// It is deleted by then, and what the request has changed is lost.
fn expired() -> Error {
    Error::new(
        ErrorKind::Ended,
        "the session expired while the request was running, and its changes were not saved",
    )
}
