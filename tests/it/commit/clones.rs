//! M3, M5: a handler clones its session into tasks, which change and save it while the response goes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use cloakroom::{
    Clock, Error, MemoryStore, Session, SessionLayer, SessionStore, StoreCall, SystemClock,
    Timestamp, store::StoreErrorKind,
};
use futures::future::join_all;
use http::StatusCode;
use tokio::time::timeout;

use crate::support::{Fault, FaultyStore, Visitor};

/// What is given up now and then, before it has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GivesUp {
    Nothing,
    Saves,
    /// The changes of a request that is given up are lost, and only one of the clones hears of it.
    SavesAndRequests,
}

#[derive(Default)]
struct Counts {
    /// Increments that were made.
    made: AtomicU64,
    /// Those of them that were reported as saved.
    kept: AtomicU64,
    /// Decides by turns what a task does.
    turns: AtomicU64,
}

impl Counts {
    fn increment(&self, session: &Session) {
        self.made.fetch_add(1, Ordering::SeqCst);
        let added = session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1);
        added.unwrap();
    }

    fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, is_kept: bool) {
        self.kept.fetch_add(u64::from(is_kept), Ordering::SeqCst);
    }

    async fn yield_by_turns(&self) {
        for _ in 0..self.turn() % 4 {
            tokio::task::yield_now().await;
        }
    }

    /// What a task does with its clone of the session.
    async fn work(&self, session: Session, gives_up: GivesUp) {
        self.yield_by_turns().await;
        self.increment(&session);
        self.yield_by_turns().await;
        let turn = self.turn();
        if gives_up != GivesUp::Nothing && turn.is_multiple_of(3) {
            let some = Duration::from_micros(turn % 7 * 30);
            self.note(matches!(timeout(some, session.save()).await, Ok(Ok(()))));
        } else {
            self.note(session.save().await.is_ok());
        }
    }
}

/// What was made, what was reported as kept, and what is there.
async fn count(store: impl SessionStore, gives_up: GivesUp) -> (u64, u64, u64) {
    count_in(&SessionLayer::new(store).reap_every(None), gives_up).await
}

async fn count_in(layer: &SessionLayer, gives_up: GivesUp) -> (u64, u64, u64) {
    let visitor = Visitor::new(layer);
    visitor
        .visit(async |session: Session| session.insert("n", 0))
        .await;
    let counts = Arc::new(Counts::default());
    let clients = (0..8).map(|_| {
        let (visitor, counts) = (visitor.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            for _ in 0..40 {
                let mut tasks = Vec::new();
                let visit = visitor.visit(async |session: Session| {
                    counts.increment(&session);
                    for _ in 0..2 {
                        let (session, counts) = (session.clone(), Arc::clone(&counts));
                        tasks.push(tokio::spawn(async move {
                            counts.work(session, gives_up).await;
                        }));
                    }
                    counts.yield_by_turns().await;
                });
                let patience = match counts.turn() {
                    turn if gives_up == GivesUp::SavesAndRequests && turn.is_multiple_of(2) => {
                        Duration::from_micros(turn % 11 * 20)
                    }
                    _ => Duration::MAX,
                };
                let reply = timeout(patience, visit).await;
                counts.note(reply.is_ok_and(|reply| reply.status == StatusCode::OK));
                join_all(tasks).await.into_iter().for_each(Result::unwrap);
            }
        })
    });
    join_all(clients).await.into_iter().for_each(Result::unwrap);
    let counted = visitor.visit(async |session: Session| {
        Ok::<_, Error>(session.get::<u64>("n")?.unwrap().to_string())
    });
    let there = counted.await.body.parse().unwrap();
    let [made, kept] = [&counts.made, &counts.kept].map(|count| count.load(Ordering::SeqCst));
    (made, kept, there)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m3_updates_in_tasks_that_have_a_clone_of_the_session_add_up() {
    let waiting = FaultyStore::in_memory();
    waiting.plan(|_| Fault::Yield);
    let (made, kept, there) = count(MemoryStore::default(), GivesUp::Nothing).await;
    assert_eq!((kept, there), (made, made));
    let (made, kept, there) = count(waiting, GivesUp::Nothing).await;
    assert_eq!((kept, there), (made, made));
}

/// A clock that takes its time, as the application's own may.
struct SlowClock;

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        thread::sleep(Duration::from_micros(50));
        SystemClock.now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m3_updates_of_clones_add_up_though_the_end_of_each_commit_takes_a_while() {
    let layer = SessionLayer::new(MemoryStore::default()).reap_every(None);
    let (made, kept, there) = count_in(&layer.clock(SlowClock), GivesUp::Nothing).await;
    assert_eq!((kept, there), (made, made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m5_updates_of_clones_count_once_though_saves_are_given_up_and_replies_lost() {
    let (made, kept, there) = count(MemoryStore::default(), GivesUp::Saves).await;
    assert!(kept <= there && there <= made, "{kept} {there} {made}");
    let faulty = FaultyStore::in_memory();
    let mut number = 0_u64;
    faulty.plan(move |call| {
        number += 1;
        let kind = StoreErrorKind::Unavailable;
        match number % 23 {
            _ if call != StoreCall::Update => Fault::Yield,
            3 => Fault::LoseReply(kind),
            7 => Fault::FailThenApply(kind, Duration::from_micros(300)),
            11 => Fault::DelayReply(Duration::from_micros(200)),
            15 => Fault::Fail(kind),
            19 => Fault::Panic,
            _ => Fault::Yield,
        }
    });
    let (made, kept, there) = count(faulty, GivesUp::Saves).await;
    assert!(kept <= there && there <= made, "{kept} {there} {made}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m5_updates_of_clones_count_once_though_the_store_takes_too_long() {
    let slow = FaultyStore::in_memory();
    let mut number = 0_u64;
    slow.plan(move |call| {
        number += 1;
        match number % 7 {
            3 if call == StoreCall::Update => Fault::DelayReply(Duration::from_millis(3)),
            _ => Fault::Yield,
        }
    });
    let layer = SessionLayer::new(slow).reap_every(None);
    let layer = layer.store_timeout(Duration::from_millis(2));
    let (made, _, there) = count_in(&layer, GivesUp::SavesAndRequests).await;
    assert!(there <= made, "{there} {made}");
}
