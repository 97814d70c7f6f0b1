//! Rules M1 to M5: what requests on one session do at the same time adds up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloakroom::{
    Activity, Error, ErrorKind, Event, EventKind, Record, Session, SessionId, SessionLayer,
    SessionStore, StoreError, Timestamp,
    store::{Created, Former, Reaped, StoreErrorKind, Touched, Updated},
};
use futures::{channel::oneshot, executor::block_on, future::join_all, poll};
use http::StatusCode;
use proptest::{collection::vec, prelude::*};
use serde::{Serialize, Serializer};
use tokio::sync::Barrier;

use crate::support::{Fault, FaultyStore, FixedClock, StoreCall, Visitor};

const LOST: Fault = Fault::LoseReply(StoreErrorKind::Timeout);

/// Longer than a request waits for many others on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn layer(store: &FaultyStore) -> SessionLayer {
    SessionLayer::new(store.clone())
        .clock(FixedClock::default())
        .store_timeout(PATIENCE)
}

fn increment(session: &Session, key: &'static str) -> Result<u64, Error> {
    session.update(key, |n: Option<u64>| n.unwrap_or(0) + 1)
}

/// A visitor with a stored session of these values.
async fn visitor(store: &FaultyStore, values: &[(&'static str, u64)]) -> Visitor {
    let visitor = Visitor::new(&layer(store));
    let values = values.to_vec();
    let reply = visitor.visit(|session| async move {
        values
            .iter()
            .try_for_each(|(key, value)| session.insert(*key, value))
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    store.calls();
    visitor
}

/// What the visitor's session holds now.
async fn values(visitor: &Visitor) -> BTreeMap<String, u64> {
    let mut values = BTreeMap::new();
    visitor
        .visit(async |session: Session| {
            for key in session.keys() {
                values.insert(key.clone(), session.get(&key)?.unwrap());
            }
            Ok::<_, Error>(())
        })
        .await;
    values
}

fn map(values: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), *value));
    values.collect()
}

/// Many tasks count together: how often, and how often that was answered with 200.
async fn count_together(store: FaultyStore) -> (u64, u64) {
    const TASKS: usize = 64;
    let visitor = visitor(&store, &[("other", 1)]).await;
    let start = Arc::new(Barrier::new(TASKS));
    let tasks = (0..TASKS).map(|_| {
        let (visitor, start) = (visitor.clone(), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            let mut answered = 0;
            for _ in 0..200 {
                let counting =
                    visitor.visit(async |session: Session| increment(&session, "n").map(drop));
                answered += u64::from(counting.await.status == StatusCode::OK);
            }
            answered
        })
    });
    let answered = join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    store.heal();
    let mut values = values(&visitor).await;
    assert_eq!(values.remove("other"), Some(1));
    (values["n"], answered)
}

const ALL: (u64, u64) = (12_800, 12_800);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m3_concurrent_updates_add_up() {
    assert_eq!(count_together(FaultyStore::in_memory()).await, ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m3_concurrent_updates_add_up_where_every_call_lets_others_pass() {
    let store = FaultyStore::in_memory();
    store.plan(|_| Fault::Yield);
    assert_eq!(count_together(store).await, ALL);
}

fn lose_every_tenth_reply(store: &FaultyStore) {
    let mut updates = 0;
    store.plan(move |call| match call {
        StoreCall::Update => {
            updates += 1;
            if updates % 10 == 0 { LOST } else { Fault::None }
        }
        _ => Fault::Yield,
    });
}

#[tokio::test]
async fn m5_concurrent_updates_add_up_where_every_tenth_reply_is_lost() {
    let store = FaultyStore::in_memory();
    lose_every_tenth_reply(&store);
    assert_eq!(count_together(store).await, ALL);
}

/// A thread that is stopped between its write and the question what became of it may find too
/// many writes on top: it must say so then, and not guess.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m5_what_was_answered_with_200_was_counted_once_on_any_number_of_threads() {
    let store = FaultyStore::in_memory();
    lose_every_tenth_reply(&store);
    let (counted, answered) = count_together(store).await;
    assert!(
        answered <= counted && counted <= ALL.0,
        "{answered} {counted}"
    );
    assert!(answered > ALL.1 * 9 / 10, "{answered}");
}

/// Two requests load the session; `first` commits, then `second`.
async fn overlap(
    visitor: &Visitor,
    first: impl AsyncFnOnce(Session) -> Result<(), Error>,
    second: impl AsyncFnOnce(Session) -> Result<(), Error>,
) -> [StatusCode; 2] {
    let (done, is_first_done) = oneshot::channel();
    let second = visitor.visit(async |session: Session| {
        second(session).await?;
        is_first_done.await.unwrap();
        Ok::<_, Error>(())
    });
    let mut second = std::pin::pin!(second);
    assert!(poll!(&mut second).is_pending());
    let first = visitor
        .visit(async |session| first(session).await)
        .await
        .status;
    done.send(()).unwrap();
    [first, second.await.status]
}

const BOTH_OK: [StatusCode; 2] = [StatusCode::OK; 2];

#[tokio::test]
async fn m2_the_last_writer_of_a_key_wins_and_other_keys_are_kept() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("a", 1), ("b", 1), ("c", 1)]).await;
    let statuses = overlap(
        &visitor,
        async |session| {
            session.insert("a", 2)?;
            session.insert("d", 2)
        },
        async |session| {
            session.insert("a", 3)?;
            session.insert("e", 3)?;
            assert!(session.remove("b"));
            assert!(!session.remove("d"));
            Ok(())
        },
    );
    assert_eq!(statuses.await, BOTH_OK);
    assert_eq!(values(&visitor).await, map(&[("a", 3), ("c", 1), ("e", 3)]));
}

#[tokio::test]
async fn m2_clear_also_removes_values_of_a_concurrent_request() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("a", 1)]).await;
    let statuses = overlap(
        &visitor,
        async |session| session.insert("b", 2),
        async |session| {
            session.clear();
            session.insert("c", 3)
        },
    );
    assert_eq!(statuses.await, BOTH_OK);
    assert_eq!(values(&visitor).await, map(&[("c", 3)]));
}

#[tokio::test]
async fn m2_an_update_on_top_of_an_insert_does_not_see_the_fresher_value() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 1)]).await;
    let statuses = overlap(
        &visitor,
        async |session| session.insert("n", 50),
        async |session| {
            session.insert("n", 10)?;
            increment(&session, "n").map(drop)
        },
    );
    assert_eq!(statuses.await, BOTH_OK);
    assert_eq!(values(&visitor).await, map(&[("n", 11)]));
}

#[tokio::test]
async fn m3_each_update_of_a_request_runs_again() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 1)]).await;
    let statuses = overlap(
        &visitor,
        async |session| session.insert("n", 10),
        async |session| {
            assert_eq!(increment(&session, "n")?, 2);
            let doubled = session.update("n", |n: Option<u64>| n.unwrap_or(0) * 2)?;
            assert_eq!(doubled, 4);
            Ok(())
        },
    );
    assert_eq!(statuses.await, BOTH_OK);
    assert_eq!(values(&visitor).await, map(&[("n", 22)]));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(&'static str, u64),
    Remove(&'static str),
    Clear,
    Add(&'static str, u64),
    /// Removes an even value, doubles an odd one.
    Halve(&'static str),
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn halve(value: Option<u64>) -> Option<u64> {
    value.filter(|value| value % 2 == 1).map(|value| value * 2)
}

impl Step {
    fn take(&self, session: &Session) -> Result<(), Error> {
        match *self {
            Self::Insert(key, value) => session.insert(key, value)?,
            Self::Remove(key) => {
                session.remove(key);
            }
            Self::Clear => session.clear(),
            Self::Add(key, n) => {
                session.update(key, move |old: Option<u64>| old.unwrap_or(0) + n)?;
            }
            Self::Halve(key) => {
                let halved = session.try_update(key, |old| Ok::<_, ()>(halve(old)))?;
                assert!(halved.is_ok());
            }
        }
        Ok(())
    }

    /// What becomes of the value of `key`.
    fn on(&self, key: &str, value: Option<u64>) -> Option<u64> {
        match *self {
            Self::Insert(to, new) if to == key => Some(new),
            Self::Remove(from) if from == key => None,
            Self::Clear => None,
            Self::Add(to, n) if to == key => Some(value.unwrap_or(0) + n),
            Self::Halve(of) if of == key => halve(value),
            _ => value,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(&KEYS[..]);
    prop_oneof![
        (key(), 0..5_u64).prop_map(|(key, value)| Step::Insert(key, value)),
        key().prop_map(Step::Remove),
        Just(Step::Clear),
        (key(), 0..5_u64).prop_map(|(key, n)| Step::Add(key, n)),
        key().prop_map(Step::Halve),
    ]
}

/// Every order of so many requests.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let insert_everywhere = |order: Vec<usize>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    };
    orders(last)
        .into_iter()
        .flat_map(insert_everywhere)
        .collect()
}

proptest! {
    /// Of `turns`, the first of a request is its load, the second its commit.
    #[test]
    fn m2_m3_any_interleaving_ends_key_by_key_as_some_order_would(
        initial in vec((prop::sample::select(&KEYS[..]), 0..5_u64), 0..3),
        requests in vec(vec(step(), 1..4), 4),
        turns in Just([0, 0, 1, 1, 2, 2, 3, 3]).prop_shuffle(),
        loses_replies: bool,
    ) {
        let after = block_on(async {
            let store = FaultyStore::in_memory();
            let visitor = visitor(&store, &[&[("kept", 1)], &*initial].concat()).await;
            let mut updates = 0;
            store.plan(move |call| {
                updates += u32::from(call == StoreCall::Update);
                let is_lost = loses_replies && call == StoreCall::Update && updates % 2 == 1;
                if is_lost { LOST } else { Fault::None }
            });
            let mut pending: Vec<_> = (0..requests.len()).map(|_| None).collect();
            for turn in turns {
                match pending[turn].take() {
                    None => {
                        let (go_on, may_go_on) = oneshot::channel();
                        let steps = &requests[turn];
                        let mut request = Box::pin(visitor.visit(async |session: Session| {
                            steps.iter().try_for_each(|step| step.take(&session))?;
                            may_go_on.await.unwrap();
                            Ok::<_, Error>(())
                        }));
                        assert!(poll!(&mut request).is_pending());
                        pending[turn] = Some((request, go_on));
                    }
                    Some((request, go_on)) => {
                        go_on.send(()).unwrap();
                        assert_eq!(request.await.status, StatusCode::OK);
                    }
                }
            }
            values(&visitor).await
        });
        let initial: BTreeMap<_, _> = initial.into_iter().collect();
        for key in KEYS {
            let outcomes: Vec<Option<u64>> = orders(requests.len())
                .into_iter()
                .map(|order| {
                    let steps = order.iter().flat_map(|request| &requests[*request]);
                    steps.fold(initial.get(key).copied(), |value, step| step.on(key, value))
                })
                .collect();
            prop_assert!(outcomes.contains(&after.get(key).copied()), "{key} in {after:?}");
        }
    }
}

#[tokio::test]
async fn m3_a_closure_may_use_the_session() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 1), ("step", 5)]).await;
    let statuses = overlap(
        &visitor,
        async |session| session.insert("n", 10),
        async |session| {
            let clone = session.clone();
            let sum = session.update("n", move |n: Option<u64>| {
                let step: Option<u64> = clone.get("step").unwrap();
                clone.insert("seen", 1).unwrap();
                n.unwrap_or(0) + step.unwrap_or(0)
            })?;
            assert_eq!(sum, 6);
            assert_eq!(session.get("seen")?, Some(1));
            Ok(())
        },
    );
    assert_eq!(statuses.await, BOTH_OK);
    assert_eq!(
        values(&visitor).await,
        map(&[("n", 15), ("seen", 1), ("step", 5)])
    );
}

#[tokio::test]
async fn m3_a_closure_may_use_the_session_when_it_is_run_again_by_reload() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 1)]).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        let clone = session.clone();
        session.update("n", move |n: Option<u64>| {
            clone.insert("seen", n).unwrap();
            n.unwrap_or(0) + 1
        })?;
        other
            .visit(async |session: Session| session.insert("n", 10))
            .await;
        session.reload().await?;
        assert_eq!(session.get("seen")?, Some(10));
        assert_eq!(session.get("n")?, Some(11));
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("n", 11), ("seen", 10)]));
}

/// A closure that ran more often than any could need to.
fn check_runs(runs: &AtomicU64) {
    let runs = runs.fetch_add(1, Ordering::Relaxed);
    if runs > 2_000 {
        std::panic::resume_unwind(Box::new("it never comes to an end"));
    }
}

#[tokio::test]
async fn m3_a_closure_that_adds_an_update_each_time_it_runs_is_an_error_that_says_so() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 1)]).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        let (clone, runs) = (session.clone(), AtomicU64::new(0));
        session.update("n", move |n: Option<u64>| {
            check_runs(&runs);
            clone
                .update("m", |m: Option<u64>| m.unwrap_or(0) + 1)
                .unwrap();
            n.unwrap_or(0) + 1
        })?;
        increment_of(&other).await;
        let error = session.reload().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(error.to_string().contains("closure"), "{error}");
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await["n"], 3);
}

async fn increment_of(visitor: &Visitor) {
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
}

#[tokio::test]
async fn m3_a_closure_that_changes_its_own_key_is_an_error_that_says_so() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 1)]).await;
    let reply = visitor.visit(async |session: Session| {
        let (clone, runs) = (session.clone(), AtomicU64::new(0));
        let updated = session.update("n", move |n: Option<u64>| {
            check_runs(&runs);
            clone.insert("n", n.unwrap_or(0) + 10).unwrap();
            n.unwrap_or(0) + 1
        });
        let error = updated.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(error.to_string().contains("`n`"), "{error}");
    });
    assert_eq!(reply.await.status, StatusCode::OK);
}

/// A number that asks the session, and writes to it, while it is serialized.
struct Nosy {
    session: Session,
    number: u64,
}

impl Serialize for Nosy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let step: Option<u64> = self.session.get("step").unwrap();
        self.session.insert("seen", 1).unwrap();
        (self.number + step.unwrap_or(0)).serialize(serializer)
    }
}

#[tokio::test]
async fn m3_a_value_may_use_the_session_while_it_is_serialized() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("step", 5)]).await;
    let reply = visitor.visit(async |session: Session| {
        let number = Nosy {
            session: session.clone(),
            number: 1,
        };
        session.insert("n", number)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(
        values(&visitor).await,
        map(&[("n", 6), ("seen", 1), ("step", 5)])
    );
}

#[tokio::test]
async fn m3_clones_of_one_session_add_up() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("n", 0)]).await;
    let reply = visitor.visit(async |session: Session| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        increment(&session, "n").unwrap();
                    }
                });
            }
        });
        assert_eq!(session.get("n")?, Some(400));
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("n", 400)]));
}

#[tokio::test]
async fn m4_an_update_never_creates_what_was_destroyed() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    let (go_on, may_go_on) = oneshot::channel();
    let writer = visitor.twin();
    let mut writing = Box::pin(writer.visit(async |session: Session| {
        increment(&session, "n")?;
        session.insert("more", 1)?;
        may_go_on.await.unwrap();
        Ok::<_, Error>("done")
    }));
    assert!(poll!(&mut writing).is_pending());
    visitor
        .visit(async |session: Session| session.destroy())
        .await;
    go_on.send(()).unwrap();
    let reply = writing.await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "done"));
    assert!(reply.set_cookies().is_empty());
    assert!(store.inner().is_empty());
}

#[tokio::test(start_paused = true)]
async fn m4_a_slow_write_does_not_bring_back_what_is_destroyed_meanwhile() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    store.plan_for(StoreCall::Update, Fault::Delay(Duration::from_secs(2)));
    let writer = visitor.twin();
    let mut writing = Box::pin(writer.visit(async |session: Session| session.insert("n", 2)));
    assert!(poll!(&mut writing).is_pending());
    let reply = visitor
        .visit(async |session: Session| session.destroy())
        .await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert!(store.inner().is_empty());
    let reply = writing.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn m4_save_says_that_the_session_has_ended() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        session.insert("n", 2)?;
        other
            .visit(async |session: Session| session.destroy())
            .await;
        let ended = session.save().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Ended);
        session.insert("n", 3)
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.set_cookies().is_empty());
    assert!(store.inner().is_empty());
}

#[tokio::test]
async fn m5_a_lost_reply_neither_fails_nor_doubles() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    store.plan_for(StoreCall::Update, LOST);
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(
        store.calls(),
        [StoreCall::Load, StoreCall::Update, StoreCall::LoadLatest]
    );
    assert_eq!(values(&visitor).await, map(&[("n", 2)]));
}

#[tokio::test]
async fn m5_a_lost_call_is_made_again() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    let mut is_lost = false;
    store.plan(move |call| match call {
        StoreCall::Update if !std::mem::replace(&mut is_lost, true) => {
            Fault::Fail(StoreErrorKind::Timeout)
        }
        _ => Fault::None,
    });
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("n", 2)]));
}

#[tokio::test]
async fn m5_a_created_session_whose_reply_was_lost_is_the_visitors() {
    let store = FaultyStore::in_memory();
    let mut is_lost = false;
    store.plan(move |call| match call {
        StoreCall::Create if !std::mem::replace(&mut is_lost, true) => LOST,
        _ => Fault::None,
    });
    let visitor = Visitor::new(&layer(&store));
    let reply = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("n", 1)]));
    assert_eq!(store.inner().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn m5_a_commit_whose_reply_was_lost_is_recognized_under_another_write() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    let mut updates = 0;
    store.plan(move |call| match call {
        StoreCall::Update => {
            updates += 1;
            if updates == 1 { LOST } else { Fault::None }
        }
        StoreCall::LoadLatest => Fault::Delay(Duration::from_secs(1)),
        _ => Fault::None,
    });
    let twin = visitor.twin();
    let mut first =
        Box::pin(twin.visit(async |session: Session| increment(&session, "n").map(drop)));
    assert!(poll!(&mut first).is_pending());
    let second = visitor.visit(async |session: Session| increment(&session, "n").map(drop));
    assert_eq!(second.await.status, StatusCode::OK);
    assert_eq!(first.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("n", 3)]));
}

fn take_seat(session: &Session) -> Result<Result<Option<u64>, &'static str>, Error> {
    session.try_update("seats", |seats: Option<u64>| match seats {
        None | Some(0) => Err("sold out"),
        Some(1) => Ok(None),
        Some(seats) => Ok(Some(seats - 1)),
    })
}

#[tokio::test]
async fn m3_a_try_update_that_refuses_the_fresher_value_saves_nothing() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("seats", 1), ("kept", 1)]).await;
    let statuses = overlap(
        &visitor,
        async |session| {
            assert_eq!(take_seat(&session)?, Ok(None));
            Ok(())
        },
        async |session| {
            session.insert("mine", 1)?;
            assert_eq!(take_seat(&session)?, Ok(None));
            Ok(())
        },
    );
    assert_eq!(
        statuses.await,
        [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]
    );
    assert_eq!(values(&visitor).await, map(&[("kept", 1)]));
}

#[tokio::test]
async fn m3_a_try_update_that_refuses_at_once_changes_nothing() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("seats", 0)]).await;
    let reply = visitor.visit(async |session: Session| {
        assert_eq!(take_seat(&session)?, Err("sold out"));
        assert!(!session.is_modified());
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(store.calls(), [StoreCall::Load]);
}

#[tokio::test]
async fn m3_a_save_that_is_refused_can_be_undone() {
    let visitor = visitor(&FaultyStore::in_memory(), &[("seats", 1)]).await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        assert_eq!(take_seat(&session)?, Ok(None));
        other
            .visit(async |session: Session| take_seat(&session).map(drop))
            .await;
        let refused = session.save().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused);
        assert!(session.is_modified());
        session.remove("seats");
        session.insert("told", 1)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("told", 1)]));
}

#[tokio::test]
async fn a_value_put_back_to_what_it_was_asks_nothing_of_the_store() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    let reply = visitor.visit(async |session: Session| {
        session.insert("n", 2)?;
        session.insert("new", 2)?;
        assert!(session.is_modified());
        session.remove("new");
        session.update("n", |_: Option<u64>| 1)?;
        assert!(!session.is_modified());
        Ok::<_, Error>(())
    });
    assert!(reply.await.set_cookies().is_empty());
    assert_eq!(store.calls(), [StoreCall::Load]);
}

/// Others are always faster here.
struct Busy(FaultyStore);

impl SessionStore for Busy {
    async fn create(
        &self,
        id: SessionId,
        record: &Arc<Record>,
        activity: Activity,
    ) -> Result<Created, StoreError> {
        self.0.create(id, record, activity).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
        self.0.load(id).await
    }

    async fn update(
        &self,
        _: SessionId,
        _: &Arc<Record>,
        _: Activity,
        _: Former<'_>,
    ) -> Result<Updated, StoreError> {
        Ok(Updated::Conflict)
    }

    async fn touch(&self, _: SessionId, _: Former<'_>, _: Activity) -> Result<Touched, StoreError> {
        Ok(Touched::Stale)
    }

    async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
        self.0.delete(id).await
    }

    async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
        self.0.delete_expired(before, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn m1_conflicts_are_tried_again_until_the_deadline() {
    let layer = SessionLayer::new(Busy(FaultyStore::in_memory()))
        .clock(FixedClock::default())
        .store_timeout(Duration::from_secs(3));
    let visitor = Visitor::new(&layer);
    visitor
        .visit(async |session: Session| session.insert("n", 1))
        .await;
    let start = tokio::time::Instant::now();
    let reply = visitor.visit(async |session: Session| session.insert("n", 2));
    assert_eq!(reply.await.status, StatusCode::SERVICE_UNAVAILABLE);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_millis(3010),
        "{took:?}"
    );
    assert_eq!(values(&visitor).await, map(&[("n", 1)]));
}

/// The store applies the update of a save, and the request does not hear of it.
async fn save_in_vain(
    store: &FaultyStore,
    act: impl AsyncFnOnce(&Session),
) -> BTreeMap<String, u64> {
    let visitor = visitor(store, &[("n", 1)]).await;
    let faulty = store.clone();
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        faulty.plan_for(StoreCall::Update, Fault::DelayReply(2 * PATIENCE));
        act(&session).await;
        faulty.heal();
        increment(&session, "m").map(drop)
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    values(&visitor).await
}

#[tokio::test(start_paused = true)]
async fn m5_a_save_that_was_late_is_not_made_again_by_the_commit() {
    let store = FaultyStore::in_memory();
    let after = save_in_vain(&store, async |session| {
        let error = session.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    });
    assert_eq!(after.await, map(&[("n", 2), ("m", 1)]));
}

#[tokio::test(start_paused = true)]
async fn m5_a_save_that_was_cancelled_is_not_made_again_by_the_commit() {
    let store = FaultyStore::in_memory();
    let after = save_in_vain(&store, async |session| {
        let saving = tokio::time::timeout(Duration::from_secs(1), session.save());
        assert!(saving.await.is_err());
    });
    assert_eq!(after.await, map(&[("n", 2), ("m", 1)]));
}

#[tokio::test(start_paused = true)]
async fn m5_a_reload_after_a_save_that_was_late_counts_it_once() {
    let store = FaultyStore::in_memory();
    let faulty = store.clone();
    let after = save_in_vain(&store, async |session| {
        assert!(session.save().await.is_err());
        faulty.heal();
        session.reload().await.unwrap();
        assert_eq!(session.get::<u64>("n").unwrap(), Some(2));
    });
    assert_eq!(after.await, map(&[("n", 2), ("m", 1)]));
}

#[tokio::test(start_paused = true)]
async fn m3_an_update_made_while_a_save_merges_is_computed_on_what_was_merged() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store, &[("n", 1)]).await;
    let other = visitor.twin();
    let slow = store.clone();
    let reply = visitor.visit(async |session: Session| {
        increment(&session, "n")?;
        let meanwhile = other.visit(async |session: Session| session.insert("n", 100));
        assert_eq!(meanwhile.await.status, StatusCode::OK);
        slow.plan_for(StoreCall::LoadLatest, Fault::Delay(Duration::from_secs(1)));
        let saving = session.save();
        let updating = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            increment(&session, "n")
        };
        let (saved, updated) = tokio::join!(saving, updating);
        saved.and(updated.map(drop))
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    assert_eq!(values(&visitor).await, map(&[("n", 102)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m3_concurrent_updates_in_memory_add_up_and_send_one_event_each() {
    const TASKS: u64 = 16;
    const TIMES: u64 = 200;
    let saved = Arc::<AtomicU64>::default();
    let heard = Arc::clone(&saved);
    let layer = SessionLayer::default().store_timeout(PATIENCE);
    let layer = layer.on_event(move |event: &Event| {
        let is_save = matches!(event.kind(), EventKind::Saved { .. });
        heard.fetch_add(u64::from(is_save), Ordering::Relaxed);
    });
    let visitor = Visitor::new(&layer);
    visitor
        .visit(async |session: Session| session.insert("other", 1))
        .await;
    let tasks = (0..TASKS).map(|_| {
        let visitor = visitor.clone();
        tokio::spawn(async move {
            for _ in 0..TIMES {
                let counting =
                    visitor.visit(async |session: Session| increment(&session, "n").map(drop));
                assert_eq!(counting.await.status, StatusCode::OK);
            }
        })
    });
    let tasks = join_all(tasks.collect::<Vec<_>>()).await;
    assert!(tasks.iter().all(Result::is_ok));
    assert_eq!(values(&visitor).await["n"], TASKS * TIMES);
    assert_eq!(saved.load(Ordering::Relaxed), TASKS * TIMES);
}
