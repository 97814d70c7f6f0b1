//! The model: requests, the store, and the faults between them.

use cloakroom::{
    Timestamp,
    protocol::{
        Abandon, Ask, Claim, End, Finished, Help, Import, Machine, Move, Outcome, Reply, Step,
        Touch, Write,
    },
};
use stateright::{Model, Property};

use crate::{
    properties,
    record::{Fields, Small},
    world::{Actor, Breaches, Call, Op, Out, Phase, Spent, With, World, index, session},
};

/// A scenario and its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    pub(crate) ops: Vec<(Op, With)>,
    /// How many sessions there are at the beginning, and the user of the first.
    pub(crate) starts: u8,
    pub(crate) user: u8,
    pub(crate) limit: Option<usize>,
    /// How many writes and reads may be lost, late or refused.
    pub(crate) lost: u8,
    /// How many requests may be cancelled, time out, or crash with their node, and how many of all three together.
    pub(crate) cancelled: u8,
    pub(crate) late: u8,
    pub(crate) crashed: u8,
    pub(crate) abandoned: u8,
    pub(crate) reaped: u8,
    pub(crate) evicted: u8,
    pub(crate) undo_lost: u8,
    /// Whether the other library keeps what was imported.
    pub(crate) keeps: bool,
    /// Whether moves begin long after their sessions were loaded.
    pub(crate) stale: bool,
    pub(crate) world: Environment,
}

/// Planted faults of a store that breaks its contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Environment {
    Sound,
    /// A store that reports a call as refused although it was applied and its reply was lost.
    RefusalsThatWereNone,
    /// A store that sends a call again by itself, and does not report that the first one was applied.
    HiddenRetries,
    /// Markers that are deleted at once.
    MarkersThatGo,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Act {
    Start(u8),
    /// The call is applied and answered.
    Reply(u8),
    /// It is applied, and the reply is lost.
    Lose(u8),
    /// It arrives after its request has stopped waiting.
    Delay(u8),
    /// It never arrives.
    Drop(u8),
    /// It is not applied, and the store reports that.
    Refuse(u8),
    Apply(u8),
    Vanish(u8),
    Cancel(u8),
    Late(u8),
    Crash(u8),
    Resume(u8),
    Undo(u8),
    LoseUndo(u8),
    StopUndo(u8),
    Reap(u8),
    Evict(u8),
}

/// The time of all clocks.
const NOW: Timestamp = Timestamp::from_millis(10);

impl Net {
    pub(crate) fn new(ops: &[(Op, With)]) -> Self {
        Self {
            ops: ops.to_vec(),
            starts: 1,
            user: 0,
            limit: None,
            lost: 0,
            cancelled: 0,
            late: 0,
            crashed: 0,
            abandoned: 3,
            reaped: 0,
            evicted: 0,
            undo_lost: 0,
            keeps: false,
            stale: false,
            world: Environment::Sound,
        }
    }

    /// All requests have the token of the first session.
    pub(crate) fn on_one(ops: &[Op]) -> Self {
        let ops: Vec<_> = ops.iter().map(|op| (*op, With::Old(0))).collect();
        Self::new(&ops)
    }

    fn new_id(&self, actor: usize) -> u8 {
        self.starts + actor as u8
    }

    fn start(&self, world: &mut World, actor: usize) {
        let (op, with) = self.ops[actor];
        let (id, secret) = match with {
            With::Old(nth) => (nth, 1),
            With::New(of) => (world.token_of(of).unwrap_or(0), 2 << of),
        };
        let state = &mut world.actors[actor];
        (state.id, state.secret) = (id, secret);
        state.phase = match op {
            Op::RevokeUser(user) => Phase::Listing(user),
            Op::Revoke => Phase::Ending(ending(id, actor, 0), Vec::new()),
            Op::Import => {
                let ledger = session(world.store.len() as u8 - 1);
                let machine = Import::new(ledger, self.keeps, writer(actor));
                running(Machine::Import(Box::new(machine)))
            }
            Op::Create => {
                let record = Small::of(Fields {
                    count: 1,
                    secrets: 2 << actor,
                    ..Small::blank(writer(actor))
                });
                running(Machine::Write(Write::create(
                    session(self.new_id(actor)),
                    record,
                )))
            }
            _ => Phase::Loading,
        };
    }

    /// Passes the reply to the request's machine.
    fn tell(&self, world: &mut World, actor: usize, reply: Reply<Small>) {
        let phase = std::mem::replace(&mut world.actors[actor].phase, Phase::Idle);
        match phase {
            Phase::Loading => self.loaded(world, actor, reply),
            Phase::Listing(_) => match reply {
                Reply::Listed(all) => {
                    let mut ids: Vec<u8> = all.iter().map(|(id, _)| index(*id)).collect();
                    match ids.pop() {
                        Some(id) => {
                            world.actors[actor].phase =
                                Phase::Ending(ending(id, actor, ids.len()), ids);
                        }
                        None => done(world, actor, Out::Gone),
                    }
                }
                _ => done(world, actor, Out::Failed),
            },
            Phase::Helping(mut machine) => {
                let step = machine.step(reply, NOW);
                if step == Step::Done || machine.ask().is_none() {
                    self.helped(world, actor, machine);
                } else {
                    world.actors[actor].phase = Phase::Helping(machine);
                }
            }
            Phase::Running { mut machine, .. } => {
                let step = machine.step(reply, NOW);
                self.run(world, actor, machine, step, true);
            }
            Phase::Ending(mut machine, rest) => {
                let step = machine.step(reply, NOW);
                self.run_ending(world, actor, machine, step, rest);
            }
            other => world.actors[actor].phase = other,
        }
    }

    fn loaded(&self, world: &mut World, actor: usize, reply: Reply<Small>) {
        let Reply::Loaded(found) = reply else {
            return done(world, actor, Out::Failed);
        };
        let secret = world.actors[actor].secret;
        match found.filter(|record| record.secrets & secret != 0) {
            Some(record) if record.origin.is_some() && !record.is_marker => {
                let id = session(world.actors[actor].id);
                let machine = Machine::Help(Box::new(Help::new(id, record, 200 + actor as u64)));
                if machine.ask().is_none() {
                    self.helped(world, actor, machine);
                } else {
                    world.actors[actor].phase = Phase::Helping(machine);
                }
            }
            found => self.begin(world, actor, found),
        }
    }

    fn helped(&self, world: &mut World, actor: usize, machine: Machine<Small>) {
        match machine.finish().outcome {
            Some(Outcome::Helped { record, moved }) => {
                if moved.is_some() {
                    let id = world.actors[actor].id;
                    world.helped = true;
                    told(&mut world.moved, id, &mut world.breaches);
                }
                self.begin(world, actor, Some(record));
            }
            Some(Outcome::Failed(())) => done(world, actor, Out::Failed),
            _ => self.begin(world, actor, None),
        }
    }

    /// Begins the commit, on the loaded record.
    fn begin(&self, world: &mut World, actor: usize, found: Option<Small>) {
        let state = &world.actors[actor];
        let (op, id) = (state.op, session(state.id));
        let op = match op {
            Op::SaveLogIn(_) if found.as_ref().is_none_or(|record| record.is_marker) => {
                world.actors[actor].has_saved = true;
                op
            }
            Op::SaveLogIn(_) if !state.has_saved => Op::Save,
            other => other,
        };
        let machine = match (op, found) {
            (Op::LogIn(_) | Op::LogInTake(_) | Op::SaveLogIn(_), found) => {
                let found = found.map(|record| (id, record));
                self.moving(Move::log_in(found, writer(actor), self.limit))
            }
            (Op::Destroy, Some(found)) => {
                Machine::End(Box::new(End::destroy(id, found, writer(actor), NOW)))
            }
            (Op::Destroy, None) => return done(world, actor, Out::Gone),
            (_, None) => return done(world, actor, Out::Dropped),
            (_, Some(found)) if found.is_marker => return done(world, actor, Out::Dropped),
            (Op::Cycle, Some(found)) => self.moving(Move::cycle(id, found, writer(actor))),
            (Op::Touch, Some(found)) => Machine::Touch(Box::new(Touch::new(id, found, true))),
            (Op::Claim, Some(found)) => match merged(op, actor, &found, writer(actor)) {
                Some(next) => Machine::Claim(Claim::new(id, found, next)),
                None => return done(world, actor, Out::NotThere),
            },
            (op, Some(found)) => {
                // A second save of one request is another commit.
                let writer = writer(actor) + if world.resumed { 50 } else { 0 };
                let next = merged(op, actor, &found, writer);
                let next = next.unwrap_or_else(|| found.clone());
                Machine::Write(Write::update(id, found, next))
            }
        };
        self.run(world, actor, machine, Step::Ask, false);
    }

    fn moving(&self, machine: Move<Small>) -> Machine<Small> {
        Machine::Move(Box::new(if self.stale {
            machine.reloading()
        } else {
            machine
        }))
    }

    /// Answers the asks that need no store, until the next call or the end.
    fn run(
        &self,
        world: &mut World,
        actor: usize,
        mut machine: Machine<Small>,
        mut step: Step,
        begun: bool,
    ) {
        let op = world.actors[actor].op;
        while step != Step::Done {
            let Some(ask) = machine.ask() else { break };
            let reply = match ask {
                Ask::Merge(latest) => match merged(op, actor, latest, writer(actor)) {
                    Some(next) => Reply::Merged(next),
                    None => Reply::Unchanged,
                },
                Ask::Begin { base, .. } => self.begun(op, actor, base),
                Ask::Join(_, target) => joined(op, actor, target),
                _ => {
                    world.actors[actor].phase = Phase::Running { machine, begun };
                    return;
                }
            };
            step = machine.step(reply, NOW);
        }
        if let Machine::Write(write) = &machine
            && matches!(op, Op::Save | Op::SaveLogIn(_))
            && write.is_open()
        {
            world.actors[actor].phase = Phase::Kept(write.clone());
            return;
        }
        self.finish(world, actor, machine.finish(), Out::Failed);
    }

    fn run_ending(
        &self,
        world: &mut World,
        actor: usize,
        mut machine: Machine<Small>,
        mut step: Step,
        mut rest: Vec<u8>,
    ) {
        let op = world.actors[actor].op;
        while step != Step::Done {
            let reply = match machine.ask() {
                Some(Ask::Judge(_, record)) => {
                    Reply::Meant(!matches!(op, Op::RevokeUser(user) if record.user != user))
                }
                Some(_) => {
                    world.actors[actor].phase = Phase::Ending(machine, rest);
                    return;
                }
                None => break,
            };
            step = machine.step(reply, NOW);
        }
        match rest.pop() {
            None => self.finish(world, actor, machine.finish(), Out::Failed),
            Some(next) => {
                note(world, &machine.finish());
                world.actors[actor].phase = Phase::Ending(ending(next, actor, rest.len()), rest);
            }
        }
    }

    /// The record of a new session.
    fn begun(&self, op: Op, actor: usize, base: Option<&Small>) -> Reply<Small> {
        let own = op.user();
        let base = base.filter(|base| own.is_none_or(|user| base.user == 0 || base.user == user));
        let user = own.unwrap_or_else(|| base.map_or(0, |base| base.user));
        let mut fields = Fields {
            user,
            count: base.map_or(0, |base| base.count),
            voucher: base.is_some_and(|base| base.voucher),
            cart: base.is_some_and(|base| base.cart),
            private: base.map_or(0, |base| base.private) | own.map_or(0, |user| 1 << user),
            secrets: 2 << actor,
            rank: 10 + actor as u64,
            ..Small::blank(writer(actor))
        };
        if matches!(op, Op::LogInTake(_)) && !std::mem::take(&mut fields.voucher) {
            return Reply::Refused(());
        }
        Reply::Begun(session(self.new_id(actor)), Small::of(fields))
    }

    fn finish(&self, world: &mut World, actor: usize, finished: Finished<Small>, otherwise: Out) {
        note(world, &finished);
        let op = world.actors[actor].op;
        let out = match finished.outcome {
            None => otherwise,
            Some(Outcome::Saved { record, .. }) if matches!(op, Op::SaveLogIn(_)) => {
                world.actors[actor].has_saved = true;
                return self.begin(world, actor, Some(record));
            }
            // The session is gone: the log-in finds out where it moved.
            Some(Outcome::Ended)
                if matches!(op, Op::SaveLogIn(_)) && !world.actors[actor].has_saved =>
            {
                world.actors[actor].has_saved = true;
                world.actors[actor].phase = Phase::Loading;
                return;
            }
            Some(Outcome::NotSaved) => {
                // Everything is still pending: the commit begins again.
                world.resumed = true;
                world.actors[actor].phase = Phase::Loading;
                return;
            }
            Some(Outcome::Saved { .. }) if op == Op::Claim => Out::Got,
            Some(Outcome::Saved { .. } | Outcome::Touched(_)) => Out::Ok,
            Some(Outcome::Created { id, .. }) => {
                world.given.push((index(id), actor as u8));
                Out::Ok
            }
            Some(Outcome::Unchanged(_)) => Out::NotThere,
            Some(
                Outcome::Moved { id, .. }
                | Outcome::Begun { id, .. }
                | Outcome::Imported { id, .. },
            ) => Out::Moved(index(id)),
            Some(Outcome::Joined { id, .. }) => Out::Joined(index(id)),
            Some(Outcome::InDoubt { id, .. }) => Out::InDoubt(index(id)),
            Some(Outcome::Outdone) => Out::Outdone,
            Some(Outcome::Closed { .. }) => Out::Closed,
            Some(Outcome::Gone) => Out::Gone,
            Some(Outcome::LoggedInSince) => Out::LoggedInSince,
            Some(Outcome::Failed(())) => Out::Failed,
            Some(Outcome::Ended | Outcome::Stale | Outcome::Helped { .. } | Outcome::Undone) => {
                Out::Dropped
            }
        };
        done(world, actor, out);
    }

    fn abandon(&self, world: &mut World, actor: usize, why: Abandon<()>) {
        let phase = std::mem::replace(&mut world.actors[actor].phase, Phase::Cancelled);
        let is_late = matches!(why, Abandon::Late(()));
        let op = world.actors[actor].op;
        match phase {
            Phase::Running {
                machine: Machine::Write(write),
                ..
            } if is_late && matches!(op, Op::Save | Op::SaveLogIn(_)) && write.is_open() => {
                world.actors[actor].phase = Phase::Kept(write);
            }
            Phase::Running { machine, .. } | Phase::Ending(machine, _) => {
                let finished = machine.abandon(why);
                if is_late {
                    self.finish(world, actor, finished, Out::Failed);
                } else {
                    note(world, &finished);
                }
            }
            _ if is_late => done(world, actor, Out::Failed),
            _ => {}
        }
    }
}

impl Model for Net {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let imports = self.ops.iter().any(|(op, _)| *op == Op::Import);
        let gives = imports || self.ops.iter().any(|(op, _)| *op == Op::Insert);
        let start = |nth: u8| {
            let user = if nth == 0 { self.user } else { 0 };
            Small::of(Fields {
                user,
                voucher: !gives,
                cart: !imports,
                private: if user == 0 { 0 } else { 1 << user },
                secrets: 1,
                rank: 1 + u64::from(nth),
                ..Small::blank(50)
            })
        };
        let mut store: Vec<_> = (0..self.starts).map(|nth| Some(start(nth))).collect();
        // The last id is that of the ledger entry.
        store.resize(self.starts as usize + self.ops.len() + 1, None);
        let actor = |(op, with): &(Op, With)| Actor {
            op: *op,
            with: *with,
            id: 0,
            secret: 0,
            phase: Phase::Idle,
            has_saved: false,
        };
        vec![World {
            store,
            late: Vec::new(),
            actors: self.ops.iter().map(actor).collect(),
            undoing: Vec::new(),
            given: Vec::new(),
            ended: Vec::new(),
            moved: Vec::new(),
            evicted: Vec::new(),
            spent: Spent::default(),
            breaches: Breaches::default(),
            claimed: 0,
            old: imports,
            helped: false,
            resumed: false,
        }]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        let spent = &world.spent;
        let may_lose = spent.lost < self.lost;
        for (nth, actor) in world.actors.iter().enumerate() {
            let n = nth as u8;
            match (&actor.phase, actor.with) {
                (Phase::Idle, With::New(of)) if world.token_of(of).is_none() => {}
                (Phase::Idle, _) => acts.push(Act::Start(n)),
                (Phase::Kept(_), _) => acts.push(Act::Resume(n)),
                _ => {}
            }
            let Some(call) = call(world, nth) else {
                continue;
            };
            acts.push(Act::Reply(n));
            if may_lose {
                acts.push(Act::Drop(n));
                if call.writes() {
                    acts.extend([Act::Lose(n), Act::Delay(n), Act::Refuse(n)]);
                }
            }
            let abandoned = spent.cancelled + spent.late + spent.crashed;
            if matches!(actor.phase, Phase::Running { .. }) && abandoned < self.abandoned {
                acts.extend((spent.cancelled < self.cancelled).then_some(Act::Cancel(n)));
                acts.extend((spent.late < self.late).then_some(Act::Late(n)));
                acts.extend((spent.crashed < self.crashed).then_some(Act::Crash(n)));
            }
        }
        for nth in 0..world.undoing.len() as u8 {
            acts.push(Act::Undo(nth));
            acts.extend(may_lose.then_some(Act::LoseUndo(nth)));
            acts.extend((spent.undo_lost < self.undo_lost).then_some(Act::StopUndo(nth)));
        }
        for nth in 0..world.late.len() as u8 {
            acts.extend([Act::Apply(nth), Act::Vanish(nth)]);
        }
        // A marker is deleted minutes after the last call of its time was applied.
        let is_quiet = world.late.is_empty()
            && world.undoing.is_empty()
            && world.actors.iter().all(|actor| match &actor.phase {
                Phase::Helping(_) | Phase::Ending(..) | Phase::Listing(_) => false,
                Phase::Running {
                    machine: Machine::Move(_),
                    begun,
                } => self.stale && !begun,
                Phase::Running { begun, .. } => !begun,
                _ => true,
            });
        for id in 0..world.store.len() as u8 {
            let is_marker = world.get(id).is_some_and(|record| record.is_marker);
            if is_marker && is_quiet && spent.reaped < self.reaped {
                acts.push(Act::Reap(id));
            }
            // It is a known exception if a session is evicted while a call to it is under way, or its move is unknown.
            let in_doubt = |actor: &Actor| matches!(actor.phase, Phase::Done(Out::InDoubt(_)));
            let is_certain = world.late.is_empty() && !world.actors.iter().any(in_doubt);
            let may_go = id < self.starts && is_certain;
            if may_go && world.live(id).is_some() && spent.evicted < self.evicted {
                acts.push(Act::Evict(id));
            }
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        let world = &mut next;
        match act {
            Act::Start(n) => self.start(world, n as usize),
            Act::Reply(n) => {
                let reply = world.apply(&call(world, n as usize)?);
                self.tell(world, n as usize, reply);
            }
            Act::Lose(n) => {
                world.spent.lost += 1;
                let call = call(world, n as usize)?;
                let first = world.apply(&call);
                let reply = match self.world {
                    Environment::RefusalsThatWereNone => Reply::Refused(()),
                    Environment::HiddenRetries if matches!(first, Reply::Saved) => {
                        world.apply(&call)
                    }
                    _ => Reply::Unknown(()),
                };
                self.tell(world, n as usize, reply);
            }
            Act::Delay(n) => {
                world.spent.lost += 1;
                let call = call(world, n as usize)?;
                world.send(call);
                self.tell(world, n as usize, Reply::Unknown(()));
            }
            Act::Drop(n) => {
                world.spent.lost += 1;
                self.tell(world, n as usize, Reply::Unknown(()));
            }
            Act::Refuse(n) => {
                world.spent.lost += 1;
                self.tell(world, n as usize, Reply::Refused(()));
            }
            Act::Apply(nth) => {
                let call = world.late.remove(nth as usize);
                world.apply(&call);
            }
            Act::Vanish(nth) => drop(world.late.remove(nth as usize)),
            Act::Cancel(n) | Act::Late(n) | Act::Crash(n) => {
                let call = call(world, n as usize)?;
                world.send(call);
                match act {
                    Act::Cancel(_) => {
                        world.spent.cancelled += 1;
                        self.abandon(world, n as usize, Abandon::Cancelled);
                    }
                    Act::Late(_) => {
                        world.spent.late += 1;
                        self.abandon(world, n as usize, Abandon::Late(()));
                    }
                    _ => {
                        world.spent.crashed += 1;
                        world.actors[n as usize].phase = Phase::Crashed;
                    }
                }
            }
            Act::Resume(n) => {
                let Phase::Kept(mut write) = world.actors[n as usize].phase.clone() else {
                    return None;
                };
                write.resume(());
                world.resumed = true;
                world.actors[n as usize].phase = running(Machine::Write(write));
            }
            Act::Undo(nth) | Act::LoseUndo(nth) => {
                let mut undoing = world.undoing.remove(nth as usize);
                let ask = undoing.ask();
                let call = ask.as_ref().and_then(Call::of);
                let step = match call {
                    None => Step::Done,
                    Some(call) => {
                        let mut reply = world.apply(&call);
                        if matches!(act, Act::LoseUndo(_)) {
                            world.spent.lost += 1;
                            reply = Reply::Unknown(());
                        }
                        undoing.step(reply, NOW)
                    }
                };
                if step == Step::Done {
                    let finished = undoing.finish();
                    if matches!(finished.outcome, Some(Outcome::Failed(()))) {
                        world.spent.undo_lost += 1;
                    }
                    note(
                        world,
                        &Finished {
                            undo: None,
                            ..finished
                        },
                    );
                } else {
                    world.undoing.insert(nth as usize, undoing);
                }
            }
            Act::StopUndo(nth) => {
                world.spent.undo_lost += 1;
                world.undoing.remove(nth as usize);
            }
            Act::Reap(id) => {
                world.spent.reaped += 1;
                world.store[id as usize] = None;
            }
            Act::Evict(id) => {
                world.spent.evicted += 1;
                world.store[id as usize] = None;
            }
        }
        if self.world == Environment::MarkersThatGo {
            for stored in &mut world.store {
                stored.take_if(|record| record.is_marker && record.successor.is_none());
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let seen = properties::SOMETIMES
            .iter()
            .map(|(name, holds)| Property::sometimes(name, *holds));
        properties::all().into_iter().chain(seen).collect()
    }
}

impl World {
    /// No request waits for this call any more.
    fn send(&mut self, call: Call) {
        if call.writes() {
            self.late.push(call);
        }
    }
}

fn told(list: &mut Vec<u8>, id: u8, breaches: &mut Breaches) {
    breaches.told_twice |= list.contains(&id);
    list.push(id);
    list.sort_unstable();
    list.dedup();
}

fn writer(actor: usize) -> u64 {
    actor as u64 + 1
}

/// Each machine has a writer of its own, so that its writes can be told apart from those of others.
fn ending(id: u8, actor: usize, left: usize) -> Machine<Small> {
    let writer = writer(actor) + 20 * left as u64;
    Machine::End(Box::new(End::revoke(session(id), writer)))
}

fn running(machine: Machine<Small>) -> Phase {
    Phase::Running {
        machine,
        begun: false,
    }
}

/// The request's changes applied to `latest`. `None` if they make no difference.
fn merged(op: Op, actor: usize, latest: &Small, writer: u64) -> Option<Small> {
    let mut next = latest.next(writer);
    next.is_used = true;
    match op {
        Op::Increment | Op::Save | Op::SaveLogIn(_) => next.count += 1,
        Op::Insert => next.voucher = true,
        Op::Claim if !latest.voucher => return None,
        Op::Claim => next.voucher = false,
        Op::Renew => next.secrets |= 2 << actor,
        other => unreachable!("{other:?} does not merge"),
    }
    Some(Small::of(next))
}

/// The session that a log-in joins, with its own secret and changes.
fn joined(op: Op, actor: usize, target: &Small) -> Reply<Small> {
    let mut next = target.next(writer(actor));
    next.secrets |= 2 << actor;
    next.private |= op.user().map_or(0, |user| 1 << user);
    if matches!(op, Op::LogInTake(_)) && !std::mem::take(&mut next.voucher) {
        return Reply::Refused(());
    }
    Reply::Merged(Small::of(next))
}

/// Records the events and undos of a finished machine.
fn note(world: &mut World, finished: &Finished<Small>) {
    for (id, _) in &finished.evicted {
        world.evicted.push(index(*id));
        told(&mut world.ended, index(*id), &mut world.breaches);
    }
    if let Some(undo) = &finished.undo {
        let machine = undo.machine(100 + world.undoing.len() as u64, NOW);
        world.undoing.push(machine);
    }
    match &finished.outcome {
        Some(Outcome::Helped {
            record,
            moved: Some(_),
        }) => {
            let ids = (0..world.store.len() as u8).filter(|id| world.get(*id) == Some(record));
            for id in ids.collect::<Vec<_>>() {
                world.helped = true;
                told(&mut world.moved, id, &mut world.breaches);
            }
        }
        Some(Outcome::Closed { id, .. }) => told(&mut world.ended, index(*id), &mut world.breaches),
        Some(
            Outcome::Moved { id, .. } | Outcome::Begun { id, .. } | Outcome::Imported { id, .. },
        ) => {
            told(&mut world.moved, index(*id), &mut world.breaches);
        }
        _ => {}
    }
}

fn done(world: &mut World, actor: usize, out: Out) {
    world.actors[actor].phase = Phase::Done(out);
    let Some(id) = out.given() else { return };
    world.given.push((id, actor as u8));
    world.given.sort_unstable();
    if let (Some(user), true) = (world.actors[actor].op.user(), out.is_answered_move()) {
        // Checked at the moment of the move, because the session may end afterwards.
        let is_left = world.live(world.actors[actor].id).is_none();
        let works = |record: &Small| record.user == user && record.secrets & (2 << actor) != 0;
        let worked = world
            .get(id)
            .is_some_and(|record| works(record) && (is_left || !record.is_marker));
        world.breaches.dead_token |= !worked && world.spent.evicted + world.spent.reaped == 0;
    }
}

/// The call that a request waits for.
fn call(world: &World, actor: usize) -> Option<Call> {
    let id = world.actors[actor].id;
    match &world.actors[actor].phase {
        Phase::Loading => Some(Call::Load(id)),
        Phase::Helping(machine) | Phase::Ending(machine, _) | Phase::Running { machine, .. } => {
            match machine.ask()? {
                Ask::Fetch => {
                    let actors = world.actors.len();
                    let starts = world.store.len() - 1 - actors;
                    Some(Call::Fetch(actor as u8, (starts + actor) as u8))
                }
                ask => Call::of(&ask),
            }
        }
        Phase::Listing(user) => Some(Call::List(*user)),
        _ => None,
    }
}
