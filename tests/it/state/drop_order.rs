//! What the closure of an update keeps is let go with no lock held: it may use the session.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use cloakroom::{Error, ErrorKind, Session, SessionLayer};
use http::StatusCode;

use crate::support::{FaultyStore, Visitor};

/// Looks at the session when it goes.
struct Farewell(Session);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.len();
    }
}

fn count(session: &Session) -> Result<u64, Error> {
    let farewell = Farewell(session.clone());
    session.update("n", move |n: Option<u64>| {
        let _kept = &farewell;
        n.unwrap_or(0) + 1
    })
}

fn grow_too_large(session: &Session) {
    let farewell = Farewell(session.clone());
    let grow = move |_: Option<String>| {
        let _kept = &farewell;
        "x".repeat(1 << 20)
    };
    let error = session.update("large", grow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

/// While an update looks at the first one, that is replaced.
fn insert_in_an_update(session: &Session) {
    let (inner, has_run) = (session.clone(), AtomicBool::new(false));
    let sum = session.update("n", move |n: Option<u64>| {
        if !has_run.swap(true, Ordering::Relaxed) {
            inner.insert("n", 5).unwrap();
        }
        n.unwrap_or(0) + 1
    });
    assert_eq!(sum.unwrap(), 6);
}

/// What may become of an update.
const ENDS: [&str; 10] = [
    "commit",
    "save",
    "cycle",
    "another user",
    "insert",
    "insert in an update",
    "clear",
    "destroy",
    "too large",
    "ended elsewhere",
];

async fn let_go(end: &str) {
    let visitor = Visitor::new(&SessionLayer::new(FaultyStore::in_memory()));
    visitor
        .visit(async |session: Session| session.log_in("ann"))
        .await;
    let other = visitor.twin();
    let reply = visitor.visit(async |session: Session| {
        count(&session)?;
        match end {
            "save" => session.save().await?,
            "cycle" => session.cycle_id()?,
            "another user" => session.log_in("bob")?,
            "insert" => session.insert("n", 5)?,
            "insert in an update" => insert_in_an_update(&session),
            "clear" => session.clear(),
            "destroy" => session.destroy(),
            "too large" => grow_too_large(&session),
            "ended elsewhere" => {
                other
                    .visit(async |session: Session| session.destroy())
                    .await;
                session.reload().await.unwrap_err();
            }
            _ => {}
        }
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, StatusCode::OK, "{end}");
}

#[test]
fn m3_what_a_closure_keeps_may_use_the_session_when_it_is_dropped() {
    let waiting = ENDS.map(|end| {
        let (done, finished) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(let_go(end));
            done.send(()).unwrap();
        });
        (end, finished)
    });
    let fails = |(_, finished): &(&str, mpsc::Receiver<()>)| {
        finished.recv_timeout(Duration::from_secs(20)).is_err()
    };
    let failed: Vec<_> = waiting.into_iter().filter(fails).collect();
    let failed: Vec<_> = failed.into_iter().map(|(end, _)| end).collect();
    assert_eq!(failed, [""; 0], "these hang");
}
