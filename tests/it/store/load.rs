//! Requests through the whole layer while its store suffers, and what must be true afterwards.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cloakroom::{Session, SessionLayer, SessionStore};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::support::Visitor;

/// How long one whole load, and one whole commit, may take.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// No request takes longer, on the slowest machine.
const HUNG: Duration = Duration::from_secs(20);

/// What has not happened by now never will.
const NEVER: Duration = Duration::from_secs(60);

const OWN: usize = 6;
const SHARED: usize = 4;

/// Visitors who each come again as soon as they are answered, until [`finish`](Self::finish).
pub(crate) struct Load {
    shared: Arc<Shared>,
    visitors: Vec<Visitor>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    layer: SessionLayer,
    answered: Semaphore,
    failed: Semaphore,
    is_over: AtomicBool,
    next: AtomicU64,
    /// By number: when it was answered 200.
    pushes: Mutex<HashMap<u64, Option<Instant>>>,
    destroyed: Mutex<Vec<(Visitor, Instant)>>,
}

impl Load {
    /// Some visitors with a session each, and some who share one.
    pub(crate) async fn on(store: impl SessionStore) -> Self {
        let layer = SessionLayer::new(store)
            .store_timeout(STORE_TIMEOUT)
            .max_data_bytes(16 << 20);
        let shared = Arc::new(Shared {
            answered: Semaphore::new(0),
            failed: Semaphore::new(0),
            is_over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            pushes: Mutex::default(),
            destroyed: Mutex::default(),
            layer,
        });
        let visitors: Vec<_> = (0..=OWN).map(|_| Visitor::new(&shared.layer)).collect();
        for visitor in &visitors {
            assert!(shared.push(visitor).await);
        }
        let twins = (0..SHARED).map(|_| visitors[OWN].twin());
        let comers = visitors[..OWN].iter().cloned().chain(twins);
        let tasks = comers
            .map(|visitor| {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { shared.come_and_go(&visitor).await })
            })
            .collect();
        Self {
            shared,
            visitors,
            tasks,
        }
    }

    /// Waits for so many more requests to be answered 200.
    pub(crate) async fn answered(&self, requests: u32) {
        wait(&self.shared.answered, requests).await;
    }

    /// Waits for so many more requests to be answered 503.
    pub(crate) async fn failed(&self, requests: u32) {
        wait(&self.shared.failed, requests).await;
    }

    /// Once the store is well again: what was answered 200 is there, once, and
    /// what was not is there once or not at all; what was destroyed is gone.
    pub(crate) async fn finish(self) {
        let taken_back = self.taken_back().await;
        assert_eq!((taken_back.updates, taken_back.ends), (vec![], vec![]));
    }

    /// The same where answers may be taken back: tells which were.
    pub(crate) async fn taken_back(self) -> TakenBack {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        let mut stored = HashSet::new();
        for visitor in &self.visitors {
            for number in pushed(visitor).await {
                assert!(stored.insert(number), "stored twice");
            }
        }
        let mut taken_back = TakenBack::default();
        for (number, answered) in std::mem::take(&mut *self.shared.pushes.lock()) {
            let is_stored = stored.remove(&number);
            taken_back.answers += usize::from(answered.is_some());
            taken_back.updates.extend(answered.filter(|_| !is_stored));
        }
        assert!(stored.is_empty());
        let destroyed = std::mem::take(&mut *self.shared.destroyed.lock());
        assert!(!destroyed.is_empty());
        taken_back.answers += destroyed.len();
        for (visitor, answered) in destroyed {
            let reply = visitor
                .visit(|session| async move { session.is_new().to_string() })
                .await;
            assert_eq!(reply.status, StatusCode::OK);
            if reply.body != "true" {
                taken_back.ends.push(answered);
            }
        }
        taken_back
    }
}

/// When those were answered 200 that the store has taken back.
#[derive(Default)]
pub(crate) struct TakenBack {
    /// Updates that are gone.
    pub(crate) updates: Vec<Instant>,
    /// Sessions that were destroyed, and are back.
    pub(crate) ends: Vec<Instant>,
    /// How many updates and destroyed sessions were answered 200 in all.
    pub(crate) answers: usize,
}

impl fmt::Display for TakenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (updates, ends) = (self.updates.len(), self.ends.len());
        let answers = self.answers;
        write!(
            f,
            "of {answers} answers, {updates} updates and {ends} ends were taken back"
        )
    }
}

impl Shared {
    async fn come_and_go(&self, visitor: &Visitor) {
        while !self.is_over.load(Ordering::SeqCst) {
            let is_answered = self.push(visitor).await;
            if is_answered {
                self.answered.add_permits(1);
                self.begin_and_destroy().await;
            } else {
                self.failed.add_permits(1);
            }
        }
    }

    /// One request that adds a number to the session's list; whether it was answered 200.
    async fn push(&self, visitor: &Visitor) -> bool {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let is_answered = ask(visitor, |session| {
            let push = move |pushed: Option<Vec<u64>>| {
                let mut pushed = pushed.unwrap_or_default();
                pushed.push(number);
                pushed
            };
            session.update("pushed", push).unwrap();
        });
        let is_answered = is_answered.await;
        let answered = is_answered.then(Instant::now);
        self.pushes.lock().insert(number, answered);
        is_answered
    }

    async fn begin_and_destroy(&self) {
        let visitor = Visitor::new(&self.layer);
        if !ask(&visitor, |session| session.insert("is", "here").unwrap()).await {
            return;
        }
        let thief = visitor.twin();
        if ask(&visitor, |session| session.destroy()).await {
            self.destroyed.lock().push((thief, Instant::now()));
        }
    }
}

async fn wait(requests: &Semaphore, more: u32) {
    requests.forget_permits(requests.available_permits());
    let waiting = tokio::time::timeout(NEVER, requests.acquire_many(more));
    let done = waiting.await.expect("requests are answered so again");
    done.unwrap().forget();
}

/// One request; whether it was answered 200. It must not hang.
async fn ask(visitor: &Visitor, act: impl FnOnce(Session)) -> bool {
    let visit = visitor.visit(|session| async move { act(session) });
    let reply = tokio::time::timeout(HUNG, visit).await;
    let status = reply.expect("a request hung").status;
    assert!(matches!(status.as_u16(), 200 | 503), "{status}");
    status == StatusCode::OK
}

async fn pushed(visitor: &Visitor) -> Vec<u64> {
    let read = |session: Session| async move {
        let pushed = session.get::<Vec<u64>>("pushed").unwrap();
        serde_json::to_string(&pushed.unwrap_or_default()).unwrap()
    };
    let reply = visitor.visit(read).await;
    assert_eq!(reply.status, StatusCode::OK);
    serde_json::from_str(&reply.body).unwrap()
}
