//! Rules C1 and C2: what is committed however the request ends, and what is not.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, Weak},
};

use axum::response::IntoResponse;
use cloakroom::{
    Error, ErrorKind, Record, Session, SessionHandle, SessionLayer, SessionStore, Timestamp,
    store::RemovalSink,
};
use futures::{FutureExt, poll};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use crate::support::{Fault, FaultyStore, FixedClock, Log, StoreCall, Visitor};

/// A visitor whose session has `n` = 1, and the store it is in.
async fn visitor() -> (FaultyStore, Visitor) {
    let store = FaultyStore::in_memory();
    let visitor = Visitor::new(&SessionLayer::new(store.clone()).clock(FixedClock::default()));
    let reply = visitor.visit(async |session: Session| session.insert("n", 1));
    assert_eq!(reply.await.status, StatusCode::OK);
    (store, visitor)
}

fn describe(record: &Record) -> String {
    if record.is_moved() {
        return "marker".to_owned();
    }
    let object: Value = serde_json::from_slice(&record.to_bytes()).unwrap();
    let user = record.user().unwrap_or("anonymous");
    format!("{user} {}", object["data"])
}

/// Takes everything out of the store: what there was.
async fn contents(store: &FaultyStore) -> String {
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let sink = Arc::clone(&found);
    store
        .inner()
        .report_removals(RemovalSink::new(move |ending| {
            let (record, _) = ending.record.unwrap();
            sink.lock().insert(describe(&record));
        }));
    let stored = store.inner().len();
    while store
        .inner()
        .delete_expired(Timestamp::MAX, 100)
        .await
        .unwrap()
        .more
    {}
    let found = found.lock();
    let live = found.iter().filter(|record| *record != "marker");
    assert_eq!(live.count(), stored);
    found.iter().cloned().collect::<Vec<_>>().join(" + ")
}

/// What a dropped request leaves to be done is done by a task.
async fn let_others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Cancels a request at each of its await points in turn: all that the store then was found to
/// hold, and what it holds where the request is not cancelled.
async fn cut_everywhere(
    is_known: bool,
    act: impl AsyncFn(Session) -> Result<(), Error>,
) -> (BTreeSet<String>, String) {
    let mut cut = BTreeSet::new();
    for polls in 0.. {
        let (store, mut visitor) = visitor().await;
        if !is_known {
            visitor = Visitor::new(&SessionLayer::new(store.clone()).clock(FixedClock::default()));
            contents(&store).await;
        }
        store.plan(|_| Fault::Yield);
        let other = visitor.twin();
        let mut reply = None;
        {
            let mut request = Box::pin(visitor.visit(async |session: Session| act(session).await));
            for _ in 0..polls {
                if let std::task::Poll::Ready(ready) = poll!(&mut request) {
                    reply = Some(ready);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let_others_run().await;
        // Whoever has the old token has a session or is a stranger, but never runs into an error.
        let next = other.visit(async |session: Session| session.get::<u64>("n").map(drop));
        assert_eq!(next.await.status, StatusCode::OK);
        let contents = contents(&store).await;
        if let Some(reply) = reply {
            assert_eq!(reply.status, StatusCode::OK);
            assert!(polls > 1);
            return (cut, contents);
        }
        cut.insert(contents);
    }
    unreachable!("no request is polled for ever")
}

fn set<const N: usize>(contents: [&str; N]) -> BTreeSet<String> {
    contents.map(str::to_owned).into()
}

#[tokio::test]
async fn c2_a_cancelled_update_leaves_the_old_record_or_the_new_one() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.insert("more", 2)?;
        session
            .update("n", |n: Option<u64>| n.unwrap_or(0) + 1)
            .map(drop)
    })
    .await;
    let (old, new) = (r#"anonymous {"n":1}"#, r#"anonymous {"more":2,"n":2}"#);
    assert_eq!((cut, &*whole), (set([old, new]), new));
}

#[tokio::test]
async fn c2_a_cancelled_create_leaves_no_session_behind() {
    let (cut, whole) = cut_everywhere(false, async |session| {
        session.insert("a", 1)?;
        session.insert("b", 2)
    })
    .await;
    let new = r#"anonymous {"a":1,"b":2}"#;
    // Where the store had not been heard of, what is late finds the id taken.
    assert_eq!((cut, &*whole), (set(["", "marker"]), new));
}

#[tokio::test]
async fn c2_a_cancelled_log_in_leaves_the_old_record_or_the_new_one() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.log_in("ann")?;
        session.insert("more", 2)
    })
    .await;
    let (old, new) = (r#"anonymous {"n":1}"#, r#"ann {"more":2,"n":1}"#);
    let (taken, moved) = (format!("{old} + marker"), format!("{new} + marker"));
    assert_eq!((cut, &*whole), (set([old, &taken, &moved]), &*moved));
}

#[tokio::test]
async fn c2_a_cancelled_cycle_leaves_the_old_record_or_the_new_one() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.cycle_id()?;
        session.insert("more", 2)
    })
    .await;
    let (old, new) = (r#"anonymous {"n":1}"#, r#"anonymous {"more":2,"n":1}"#);
    let (taken, moved) = (format!("{old} + marker"), format!("{new} + marker"));
    assert_eq!((cut, &*whole), (set([old, &taken, &moved]), &*moved));
}

#[tokio::test]
async fn c2_a_cancelled_destroy_leaves_the_old_record_or_none() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.destroy();
        Ok(())
    })
    .await;
    let old = r#"anonymous {"n":1}"#;
    assert_eq!((cut, &*whole), (set([old, "marker"]), "marker"));
}

#[tokio::test]
async fn c2_a_cancelled_destroy_and_begin_again_never_leaves_both() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.destroy();
        session.insert("n", 2)
    })
    .await;
    let (old, new) = (r#"anonymous {"n":1}"#, r#"anonymous {"n":2}"#);
    let whole_as_expected = format!("{new} + marker");
    assert_eq!((cut, whole), (set([old, "marker"]), whole_as_expected));
}

#[tokio::test]
async fn c2_a_cancelled_claim_takes_the_value_or_leaves_it() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.insert("more", 2)?;
        assert_eq!(session.claim("n").await?, Some(1));
        Ok(())
    })
    .await;
    let (old, claimed) = (r#"anonymous {"n":1}"#, "anonymous {}");
    let new = r#"anonymous {"more":2}"#;
    assert_eq!((cut, &*whole), (set([old, claimed, new]), new));
}

#[tokio::test]
async fn c2_a_request_cancelled_after_save_keeps_what_was_saved() {
    let (cut, whole) = cut_everywhere(true, async |session| {
        session.insert("n", 2)?;
        session.save().await?;
        session.insert("n", 3)
    })
    .await;
    let [old, saved, new] = [1, 2, 3].map(|n| format!(r#"anonymous {{"n":{n}}}"#));
    assert_eq!((cut, &whole), (set([&old, &saved, &new]), &new));
}

#[tokio::test]
async fn c1_a_commit_happens_whatever_the_status() {
    for status in [200, 204, 302, 404, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        let (store, visitor) = visitor().await;
        let reply = visitor.visit(async |session: Session| {
            session.insert("n", 2)?;
            session.cycle_id()?;
            Ok::<_, Error>(status)
        });
        let reply = reply.await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.set_cookies().len(), 1);
        assert_eq!(contents(&store).await, r#"anonymous {"n":2} + marker"#);
    }
}

/// Does something of everything that would be committed.
fn do_much(session: &Session) {
    session.insert("n", 2).unwrap();
    session.log_in("ann").unwrap();
}

/// A panic that the log of the tests does not show.
fn panic_quietly() -> StatusCode {
    resume_unwind(Box::new("as planned"))
}

#[tokio::test]
async fn c2_a_handler_that_panics_commits_nothing() {
    let (store, visitor) = visitor().await;
    store.calls();
    let request = visitor.visit(|session: Session| async move {
        do_much(&session);
        panic_quietly()
    });
    AssertUnwindSafe(request).catch_unwind().await.unwrap_err();
    assert_eq!(contents(&store).await, r#"anonymous {"n":1}"#);
}

#[tokio::test]
async fn c2_a_panic_that_became_a_response_is_a_response() {
    let (store, visitor) = visitor().await;
    let reply = visitor.visit(async |session: Session| {
        let handler = async {
            do_much(&session);
            panic_quietly()
        };
        let caught = AssertUnwindSafe(handler).catch_unwind().await;
        caught.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    });
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(contents(&store).await, r#"ann {"n":2} + marker"#);
}

#[tokio::test]
async fn c2_a_service_that_fails_commits_nothing() {
    let (store, visitor) = visitor().await;
    let answer = visitor.try_ask(async |handle: SessionHandle| {
        do_much(&handle.load().await.unwrap());
        Err::<StatusCode, _>("as planned").map(IntoResponse::into_response)
    });
    assert_eq!(answer.await.unwrap_err(), "as planned");
    assert_eq!(contents(&store).await, r#"anonymous {"n":1}"#);
}

#[tokio::test]
async fn c2_a_request_dropped_in_its_handler_commits_nothing() {
    let (store, visitor) = visitor().await;
    let mut request = Box::pin(visitor.visit(async |session: Session| {
        do_much(&session);
        std::future::pending::<StatusCode>().await
    }));
    assert!(poll!(&mut request).is_pending());
    drop(request);
    assert_eq!(contents(&store).await, r#"anonymous {"n":1}"#);
}

#[tokio::test]
async fn c2_what_was_saved_before_the_panic_stays() {
    let (store, visitor) = visitor().await;
    let request = visitor.visit(|session: Session| async move {
        session.insert("n", 2).unwrap();
        session.save().await.unwrap();
        do_much(&session);
        panic_quietly()
    });
    AssertUnwindSafe(request).catch_unwind().await.unwrap_err();
    assert_eq!(contents(&store).await, r#"anonymous {"n":2}"#);
}

/// An update that keeps its own session, and a client to see whether it is let go.
fn capture(session: &Session) -> Weak<()> {
    let client = Arc::new(());
    let seen = Arc::downgrade(&client);
    let captured = session.clone();
    session
        .update("n", move |n: Option<u64>| {
            let _kept = (&captured, &client);
            n.unwrap_or(0) + 1
        })
        .unwrap();
    seen
}

#[tokio::test]
async fn c2_a_request_that_commits_nothing_drops_its_closures() {
    let (_, visitor) = visitor().await;
    let captured = Mutex::new(None);

    let mut request = Box::pin(visitor.visit(async |session: Session| {
        *captured.lock() = Some(capture(&session));
        std::future::pending::<StatusCode>().await
    }));
    assert!(poll!(&mut request).is_pending());
    drop(request);
    let dropped = captured.lock().take().unwrap();
    assert_eq!(dropped.strong_count(), 0);

    let request = visitor.visit(async |session: Session| {
        *captured.lock() = Some(capture(&session));
        panic_quietly()
    });
    AssertUnwindSafe(request).catch_unwind().await.unwrap_err();
    let panicked = captured.lock().take().unwrap();
    assert_eq!(panicked.strong_count(), 0);

    let answer = visitor.try_ask(async |handle: SessionHandle| {
        *captured.lock() = Some(capture(&handle.load().await.unwrap()));
        Err::<StatusCode, _>("as planned").map(IntoResponse::into_response)
    });
    assert_eq!(answer.await.unwrap_err(), "as planned");
    let failed = captured.lock().take().unwrap();
    assert_eq!(failed.strong_count(), 0);
}

#[tokio::test]
async fn c2_a_request_dropped_in_its_commit_drops_its_closures() {
    let (store, visitor) = visitor().await;
    store.plan_for(StoreCall::Update, Fault::Hang);
    let captured = Mutex::new(None);
    let mut request = Box::pin(visitor.visit(async |session: Session| {
        *captured.lock() = Some(capture(&session));
    }));
    assert!(poll!(&mut request).is_pending());
    drop(request);
    assert_eq!(captured.lock().take().unwrap().strong_count(), 0);
}

#[tokio::test]
async fn c2_a_task_that_outlives_a_dropped_request_gets_one_error_and_can_continue() {
    let (store, visitor) = visitor().await;
    let left = Mutex::new(None);
    let mut request = Box::pin(visitor.visit(async |session: Session| {
        session.insert("n", 2).unwrap();
        session.log_in("ann").unwrap();
        *left.lock() = Some(session);
        std::future::pending::<StatusCode>().await
    }));
    assert!(poll!(&mut request).is_pending());
    drop(request);
    let session = left.lock().take().unwrap();
    assert_eq!(session.get::<u64>("n").unwrap(), Some(1));
    assert_eq!(session.user(), None);
    assert_eq!(
        session.log_in("bob").unwrap_err().kind(),
        ErrorKind::TooLate
    );
    session.insert("m", 3).unwrap();
    // Once: of what was pending when the request was dropped.
    assert_eq!(session.save().await.unwrap_err().kind(), ErrorKind::TooLate);
    session.save().await.unwrap();
    assert_eq!(contents(&store).await, r#"anonymous {"m":3,"n":1}"#);
}

#[tokio::test]
async fn c2_a_save_under_way_when_the_request_is_dropped_is_a_save() {
    let (store, visitor) = visitor().await;
    let left = Mutex::new(None);
    let mut request = Box::pin(visitor.visit(async |session: Session| {
        session.insert("n", 2).unwrap();
        *left.lock() = Some(session);
        std::future::pending::<StatusCode>().await
    }));
    assert!(poll!(&mut request).is_pending());
    let session = left.lock().take().unwrap();
    store.plan(|_| Fault::Yield);
    let mut saving = Box::pin(session.save());
    assert!(poll!(&mut saving).is_pending());
    drop(request);
    saving.await.unwrap();
    session.insert("m", 3).unwrap();
    session.save().await.unwrap();
    assert_eq!(contents(&store).await, r#"anonymous {"m":3,"n":2}"#);
}

#[tokio::test]
async fn c6_changes_made_after_a_dropped_request_and_never_saved_are_reported_once() {
    let (store, visitor) = visitor().await;
    let left = Mutex::new(None);
    let mut request = Box::pin(visitor.visit(async |session: Session| {
        session.insert("n", 2).unwrap();
        *left.lock() = Some(session);
        std::future::pending::<StatusCode>().await
    }));
    assert!(poll!(&mut request).is_pending());
    let log = Log::capture();
    drop(request);
    let session = left.lock().take().unwrap();
    session.insert("m", 3).unwrap();
    drop(session);
    assert_eq!(log.count(tracing::Level::WARN, "never saved"), 1);
    assert_eq!(contents(&store).await, r#"anonymous {"n":1}"#);
}
