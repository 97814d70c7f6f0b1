//! Everything that a request or an operator does, with everything that can go wrong: at each store call, and at each
//! point where it can be cancelled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use cloakroom::{Error, Session, SessionLayer, store::StoreErrorKind};
use futures::{future::LocalBoxFuture, poll};
use http::StatusCode;

use crate::support::{
    Fault, FaultyStore, FixedClock, Visitor,
    acts::{healthy_node, holding, live, log_in, on, seen, until_undone},
    fixture::{HOUR, MINUTE},
};

type Act = for<'a> fn(&'a Session) -> LocalBoxFuture<'a, Result<(), Error>>;

/// What an operation does where it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing that can be seen.
    None,
    /// `n` becomes 2.
    Counts,
    /// The session goes on under another token.
    Moves,
    Ends,
    /// There is one from now on.
    Begins,
}

enum Operation {
    Request(Act),
    Revoke,
    RevokeUser,
}

struct Row {
    name: &'static str,
    operation: Operation,
    effect: Effect,
    user: Option<&'static str>,
    limit: Option<usize>,
    renews: bool,
}

fn count(session: &Session) -> Result<(), Error> {
    session
        .update("n", |n: Option<u64>| n.unwrap_or(0) + 1)
        .map(drop)
}

fn rows() -> Vec<Row> {
    let row = |name, effect, act: Act| Row {
        name,
        operation: Operation::Request(act),
        effect,
        user: None,
        limit: None,
        renews: false,
    };
    vec![
        row("load", Effect::None, |_| Box::pin(async { Ok(()) })),
        row("create", Effect::Begins, |session| {
            Box::pin(async { session.insert("n", 1) })
        }),
        row("update", Effect::Counts, |session| {
            Box::pin(async { count(session) })
        }),
        row("save", Effect::Counts, |session| {
            Box::pin(async {
                count(session)?;
                session.save().await
            })
        }),
        row("claim", Effect::None, |session| {
            Box::pin(async { session.claim::<u64>("voucher").await.map(drop) })
        }),
        row("touch", Effect::None, |session| Box::pin(session.touch())),
        row("reload", Effect::None, |session| Box::pin(session.reload())),
        row("log-in", Effect::Moves, |session| {
            Box::pin(async { session.log_in("ann") })
        }),
        Row {
            user: Some("bob"),
            ..row("log-in over another user", Effect::Moves, |session| {
                Box::pin(async { session.log_in("ann") })
            })
        },
        Row {
            limit: Some(1),
            ..row("log-in with a limit", Effect::Moves, |session| {
                Box::pin(async { session.log_in("ann") })
            })
        },
        row("cycle", Effect::Moves, |session| {
            Box::pin(async { session.cycle_id() })
        }),
        row("destroy", Effect::Ends, |session| {
            Box::pin(async {
                session.destroy();
                Ok(())
            })
        }),
        row("destroy and begin again", Effect::Moves, |session| {
            Box::pin(async {
                session.destroy();
                session.insert("n", 1)
            })
        }),
        Row {
            renews: true,
            ..row("renewal", Effect::None, |_| Box::pin(async { Ok(()) }))
        },
        Row {
            operation: Operation::Revoke,
            ..row("revoke", Effect::Ends, |_| Box::pin(async { Ok(()) }))
        },
        Row {
            operation: Operation::RevokeUser,
            user: Some("ann"),
            ..row("revoke a user", Effect::Ends, |_| {
                Box::pin(async { Ok(()) })
            })
        },
    ]
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// The nth call has this fault.
    Call(usize, Fault),
    /// It is dropped after so many polls.
    Cancelled(usize),
}

const TIMEOUT: StoreErrorKind = StoreErrorKind::Timeout;
const SOON: Duration = Duration::from_millis(200);

const FAULTS: [Fault; 10] = [
    Fault::Refuse(StoreErrorKind::Unavailable),
    Fault::Fail(TIMEOUT),
    Fault::LoseReply(TIMEOUT),
    Fault::FailThenApply(TIMEOUT, SOON),
    Fault::Hang,
    Fault::HangThenApply(SOON),
    Fault::HangThenApply(MINUTE),
    Fault::Delay(SOON),
    Fault::DelayReply(MINUTE),
    Fault::Panic,
];

/// One operation, disturbed once. Returns whether the disturbance took place.
async fn disturb(row: &Row, disturbance: Disturbance) -> bool {
    let store = FaultyStore::in_memory();
    let clock = FixedClock::default();
    let mut layer = SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(None)
        .max_sessions_per_user(row.limit);
    if row.renews {
        layer = layer.renew_every(30 * MINUTE);
    }
    let is_new = row.effect == Effect::Begins;
    let visitor = if is_new {
        Visitor::new(&layer)
    } else {
        holding(&layer, [("n", 1), ("voucher", 7)]).await
    };
    if let Some(user) = row.user {
        log_in(&visitor, user).await;
    }
    if row.limit.is_some() {
        log_in(&Visitor::new(&layer), "ann").await;
    }
    let before = live(&layer.sessions(), None).await.len();
    if row.renews {
        clock.advance(HOUR / 2);
    }
    let old = visitor.twin();
    let has_run = AtomicUsize::new(0);
    let calls = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&calls);
    store.plan(move |_| match disturbance {
        Disturbance::Call(nth, fault) if made.fetch_add(1, Ordering::Relaxed) + 1 == nth => fault,
        _ => Fault::Yield,
    });
    let mut is_disturbed = false;
    let status = {
        let mut request: LocalBoxFuture<'_, StatusCode> = match &row.operation {
            Operation::Request(act) => Box::pin(async {
                let reply = visitor.visit(async |session: Session| {
                    has_run.fetch_add(1, Ordering::Relaxed);
                    act(&session).await
                });
                reply.await.status
            }),
            Operation::Revoke => Box::pin(async {
                let id = crate::support::acts::id(&old);
                of(layer.sessions().revoke(id).await.map(drop))
            }),
            Operation::RevokeUser => {
                Box::pin(async { of(layer.sessions().revoke_user("ann").await.map(drop)) })
            }
        };
        match disturbance {
            Disturbance::Call(nth, _) => {
                let status = request.await;
                is_disturbed |= calls.load(Ordering::Relaxed) >= nth;
                Some(status)
            }
            Disturbance::Cancelled(polls) => {
                let mut status = None;
                for _ in 0..polls {
                    if let Poll::Ready(ready) = poll!(&mut request) {
                        status = Some(ready);
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                is_disturbed |= status.is_none();
                status
            }
        }
    };
    store.heal();
    until_undone().await;
    check(
        row,
        disturbance,
        status,
        before,
        &store,
        &clock,
        [&old, &visitor],
    )
    .await;
    is_disturbed
}

fn of(done: Result<(), Error>) -> StatusCode {
    done.map_or(StatusCode::SERVICE_UNAVAILABLE, |()| StatusCode::OK)
}

async fn check(
    row: &Row,
    disturbance: Disturbance,
    status: Option<StatusCode>,
    before: usize,
    store: &FaultyStore,
    clock: &FixedClock,
    [old, new]: [&Visitor; 2],
) {
    let what = format!("{}, {disturbance:?}, {status:?}", row.name);
    let is_ok = match status {
        None => None,
        Some(StatusCode::OK) => Some(true),
        Some(StatusCode::SERVICE_UNAVAILABLE) => Some(false),
        Some(other) => panic!("{what}: {other}"),
    };
    let node = healthy_node(store, clock);
    let sessions = live(&node.sessions(), None).await.len();
    let (old, new) = (seen(&on(&node, old)).await, seen(&on(&node, new)).await);
    let what = format!("{what}: {sessions} sessions, {old}, {new}");
    let works = |seen: &str| seen != "none";
    match (row.effect, is_ok) {
        (Effect::Begins, Some(true)) => assert_eq!((sessions, works(&new)), (1, true), "{what}"),
        (Effect::Begins, _) => assert_eq!(sessions, 0, "{what}"),
        (Effect::Counts, is_ok) => {
            let counts = |n: u64| old.contains(&format!(r#""n": {n}"#));
            let is_right = match is_ok {
                Some(true) => counts(2),
                _ => counts(1) || counts(2),
            };
            assert!(is_right && sessions == before, "{what}");
        }
        (Effect::None, _) => assert_eq!((sessions, works(&old)), (before, true), "{what}"),
        (Effect::Ends, Some(true)) => assert_eq!(sessions, 0, "{what}"),
        (Effect::Ends, _) => assert!(sessions <= before, "{what}"),
        (Effect::Moves, Some(true)) => {
            assert!(works(&new) && !works(&old), "{what}");
            assert_eq!(sessions, 1, "{what}");
        }
        // A log-out goes on though its response says that nothing was kept.
        (Effect::Moves, _) if row.name.starts_with("destroy") => {
            assert!(sessions <= before, "{what}");
        }
        (Effect::Moves, Some(false)) => {
            assert!(works(&new) || works(&old), "{what}");
            assert!(sessions <= before, "{what}");
        }
        (Effect::Moves, None) => assert!(1 <= sessions && sessions <= before, "{what}"),
    }
}

#[tokio::test(start_paused = true)]
async fn m5_whatever_store_call_fails_in_whatever_way_the_promises_hold() {
    for row in rows() {
        for fault in FAULTS {
            let mut calls = 0;
            for nth in 1.. {
                if !disturb(&row, Disturbance::Call(nth, fault)).await {
                    break;
                }
                calls = nth;
            }
            assert!(calls > 0 || row.name == "load", "{}", row.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c2_wherever_an_operation_is_cancelled_the_promises_hold() {
    for row in rows() {
        for polls in 0.. {
            if !disturb(&row, Disturbance::Cancelled(polls)).await {
                assert!(polls > 1 || row.effect == Effect::Begins, "{}", row.name);
                break;
            }
        }
    }
}
