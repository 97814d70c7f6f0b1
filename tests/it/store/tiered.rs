//! Memory in front of another store: how often that is asked, and what must never be answered from memory.

use std::{pin::pin, sync::Arc, time::Duration};

use cloakroom::{
    MemoryStore, Session, SessionLayer, SessionStore as _, StoreCall, StoreError, Timestamp,
    store::{
        Created, Query, Reaped, Removal, RemovalSink, StoreErrorKind, TieredStore, Touched, Updated,
    },
    testing::{Fault, FaultyStore, conformance},
};
use futures::{FutureExt as _, future::join_all, poll};
use parking_lot::Mutex;
use tokio::time::advance;

use super::{
    population,
    sample::{HOUR, id, record, seen, version},
};
use crate::support::Visitor;
use crate::support::former;

type Back = FaultyStore;
type Tiered = TieredStore<Back>;

const STALENESS: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn over(back: &Back) -> Tiered {
    TieredStore::new(MemoryStore::default(), back.clone())
}

/// A store with the session 1 in its version 1, of which the front has a copy.
async fn with_session() -> (Tiered, Back) {
    let back = Back::in_memory();
    let store = over(&back);
    let first = record(1, "ann");
    let created = store.create(id(1), &first, seen(Duration::ZERO)).await;
    assert_eq!(created.unwrap(), Created::Yes);
    back.calls();
    (store, back)
}

/// Another process' store over the same back.
fn elsewhere(back: &Back) -> Tiered {
    over(back)
}

async fn update(store: &Tiered, to: u64) -> Updated {
    let next = record(to, "ann");
    let updated = store
        .update(id(1), &next, seen(HOUR), former(version(to - 1)))
        .await;
    updated.unwrap()
}

/// The counter of the version that a load gives.
async fn load(store: &Tiered) -> Option<u64> {
    let kept = store.load(id(1)).await.unwrap();
    kept.map(|(record, _)| record.version().counter)
}

fn slow(call: StoreCall) -> impl FnMut(StoreCall) -> Fault + Send {
    let mut is_first = true;
    move |made| {
        let is_slow = made == call && is_first;
        is_first &= !is_slow;
        if is_slow {
            Fault::DelayReply(MILLISECOND)
        } else {
            Fault::None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract() {
    let front = MemoryStore::default;
    conformance(async || TieredStore::new(front(), MemoryStore::default())).await;
    let ask_always = || TieredStore::new(front(), MemoryStore::default());
    conformance(async || ask_always().max_staleness(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_front_that_holds_next_to_nothing_it_keeps_the_contract() {
    let few = || MemoryStore::builder().max_sessions(2).build();
    conformance(async || TieredStore::new(few(), MemoryStore::default())).await;
    let small = || MemoryStore::builder().max_bytes(600).build();
    conformance(async || TieredStore::new(small(), MemoryStore::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_p3_ending_sessions_and_their_limit_hold_among_nodes() {
    let back = Back::in_memory();
    let node = || over(&back).max_staleness(Duration::ZERO);
    population::is_kept_by(vec![node(), node()]).await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_session_revoked_elsewhere_is_dead_when_its_copy_is_too_old() {
    let back = Back::in_memory();
    let (here, there) = (over(&back), elsewhere(&back));
    let ann = Visitor::new(&SessionLayer::new(here));
    let log_in = async |session: Session| session.log_in("ann");
    ann.visit(log_in).await;
    let user = async |session: Session| session.user().unwrap_or_default();
    assert_eq!(ann.visit(user).await.body, "ann");
    let sessions = SessionLayer::new(there).sessions();
    assert_eq!(sessions.revoke_user("ann").await.unwrap(), 1);
    advance(STALENESS).await;
    assert_eq!(
        ann.visit(user).await.body,
        "ann",
        "no guarantee, but a copy"
    );
    advance(MILLISECOND).await;
    assert_eq!(ann.visit(user).await.body, "");
}

#[tokio::test(start_paused = true)]
async fn a_copy_answers_until_it_is_too_old() {
    let (store, back) = with_session().await;
    advance(STALENESS).await;
    assert_eq!(load(&store).await, Some(1));
    assert_eq!(back.calls(), []);
    advance(MILLISECOND).await;
    assert_eq!(load(&store).await, Some(1));
    assert_eq!(back.calls(), [StoreCall::Load]);
    advance(STALENESS).await;
    assert_eq!(load(&store).await, Some(1));
    assert_eq!(back.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn with_no_staleness_the_back_is_always_asked() {
    let (store, back) = with_session().await;
    let store = store.max_staleness(Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(load(&store).await, Some(1));
    }
    assert_eq!(back.calls(), [StoreCall::Load; 3]);
    // Nobody is content with the answer to an earlier question.
    back.plan_for(StoreCall::Load, Fault::Delay(MILLISECOND));
    join_all((0..3).map(|_| load(&store))).await;
    assert_eq!(back.calls(), [StoreCall::Load; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_copy_counts_from_the_question() {
    let (store, back) = with_session().await;
    advance(2 * STALENESS).await;
    back.plan(slow(StoreCall::Load));
    let asked = load(&store);
    let written_elsewhere =
        async { assert_eq!(update(&elsewhere(&back), 2).await, Updated::Saved) };
    assert_eq!(futures::join!(asked, written_elsewhere).0, Some(1));
    back.calls();
    advance(STALENESS - MILLISECOND).await;
    assert_eq!(load(&store).await, Some(1));
    advance(MILLISECOND).await;
    assert_eq!(load(&store).await, Some(2));
    assert_eq!(back.calls(), [StoreCall::Load]);
}

#[tokio::test(start_paused = true)]
async fn the_latest_is_the_backs_and_renews_the_copy() {
    let (store, back) = with_session().await;
    update(&elsewhere(&back), 2).await;
    back.calls();
    assert_eq!(load(&store).await, Some(1));
    let latest = store.load_latest(id(1)).await.unwrap().unwrap();
    assert_eq!(latest.0.version(), version(2));
    assert_eq!(back.calls(), [StoreCall::LoadLatest]);
    assert_eq!(load(&store).await, Some(2));
    assert_eq!(back.calls(), []);

    assert!(back.inner().delete(id(1)).await.unwrap());
    assert!(store.load_latest(id(1)).await.unwrap().is_none());
    assert_eq!(load(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_this_process_is_read_back_at_once() {
    let (store, back) = with_session().await;
    assert_eq!(update(&store, 2).await, Updated::Saved);
    let touched = store.touch(id(1), former(version(2)), seen(2 * HOUR)).await;
    assert_eq!(touched.unwrap(), Touched::Yes);
    let (record_kept, activity) = store.load(id(1)).await.unwrap().unwrap();
    assert_eq!(record_kept.to_bytes(), record(2, "ann").to_bytes());
    assert_eq!(activity, seen(2 * HOUR));
    assert!(store.delete(id(1)).await.unwrap());
    assert_eq!(
        back.calls(),
        [StoreCall::Update, StoreCall::Touch, StoreCall::Delete]
    );
    assert_eq!(load(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_loads_at_once_are_one_question_misses_included() {
    let (store, back) = with_session().await;
    advance(2 * STALENESS).await;
    back.plan_for(StoreCall::Load, Fault::Delay(MILLISECOND));
    for expected in [Some(1), None] {
        let loads = (0..100).map(|_| load(&store));
        assert_eq!(join_all(loads).await, vec![expected; 100]);
        assert_eq!(back.calls(), [StoreCall::Load]);
        back.inner().delete(id(1)).await.unwrap();
        advance(2 * STALENESS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_one_of_all_who_wait_and_of_nobody_else() {
    let (_, back) = with_session().await;
    let kind = StoreErrorKind::Unavailable;
    let mut is_first = true;
    back.plan(move |_| {
        assert!(std::mem::take(&mut is_first), "one question");
        Fault::LoseReply(kind)
    });
    let slow = FaultyStore::new(back.clone());
    slow.plan_for(StoreCall::Load, Fault::Delay(MILLISECOND));
    let store = TieredStore::new(MemoryStore::default(), slow.clone());
    let loads = join_all((0..100).map(|_| store.load(id(1)))).await;
    for answer in loads {
        let error: StoreError = answer.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "the session store is unavailable"
        );
    }
    back.heal();
    assert!(store.load(id(1)).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_one_that_is_dropped_asks_instead() {
    let (store, back) = with_session().await;
    advance(2 * STALENESS).await;
    let mut is_first = true;
    back.plan(move |_| {
        if std::mem::take(&mut is_first) {
            Fault::Hang
        } else {
            Fault::Yield
        }
    });
    let mut first = Box::pin(load(&store));
    assert!(poll!(&mut first).is_pending());
    let mut others = pin!(join_all((0..99).map(|_| load(&store))));
    assert!(poll!(&mut others).is_pending());
    assert_eq!(back.calls(), [StoreCall::Load]);
    drop(first);
    assert_eq!(others.await, [Some(1); 99]);
    assert_eq!(back.calls(), [StoreCall::Load]);
    // The copy is there, and nothing is left of the one that was dropped.
    assert_eq!(load(&store).await, Some(1));
    assert_eq!(back.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_a_delete_does_not_put_the_record_back() {
    for latest in [false, true] {
        let (store, back) = with_session().await;
        advance(2 * STALENESS).await;
        back.plan(slow(if latest {
            StoreCall::LoadLatest
        } else {
            StoreCall::Load
        }));
        let asked = async {
            match latest {
                true => store.load_latest(id(1)).await,
                false => store.load(id(1)).await,
            }
        };
        let deleted = store.delete(id(1));
        let (asked, deleted) = futures::join!(asked, deleted);
        assert!(asked.unwrap().is_some(), "the question was first");
        assert!(deleted.unwrap());
        assert_eq!(load(&store).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_after_a_delete_does_not_wait_for_one_from_before_it() {
    let (store, back) = with_session().await;
    advance(2 * STALENESS).await;
    back.plan(slow(StoreCall::Load));
    let mut asked = pin!(load(&store));
    assert!(poll!(&mut asked).is_pending());
    store.delete(id(1)).await.unwrap();
    assert_eq!(load(&store).await, None);
    assert_eq!(asked.await, Some(1));
    assert_eq!(load(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_an_update_does_not_cover_it() {
    let (store, back) = with_session().await;
    advance(2 * STALENESS).await;
    back.plan(slow(StoreCall::Load));
    let (asked, updated) = futures::join!(load(&store), update(&store, 2));
    assert_eq!((asked, updated), (Some(1), Updated::Saved));
    back.calls();
    assert_eq!(load(&store).await, Some(2));
    assert_eq!(back.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_a_touch_does_not_undo_it() {
    let (_, back) = with_session().await;
    // One that has no copy yet.
    let store = elsewhere(&back);
    back.plan(slow(StoreCall::Load));
    let touched = store.touch(id(1), former(version(1)), seen(HOUR));
    let (asked, touched) = futures::join!(store.load(id(1)), touched);
    assert_eq!(asked.unwrap().unwrap().1, seen(Duration::ZERO));
    assert_eq!(touched.unwrap(), Touched::Yes);
    assert_eq!(store.load(id(1)).await.unwrap().unwrap().1, seen(HOUR));
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_reply_is_late_does_not_cover_a_newer_one() {
    let (store, back) = with_session().await;
    back.plan(slow(StoreCall::Update));
    let both = futures::join!(update(&store, 2), update(&store, 3));
    assert_eq!(both, (Updated::Saved, Updated::Saved));
    back.calls();
    assert_eq!(load(&store).await, Some(3));
    assert_eq!(back.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_reply_is_late_does_not_bring_back_what_was_deleted() {
    let (store, back) = with_session().await;
    back.plan(slow(StoreCall::Update));
    let (updated, deleted) = futures::join!(update(&store, 2), store.delete(id(1)));
    assert_eq!(updated, Updated::Saved);
    assert!(deleted.unwrap());
    assert_eq!(load(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_reply_is_late_does_not_bring_back_what_was_deleted() {
    let back = Back::in_memory();
    let store = over(&back);
    back.plan(slow(StoreCall::Create));
    let first = record(1, "");
    let created = store.create(id(1), &first, seen(HOUR));
    let (created, deleted) = futures::join!(created, store.delete(id(1)));
    assert_eq!(created.unwrap(), Created::Yes);
    assert!(deleted.unwrap());
    assert_eq!(load(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_write_with_an_unknown_outcome_takes_the_copy_out() {
    let kind = StoreErrorKind::Timeout;
    for call in [StoreCall::Update, StoreCall::Touch, StoreCall::Delete] {
        for fault in [Fault::LoseReply(kind), Fault::DelayReply(HOUR)] {
            let (store, back) = with_session().await;
            back.plan_for(call, fault);
            let next = record(2, "ann");
            let write = async {
                match call {
                    StoreCall::Update => drop(
                        store
                            .update(id(1), &next, seen(HOUR), former(version(1)))
                            .await,
                    ),
                    StoreCall::Touch => {
                        drop(store.touch(id(1), former(version(1)), seen(HOUR)).await);
                    }
                    _ => drop(store.delete(id(1)).await),
                }
            };
            // Done where its reply is lost, dropped where that is late.
            write.now_or_never();
            assert_eq!(back.calls(), [call]);
            let now = store.load(id(1)).await.unwrap();
            assert_eq!(back.calls(), [StoreCall::Load]);
            match call {
                StoreCall::Update => assert_eq!(now.unwrap().0.version(), version(2)),
                StoreCall::Touch => assert_eq!(now.unwrap().1, seen(HOUR)),
                _ => assert!(now.is_none()),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_takes_the_stale_copy_out() {
    let (store, back) = with_session().await;
    update(&elsewhere(&back), 2).await;
    assert_eq!(load(&store).await, Some(1));
    assert_eq!(update(&store, 2).await, Updated::Conflict);
    assert_eq!(load(&store).await, Some(2));
    update(&elsewhere(&back), 3).await;
    let touched = store.touch(id(1), former(version(2)), seen(HOUR)).await;
    assert_eq!(touched.unwrap(), Touched::Stale);
    assert_eq!(load(&store).await, Some(3));
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_does_not_cover_a_newer_copy() {
    let (store, back) = with_session().await;
    advance(2 * STALENESS).await;
    back.plan(slow(StoreCall::Load));
    let mut asked = pin!(load(&store));
    assert!(poll!(&mut asked).is_pending());
    update(&elsewhere(&back), 2).await;
    store.load_latest(id(1)).await.unwrap();
    assert_eq!(asked.await, Some(1));
    assert_eq!(load(&store).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn where_the_back_lost_a_write_it_is_believed() {
    let (store, back) = with_session().await;
    update(&store, 2).await;
    back.inner().delete(id(1)).await.unwrap();
    let first = record(1, "ann");
    back.inner()
        .create(id(1), &first, seen(HOUR))
        .await
        .unwrap();
    assert_eq!(load(&store).await, Some(2));
    advance(2 * STALENESS).await;
    for _ in 0..3 {
        assert_eq!(load(&store).await, Some(1));
    }
    back.calls();
    assert_eq!(load(&store).await, Some(1));
    assert_eq!(back.calls(), [], "and its answer is kept again");
}

#[tokio::test(start_paused = true)]
async fn what_the_front_evicts_costs_the_next_load() {
    let back = Back::in_memory();
    let front = MemoryStore::builder().max_sessions(1).build();
    let store = TieredStore::new(front, back.clone());
    let first = record(1, "");
    for number in [1, 2] {
        store.create(id(number), &first, seen(HOUR)).await.unwrap();
    }
    back.calls();
    for number in [1, 2, 1] {
        assert!(store.load(id(number)).await.unwrap().is_some());
        assert!(store.load(id(number)).await.unwrap().is_some());
    }
    assert_eq!(back.calls(), [StoreCall::Load; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_the_front_fails_no_call() {
    let back = Back::in_memory();
    let too_small = MemoryStore::builder().max_bytes(1).build();
    let store = TieredStore::new(too_small, back.clone());
    let first = record(1, "");
    store.create(id(1), &first, seen(HOUR)).await.unwrap();
    assert_eq!(update(&store, 2).await, Updated::Saved);
    assert_eq!(load(&store).await, Some(2));

    let panicking = MemoryStore::builder().max_sessions(1).build();
    panicking.report_removals(RemovalSink::new(|_| panic!("as planned")));
    let store = TieredStore::new(panicking, back.clone());
    for number in 2..5 {
        let created = store.create(id(number), &first, seen(HOUR)).await;
        assert_eq!(created.unwrap(), Created::Yes);
        assert!(store.load(id(number)).await.unwrap().is_some());
    }
    let reaped = store.delete_expired(Timestamp::MAX, 10).await.unwrap();
    assert_eq!(reaped.removed, 4);
    assert_eq!(load(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_ends_copies_too_and_the_back_reports() {
    let (store, back) = with_session().await;
    let endings: Arc<Mutex<Vec<Removal>>> = Arc::default();
    let kept = Arc::clone(&endings);
    store.report_removals(RemovalSink::new(move |ending| kept.lock().push(ending)));
    let swept = store.delete_expired(Timestamp::MAX, 10).await.unwrap();
    assert_eq!(swept, Reaped::new(1, false));
    assert_eq!(load(&store).await, None);
    assert_eq!(endings.lock().len(), 1);
    assert_eq!(back.calls(), [StoreCall::DeleteExpired, StoreCall::Load]);
}

#[tokio::test(start_paused = true)]
async fn lists_and_counts_are_the_backs() {
    let (store, back) = with_session().await;
    back.plan(|_| Fault::Fail(StoreErrorKind::Other));
    let listed = store.list(&Query::default(), None, 10).await.map(drop);
    let counted = store.count(&Query::default()).await.map(drop);
    for answer in [listed, counted] {
        assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Other);
    }
    assert_eq!(back.calls(), [StoreCall::List, StoreCall::Count]);
}

mod interleavings {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Load,
        LoadLatest,
        /// Of what the back has now.
        Update,
        Touch,
        Delete,
        /// The front makes room.
        Evict,
        Poll(usize),
        Drop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Load),
            1 => Just(Step::LoadLatest),
            3 => Just(Step::Update),
            2 => Just(Step::Touch),
            1 => Just(Step::Delete),
            1 => Just(Step::Evict),
            24 => any::<usize>().prop_map(Step::Poll),
            1 => any::<usize>().prop_map(Step::Drop),
        ];
        prop::collection::vec(step, 0..120)
    }

    /// What a load may not contradict.
    #[derive(Clone, Copy, Default)]
    struct Answered {
        counter: u64,
        is_deleted: bool,
    }

    struct Fixture {
        store: Tiered,
        back: Back,
        front: MemoryStore,
        answered: Arc<Mutex<Answered>>,
        under_way: Vec<Pin<Box<dyn Future<Output = ()>>>>,
        touches: u64,
    }

    impl Fixture {
        fn new() -> Self {
            let (back, front) = (Back::in_memory(), MemoryStore::default());
            let store = TieredStore::new(front.clone(), back.clone()).max_staleness(HOUR);
            let created = store
                .create(id(1), &record(1, "ann"), seen(Duration::ZERO))
                .now_or_never();
            created.unwrap().unwrap();
            // Before and after each call to the back others may do something.
            back.plan(|_| Fault::Yield);
            Self {
                store,
                back,
                front,
                answered: Arc::default(),
                under_way: Vec::new(),
                touches: 0,
            }
        }

        fn take(&mut self, step: Step) {
            let (store, answered) = (self.store.clone(), Arc::clone(&self.answered));
            let now = self
                .back
                .inner()
                .load(id(1))
                .now_or_never()
                .unwrap()
                .unwrap();
            let counter = now
                .as_ref()
                .map_or(1, |(record, _)| record.version().counter);
            match step {
                Step::Load | Step::LoadLatest => {
                    let before = *answered.lock();
                    self.under_way.push(Box::pin(async move {
                        let kept = match step {
                            Step::Load => store.load(id(1)).await,
                            _ => store.load_latest(id(1)).await,
                        };
                        let kept = kept.unwrap();
                        assert!(!(before.is_deleted && kept.is_some()), "it is back");
                        let counter = kept.map_or(u64::MAX, |(record, _)| record.version().counter);
                        assert!(counter >= before.counter, "an older one");
                    }));
                }
                Step::Update => self.under_way.push(Box::pin(async move {
                    // Its activity is earlier than any touch's.
                    let (next, at) = (record(counter + 1, "ann"), seen(Duration::ZERO));
                    let updated = store
                        .update(id(1), &next, at, former(version(counter)))
                        .await;
                    if updated.unwrap() == Updated::Saved {
                        let mut answered = answered.lock();
                        answered.counter = answered.counter.max(counter + 1);
                    }
                })),
                Step::Touch => {
                    self.touches += 1;
                    let activity = seen(MILLISECOND * u32::try_from(self.touches).unwrap());
                    self.under_way.push(Box::pin(async move {
                        store
                            .touch(id(1), former(version(counter)), activity)
                            .await
                            .unwrap();
                    }));
                }
                Step::Delete => self.under_way.push(Box::pin(async move {
                    store.delete(id(1)).await.unwrap();
                    answered.lock().is_deleted = true;
                })),
                Step::Evict => {
                    self.front.delete(id(1)).now_or_never().unwrap().unwrap();
                }
                Step::Poll(which) if !self.under_way.is_empty() => {
                    self.poll(which % self.under_way.len());
                }
                Step::Drop(which) if !self.under_way.is_empty() => {
                    drop(self.under_way.swap_remove(which % self.under_way.len()));
                }
                Step::Poll(_) | Step::Drop(_) => {}
            }
        }

        fn poll(&mut self, which: usize) {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(()) = self.under_way[which].as_mut().poll(&mut context) {
                drop(self.under_way.swap_remove(which));
            }
        }

        /// With nothing under way any more, front and back agree.
        fn end(mut self) {
            for turn in 0.. {
                if self.under_way.is_empty() {
                    break;
                }
                assert!(turn < 10_000, "a call is stranded");
                self.poll(turn % self.under_way.len());
            }
            self.back.heal();
            let shown = self.store.load(id(1)).now_or_never().unwrap().unwrap();
            let truth = self
                .back
                .inner()
                .load(id(1))
                .now_or_never()
                .unwrap()
                .unwrap();
            let parts = |kept: Option<(Arc<cloakroom::Record>, _)>| {
                kept.map(|(record, activity)| (record.version(), activity))
            };
            assert_eq!(parts(shown), parts(truth));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn however_calls_interleave_the_copy_is_what_the_back_has(steps in steps()) {
            let mut fixture = Fixture::new();
            for step in steps {
                fixture.take(step);
            }
            fixture.end();
        }
    }
}

#[cfg(feature = "file")]
mod files {
    use cloakroom::store::FileStore;

    use super::*;
    use crate::{store::processes, support::process::Directory};

    fn over_files(path: &str) -> TieredStore<FileStore> {
        TieredStore::new(MemoryStore::default(), FileStore::open(path).unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn increments_of_four_processes_add_up() {
        let directory = Directory::new();
        let place = directory.path().to_str().unwrap();
        let worker = "store::tiered::files::worker";
        processes::add_up(worker, place, over_files(place)).await;
    }

    /// Does nothing unless another process is started for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn worker() {
        if let Some(path) = processes::place() {
            processes::increment(over_files(&path)).await;
        }
    }
}
