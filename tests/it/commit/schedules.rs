//! The model's properties, held against the asynchronous driver, the real record and a store that fails at random.
//!
//! A schedule is two or three requests on one session or two, over two nodes. A scheduler with a seed polls one request
//! after another, loses replies, refuses calls, applies them late, cancels requests, takes nodes away and lets markers
//! expire. At the end all that is under way comes to its end, every token that anybody has is presented, and the
//! properties must hold that the model checker holds too, under the same names.
//!
//! `CLOAKROOM_SCHEDULE=17` runs the schedule with this seed alone, and tells what happened in it.

mod properties;
mod request;
mod watched;
mod world;

use std::{
    collections::BTreeMap,
    env, mem,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use cloakroom::{
    SessionId, SessionLayer, SessionStore as _, StoreError,
    import::{Import, OldSession, OldToken},
    store::{DynStore, StoreErrorKind},
};
use futures::{future::LocalBoxFuture, poll};
use parking_lot::Mutex;

use self::{
    properties::PROPERTIES,
    request::{Op, Out, Progress, With, answer, operate},
    watched::Watched,
    world::{Spent, World},
};
use crate::support::{
    Fault, FaultyStore, FixedClock, Recorder, StoreCall, Visitor,
    acts::{healthy_node_of, id, log_in, until_undone},
    fixture::{DAY, SECOND},
};

/// Another library, with one session or none.
#[derive(Clone)]
struct Other(Arc<Mutex<bool>>);

const OLD_COOKIE: &str = "old=token";

impl Import for Other {
    fn cookie_name(&self) -> &str {
        "old"
    }

    fn until(&self) -> SystemTime {
        SystemTime::from(FixedClock::START) + DAY
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        Some(OldToken::new(value))
    }

    async fn load(&self, _: &OldToken) -> Result<Option<OldSession>, StoreError> {
        tokio::task::yield_now().await;
        let session = OldSession::new().value("cart", 1).unwrap();
        let session = session.value("voucher", 1).unwrap();
        Ok(self.0.lock().then_some(session))
    }

    async fn delete(&self, _: &OldToken) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        *self.0.lock() = false;
        Ok(())
    }
}

/// Longer than anything takes that is not cut.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that has not come to its end after so many turns waits for ever.
const MAX_TURNS: usize = 4_000;

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
#[derive(Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

/// Which driver runs the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    /// The store has to be waited for, and fails.
    Waiting,
    /// It is in memory and answers at once: requests meet where their handlers wait.
    AtOnce,
}

/// What is to happen, but for its order.
struct Scenario {
    ops: Vec<(Op, With)>,
    user: Option<&'static str>,
    starts: usize,
    limit: Option<usize>,
    faults: u64,
    cancelled: u64,
    crashed: u64,
    late: u64,
    reaped: u64,
}

impl Scenario {
    fn draw(dice: &mut Dice, driver: Driver) -> Self {
        let limit = dice.one_in(4).then_some(1);
        let starts = if limit.is_some() && dice.one_in(2) {
            2
        } else {
            1
        };
        let user = dice.pick(&[None, None, Some("ann")]);
        let op = |dice: &mut Dice| {
            dice.pick(&[
                Op::Increment,
                Op::Increment,
                Op::Save,
                Op::SaveLogIn("ann"),
                Op::Insert,
                Op::Claim,
                Op::Claim,
                Op::LogIn("ann"),
                Op::LogIn("ann"),
                Op::LogIn("bob"),
                Op::LogInTake("ann"),
                Op::Cycle,
                Op::Cycle,
                Op::Destroy,
                Op::Revoke,
                Op::RevokeUser("ann"),
                Op::Touch,
                Op::Create,
                Op::Import,
                Op::Import,
            ])
        };
        let requests = 2 + dice.roll(2) as usize;
        let ops = (0..requests).map(|nth| {
            let with = match (nth, dice.roll(4)) {
                (1.., 0) => With::New(dice.roll(nth as u64) as usize),
                _ => With::Old(dice.roll(starts as u64) as usize),
            };
            (op(dice), with)
        });
        let ops = ops.collect();
        let waits = u64::from(driver == Driver::Waiting);
        Self {
            ops,
            user,
            starts,
            limit,
            faults: waits * dice.roll(4),
            cancelled: dice.roll(3) / 2,
            crashed: dice.roll(4) / 3,
            late: waits * (dice.roll(4) / 3),
            reaped: dice.roll(2),
        }
    }
}

enum Phase {
    Idle,
    Running(LocalBoxFuture<'static, Out>),
    Over(Out),
}

struct Actor {
    phase: Phase,
    visitor: Visitor,
    progress: Progress,
    node: usize,
    /// The session that it is on.
    on: Option<SessionId>,
    former: Option<String>,
}

struct Schedule {
    scenario: Scenario,
    dice: Dice,
    store: FaultyStore<Watched>,
    clock: FixedClock,
    nodes: Vec<SessionLayer>,
    owners: Vec<Visitor>,
    actors: Vec<Actor>,
    recorder: Recorder,
    spent: Spent,
    given: Vec<(SessionId, String)>,
    dead_token: bool,
    tells: bool,
    other: Other,
}

impl Schedule {
    async fn new(seed: u64, driver: Driver, tells: bool) -> Self {
        let mut dice = Dice(seed);
        let scenario = Scenario::draw(&mut dice, driver);
        let store = FaultyStore::new(Watched::default());
        let clock = FixedClock::default();
        let recorder = Recorder::default();
        let imports = scenario.ops.iter().any(|(op, _)| *op == Op::Import);
        let other = Other(Arc::new(Mutex::new(imports)));
        let kept = match driver {
            Driver::Waiting => DynStore::new(store.clone()),
            Driver::AtOnce => DynStore::new(store.inner().memory().clone()),
        };
        let node = || {
            // A store of its own: two nodes share no queue.
            let layer = match driver {
                Driver::Waiting => SessionLayer::new(store.clone()),
                Driver::AtOnce => SessionLayer::new(kept.clone()),
            };
            layer
                .clock(clock.clone())
                .reap_every(None)
                .store_timeout(STORE_TIMEOUT)
                .max_sessions_per_user(scenario.limit)
                .on_event(recorder.clone())
                .import(other.clone())
        };
        let nodes = vec![node(), node()];
        let mut owners = Vec::new();
        for _ in 0..scenario.starts {
            let owner = Visitor::new(&healthy_node_of(store.inner().memory(), &clock));
            let gives = !imports && !scenario.ops.iter().any(|(op, _)| *op == Op::Insert);
            owner
                .visit(async |session: cloakroom::Session| {
                    if imports {
                        session.insert("n", 0)?;
                    } else {
                        session.insert("cart", 1)?;
                    }
                    if gives {
                        session.insert("voucher", 1)?;
                    }
                    match scenario.user {
                        Some(user) => session.insert(format!("private-{user}"), 1),
                        None => Ok(()),
                    }
                })
                .await;
            if let Some(user) = scenario.user {
                log_in(&owner, user).await;
            }
            owners.push(owner);
        }
        let actor = |_: &(Op, With)| Actor {
            phase: Phase::Idle,
            visitor: Visitor::new(&nodes[0]),
            progress: Progress::default(),
            node: 0,
            on: None,
            former: None,
        };
        let actors = scenario.ops.iter().map(actor).collect();
        if tells {
            println!(
                "seed {seed}, {driver:?}: {:?}, user {:?}, {} sessions, limit {:?}",
                scenario.ops, scenario.user, scenario.starts, scenario.limit
            );
        }
        Self {
            scenario,
            dice,
            store,
            clock,
            nodes,
            owners,
            actors,
            recorder,
            spent: Spent::default(),
            given: Vec::new(),
            dead_token: false,
            tells,
            other,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("  {}", what());
        }
    }

    /// Which faults the calls have: mostly none, but that others run meanwhile.
    fn plan(&mut self) {
        let mut dice = Dice(self.dice.roll(u64::MAX));
        let mut left = self.scenario.faults;
        let spent = self.spent.clone();
        let tells = self.tells;
        self.store.plan_each(move |made| {
            let is_call = !matches!(made.call, StoreCall::Ping | StoreCall::Count);
            if left == 0 || !is_call || !dice.one_in(5) {
                return if dice.one_in(4) {
                    Fault::None
                } else {
                    Fault::Yield
                };
            }
            left -= 1;
            spent.faults.set(spent.faults.get() + 1);
            let soon = Duration::from_millis(dice.roll(300));
            let kind = StoreErrorKind::Timeout;
            let fault = match dice.roll(8) {
                0 | 1 => Fault::LoseReply(kind),
                2 => Fault::Refuse(StoreErrorKind::Unavailable),
                3 => Fault::Fail(kind),
                4 | 5 => Fault::FailThenApply(kind, soon),
                6 => Fault::Delay(soon),
                _ => Fault::DelayReply(soon),
            };
            if tells {
                println!("    {:?} of {:?}: {fault:?}", made.call, made.id);
            }
            fault
        });
    }

    /// The nth request begins, if there is a token for it.
    fn start(&mut self, nth: usize) {
        let (op, with) = self.scenario.ops[nth];
        let (cookie, on) = match with {
            With::Old(of) => (self.owners[of].cookie(), Some(id(&self.owners[of]))),
            With::New(of) => {
                let cookie = self.actors[of].visitor.cookie();
                let on = cookie.is_some().then(|| id(&self.actors[of].visitor));
                (cookie, on)
            }
        };
        let node = self.dice.roll(2) as usize;
        let visitor = Visitor::new(&self.nodes[node]);
        match op {
            Op::Create => {}
            Op::Import => visitor.set_cookie(Some(OLD_COOKIE.to_owned())),
            _ => visitor.set_cookie(cookie),
        }
        let pauses = [self.dice.roll(3), self.dice.roll(3)];
        let actor = &mut self.actors[nth];
        (actor.node, actor.on) = (node, on);
        actor.former = visitor.cookie();
        actor.visitor = visitor.clone();
        actor.phase = Phase::Running(match (op, on) {
            (Op::Revoke | Op::RevokeUser(_), Some(on)) => {
                Box::pin(operate(op, self.nodes[node].clone(), on))
            }
            _ => Box::pin(answer(op, visitor, actor.progress.clone(), pauses)),
        });
        self.tell(|| format!("{nth} {op:?} begins on node {node}"));
    }

    /// Whether the nth request may begin, and whether it ever may.
    fn is_ready(&self, nth: usize) -> Option<bool> {
        match self.scenario.ops[nth].1 {
            With::Old(_) => Some(true),
            With::New(of) => match &self.actors[of].phase {
                Phase::Over(_) => {
                    let cookie = self.actors[of].visitor.cookie();
                    (cookie.is_some() && cookie != self.actors[of].former).then_some(true)
                }
                Phase::Idle => self.is_ready(of).map(|_| false),
                Phase::Running(_) => Some(false),
            },
        }
    }

    async fn poll(&mut self, nth: usize) {
        let Phase::Running(request) = &mut self.actors[nth].phase else {
            return;
        };
        let Poll::Ready(out) = poll!(Pin::new(request)) else {
            return;
        };
        self.tell(|| format!("{nth} is told {out:?}"));
        let actor = &mut self.actors[nth];
        actor.phase = Phase::Over(out);
        let cookie = actor.visitor.cookie();
        if let Some(cookie) = cookie.filter(|cookie| Some(cookie) != actor.former.as_ref()) {
            self.given.push((id(&actor.visitor), cookie));
        }
        let (op, _) = self.scenario.ops[nth];
        if let (Some(user), Out::Moved(to)) = (op.user(), out) {
            // At the moment of the answer: somebody may have ended it since.
            let on = self.actors[nth].on;
            let was = match on {
                Some(on) => self.store.inner().load(on).await.unwrap(),
                None => None,
            };
            let is_left = was.is_none_or(|(record, _)| record.is_moved());
            let found = self.store.inner().load(to).await.unwrap();
            let works = found.is_some_and(|(record, _)| {
                record.user() == Some(user) && (is_left || !record.is_moved())
            });
            self.dead_token |= !works && self.spent.reaped == 0;
        }
    }

    /// One of the requests under way is given up.
    fn cut(&mut self, nth: usize, crashes: bool) {
        let out = if crashes {
            Out::Crashed
        } else {
            Out::Cancelled
        };
        self.tell(|| format!("{nth} is {out:?}"));
        let phase = mem::replace(&mut self.actors[nth].phase, Phase::Over(out));
        if crashes {
            self.spent.crashed += 1;
            // Nothing of it runs any more, not even what undoes it.
            #[allow(clippy::mem_forget)] // A process that crashes drops nothing.
            mem::forget(phase);
        } else {
            self.spent.cancelled += 1;
        }
    }

    async fn advance(&mut self, duration: Duration) {
        tokio::time::advance(duration).await;
        self.clock.advance(Duration::from_millis(1));
    }

    /// Until every request has come to its end; `false`: one waits for ever.
    async fn run(&mut self) -> bool {
        self.plan();
        for _ in 0..MAX_TURNS {
            let (mut running, mut idle) = (Vec::new(), Vec::new());
            let mut is_open = false;
            for nth in 0..self.actors.len() {
                match &self.actors[nth].phase {
                    Phase::Running(_) => running.push(nth),
                    Phase::Idle => match self.is_ready(nth) {
                        Some(true) => idle.push(nth),
                        Some(false) => is_open = true,
                        None => {}
                    },
                    Phase::Over(_) => {}
                }
            }
            if running.is_empty() && idle.is_empty() && !is_open {
                return true;
            }
            if running.is_empty() && self.scenario.reaped > 0 && self.dice.one_in(3) {
                self.scenario.reaped -= 1;
                self.reap().await;
            }
            if !idle.is_empty() && (running.is_empty() || self.dice.one_in(6)) {
                let nth = self.dice.pick(&idle);
                self.start(nth);
                continue;
            }
            let nth = self.dice.pick(&running);
            let on_node = |of: usize| {
                running
                    .iter()
                    .filter(|nth| self.actors[**nth].node == of)
                    .count()
            };
            let is_alone = on_node(self.actors[nth].node) == 1;
            match self.dice.roll(24) {
                0 if self.scenario.cancelled > 0 => {
                    self.scenario.cancelled -= 1;
                    self.cut(nth, false);
                }
                // A lock that it holds is held for ever: its node must have no other request.
                1 if self.scenario.crashed > 0 && is_alone => {
                    self.scenario.crashed -= 1;
                    let node = self.actors[nth].node;
                    self.cut(nth, true);
                    self.nodes[node] = self.nodes[1 - node].clone();
                }
                2 if self.scenario.late > 0 => {
                    self.scenario.late -= 1;
                    self.spent.late += 1;
                    self.tell(|| "all is late".to_owned());
                    self.advance(STORE_TIMEOUT + SECOND).await;
                }
                3 | 4 => self.advance(Duration::from_millis(70)).await,
                5 | 6 => tokio::task::yield_now().await,
                _ => self.poll(nth).await,
            }
        }
        false
    }

    /// Markers expire, when nothing is under way that was sent in their time.
    async fn reap(&mut self) {
        until_undone().await;
        let after_markers = FixedClock::START.saturating_add(STORE_TIMEOUT * 2);
        let reaped = self.store.inner().delete_expired(after_markers, 100).await;
        let removed = reaped.unwrap().removed;
        self.spent.reaped += removed;
        self.tell(|| format!("{removed} markers expire"));
    }

    /// All that is under way comes to its end, and everybody presents the token that they have.
    async fn settle(self, is_over: bool) -> World {
        self.store.heal();
        until_undone().await;
        let outs = self.actors.iter().map(|actor| match actor.phase {
            Phase::Over(out) => out,
            _ => Out::Idle,
        });
        let outs = outs.collect();
        let mut cookies: Vec<_> = self
            .owners
            .iter()
            .map(|owner| (id(owner), owner.cookie().unwrap()))
            .collect();
        cookies.extend(self.given.iter().cloned());
        let starts: Vec<SessionId> = self.owners.iter().map(id).collect();
        let is_kept = *self.other.0.lock();
        let before = world::records(self.store.inner().memory()).await;
        let healthy = healthy_node_of(self.store.inner().memory(), &self.clock);
        let mut seen = BTreeMap::new();
        for (id, cookie) in cookies {
            let visitor = Visitor::new(&healthy);
            visitor.set_cookie(Some(cookie));
            let found = crate::support::acts::seen(&visitor).await;
            self.tell(|| format!("{id} presented: {found}"));
            seen.insert(id, found != "none");
        }
        let healthy = healthy.import(self.other.clone());
        let with_old = Visitor::new(&healthy);
        with_old.set_cookie(Some(OLD_COOKIE.to_owned()));
        let is_importable = crate::support::acts::seen(&with_old).await != "none";
        let events = self.recorder.events();
        let records = world::records(self.store.inner().memory()).await;
        if self.tells {
            for (id, record) in &records {
                println!("  {id}: {record:?}");
            }
            for event in &events {
                println!("  {event:?}");
            }
        }
        World {
            ops: self.scenario.ops,
            outs,
            ons: self.actors.iter().map(|actor| actor.on).collect(),
            certain: self
                .actors
                .iter()
                .map(|actor| actor.progress.certain())
                .collect(),
            user: self.scenario.user,
            limit: self.scenario.limit,
            starts,
            given: self.given.iter().map(|(id, _)| *id).collect(),
            seen,
            before,
            records,
            breaches: self.store.inner().breaches(),
            events,
            spent: self.spent,
            dead_token: self.dead_token,
            is_over,
            is_importable,
            is_kept,
        }
    }
}

/// The properties that fall in the schedule with this seed.
async fn falls(seed: u64, driver: Driver, tells: bool) -> Vec<&'static str> {
    let mut schedule = Schedule::new(seed, driver, tells).await;
    let is_over = schedule.run().await;
    let world = schedule.settle(is_over).await;
    let fallen = PROPERTIES.iter().filter(|(_, holds)| !holds(&world));
    fallen.map(|(name, _)| *name).collect()
}

/// Seeds that can be run by hand: more of them with `CLOAKROOM_SCHEDULES=100000`.
async fn hold_in(schedules: u64, driver: Driver) {
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = number("CLOAKROOM_SCHEDULE") {
        assert_eq!(falls(seed, driver, true).await, [""; 0]);
        return;
    }
    let mut found = BTreeMap::new();
    for seed in 0..number("CLOAKROOM_SCHEDULES").unwrap_or(schedules) {
        for name in falls(seed, driver, false).await {
            found.entry(name).or_insert_with(Vec::new).push(seed);
        }
    }
    assert!(found.is_empty(), "{driver:?}, by seed: {found:?}");
}

#[tokio::test(start_paused = true)]
async fn the_models_properties_hold_in_random_schedules_of_a_store_that_fails() {
    hold_in(400, Driver::Waiting).await;
}

#[tokio::test(start_paused = true)]
async fn the_models_properties_hold_in_random_schedules_of_a_store_that_answers_at_once() {
    hold_in(300, Driver::AtOnce).await;
}

#[test]
fn the_properties_are_those_of_the_model() {
    let names: Vec<_> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    let rules: Vec<_> = include_str!("../../model/rules.txt").lines().collect();
    assert_eq!(names, rules);
}
