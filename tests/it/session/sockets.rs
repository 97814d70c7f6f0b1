//! Sockets and streams: waiting for the session's end, and keeping it alive meanwhile.

use std::{pin::Pin, sync::Arc, time::Duration};

use cloakroom::{
    EndReason, ErrorKind, MemoryStore, Session, SessionEnd, SessionLayer, store::StoreErrorKind,
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::{Instant, timeout};

use crate::support::{
    Client, Fault, FaultyStore, FixedClock, StoreCall,
    fixture::{HOUR, MINUTE, SECOND},
};

struct Site {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
}

impl Site {
    fn new() -> Self {
        Self::with(|layer| layer)
    }

    fn with(set: impl Fn(SessionLayer) -> SessionLayer) -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let layer = set(SessionLayer::new(store.clone()).clock(clock.clone()));
        Self {
            store,
            clock,
            layer,
        }
    }

    /// Another process, with the same store.
    fn other_node(&self) -> SessionLayer {
        SessionLayer::new(self.store.clone()).clock(self.clock.clone())
    }

    /// Somebody who has a session.
    async fn client(&self) -> Client {
        let client = Client::new(self.layer.clone());
        client
            .visit(async |session| session.insert("n", 1).unwrap())
            .await;
        client
    }

    /// Both clocks go on, second by second.
    async fn pass(&self, duration: Duration) {
        for _ in 0..duration.as_secs() {
            self.clock.advance(SECOND);
            tokio::time::sleep(SECOND).await;
        }
    }
}

/// As the client's socket has it: the request is long over.
async fn session_of(client: &Client) -> Session {
    client.visit(async |session| session).await
}

/// The same client's other tab, on whatever node.
async fn elsewhere(layer: &SessionLayer, client: &Client, act: impl AsyncFnOnce(Session)) {
    let tab = Client::with_cookie(layer.clone(), client.cookie().unwrap());
    tab.visit(act).await;
}

/// Waits from now on.
fn waiting(session: &Session) -> BoxFuture<'static, SessionEnd> {
    let mut ended = session.ended().boxed();
    assert_eq!((&mut ended).now_or_never(), None);
    ended
}

async fn is_open(ended: &mut Pin<Box<dyn Future<Output = SessionEnd> + Send>>) -> bool {
    timeout(MINUTE, ended).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn r4_what_another_tab_does_to_the_session_closes_the_socket_at_once() {
    let acts: [(fn(Session), SessionEnd); 4] = [
        (
            |session| session.destroy(),
            SessionEnd::Ended(EndReason::Destroyed),
        ),
        (|session| session.cycle_id().unwrap(), SessionEnd::Moved),
        (|session| session.log_in("ann").unwrap(), SessionEnd::Moved),
        (
            |session| {
                session.destroy();
                session.insert("n", 2).unwrap();
            },
            SessionEnd::Ended(EndReason::Destroyed),
        ),
    ];
    for (act, end) in acts {
        let site = Site::new();
        let client = site.client().await;
        let ended = waiting(&session_of(&client).await);
        let before = Instant::now();
        elsewhere(&site.layer, &client, async |session| act(session)).await;
        assert_eq!(ended.now_or_never(), Some(end));
        assert_eq!(Instant::now(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn r4_what_the_operator_revokes_closes_the_socket_at_once() {
    let site = Site::new();
    let client = site.client().await;
    let session = session_of(&client).await;
    let (one, other) = (waiting(&session), waiting(&session));
    let id = session.id().unwrap();
    assert!(site.layer.sessions().revoke(id).await.unwrap());
    let revoked = Some(SessionEnd::Ended(EndReason::Revoked));
    assert_eq!(one.now_or_never(), revoked);
    assert_eq!(other.now_or_never(), revoked);
}

#[tokio::test(start_paused = true)]
async fn r4_the_handlers_own_destroy_closes_its_socket_when_it_is_stored() {
    let site = Site::new();
    let client = site.client().await;
    let session = session_of(&client).await;
    let ended = waiting(&session);
    session.destroy();
    session.save().await.unwrap();
    let destroyed = SessionEnd::Ended(EndReason::Destroyed);
    assert_eq!(ended.now_or_never(), Some(destroyed));
    assert_eq!(session.ended().now_or_never(), Some(destroyed));
}

#[tokio::test(start_paused = true)]
async fn r4_a_session_evicted_for_room_closes_its_socket_at_once() {
    let store = MemoryStore::builder().max_sessions(1).build();
    let layer = SessionLayer::new(store);
    let arrive = async || {
        let client = Client::new(layer.clone());
        client
            .visit(async |session| session.insert("n", 1).unwrap())
            .await;
        client
    };
    let first = arrive().await;
    let ended = waiting(&session_of(&first).await);
    arrive().await;
    let evicted = SessionEnd::Ended(EndReason::Evicted);
    assert_eq!(ended.now_or_never(), Some(evicted));
}

#[tokio::test(start_paused = true)]
async fn r4_what_another_node_ends_is_found_at_the_interval() {
    let acts: [(fn(Session), SessionEnd); 3] = [
        (|session| session.destroy(), SessionEnd::Gone),
        (|session| session.cycle_id().unwrap(), SessionEnd::Moved),
        (|session| session.log_in("ann").unwrap(), SessionEnd::Moved),
    ];
    for (act, end) in acts {
        let site = Site::with(|layer| layer.check_ended_every(10 * SECOND));
        let client = site.client().await;
        let ended = waiting(&session_of(&client).await);
        tokio::time::sleep(3 * SECOND).await;
        let other_node = site.other_node();
        elsewhere(&other_node, &client, async |session| act(session)).await;
        let before = Instant::now();
        assert_eq!(ended.await, end);
        assert_eq!(before.elapsed().as_secs(), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn r4_what_a_call_of_this_process_finds_out_closes_the_socket_at_once() {
    type Call = fn(Session) -> BoxFuture<'static, Result<(), cloakroom::Error>>;
    let calls: [Call; 4] = [
        |session| async move { session.touch().await }.boxed(),
        |session| async move { session.reload().await }.boxed(),
        |session| async move { session.claim::<u8>("n").await.map(drop) }.boxed(),
        |session| {
            session.insert("n", 2).unwrap();
            async move { session.save().await }.boxed()
        },
    ];
    for (place, call) in calls.into_iter().enumerate() {
        for (act, end) in [
            (
                (|session| session.destroy()) as fn(Session),
                SessionEnd::Gone,
            ),
            (|session| session.cycle_id().unwrap(), SessionEnd::Moved),
        ] {
            let site = Site::new();
            let client = site.client().await;
            let session = session_of(&client).await;
            let ended = waiting(&session);
            elsewhere(&site.other_node(), &client, async |session| act(session)).await;
            let before = Instant::now();
            let _ = call(session).await;
            assert_eq!(ended.await, end, "{place}");
            assert!(before.elapsed() < SECOND, "{place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_session_that_ended_before_anybody_waited_is_found_at_once() {
    let site = Site::new();
    let client = site.client().await;
    let session = session_of(&client).await;
    let other_node = site.other_node();
    elsewhere(&other_node, &client, async |session| session.destroy()).await;
    assert_eq!(session.ended().now_or_never(), Some(SessionEnd::Gone));
}

#[tokio::test(start_paused = true)]
async fn r4_an_idle_session_closes_its_socket_at_its_deadline() {
    let site = Site::with(|layer| layer.check_ended_every(HOUR));
    let client = site.client().await;
    let mut ended = waiting(&session_of(&client).await);
    site.pass(HOUR - SECOND).await;
    assert_eq!((&mut ended).now_or_never(), None);
    site.pass(2 * SECOND).await;
    let idle = SessionEnd::Ended(EndReason::Idle);
    assert_eq!(ended.now_or_never(), Some(idle));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_touches_keeps_its_session_until_the_absolute_limit() {
    let site = Site::with(|layer| layer.absolute_timeout(5 * HOUR));
    let client = site.client().await;
    let session = session_of(&client).await;
    let mut ended = waiting(&session);
    for n in 2..10 {
        site.pass(30 * MINUTE).await;
        session.touch().await.unwrap();
        session.insert("n", n).unwrap();
        session.save().await.unwrap();
    }
    assert_eq!((&mut ended).now_or_never(), None);
    let seen = client.visit(async |session| session.get::<u32>("n").unwrap());
    assert_eq!(seen.await, Some(9));
    site.pass(59 * MINUTE).await;
    session.touch().await.unwrap();
    assert_eq!((&mut ended).now_or_never(), None);
    site.pass(2 * MINUTE).await;
    let absolute = SessionEnd::Ended(EndReason::Absolute);
    assert_eq!(ended.now_or_never(), Some(absolute));
    assert_eq!(session.touch().await.unwrap_err().kind(), ErrorKind::Ended);
}

#[tokio::test(start_paused = true)]
async fn another_tabs_requests_keep_the_socket_open() {
    let site = Site::new();
    let client = site.client().await;
    let mut ended = waiting(&session_of(&client).await);
    for _ in 0..4 {
        site.pass(50 * MINUTE).await;
        session_of(&client).await;
    }
    assert_eq!((&mut ended).now_or_never(), None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_keeps_the_socket_open_until_it_says_so() {
    let site = Site::new();
    let client = site.client().await;
    let mut ended = waiting(&session_of(&client).await);
    // The waiting believes an hour to be over, the clock does not.
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!((&mut ended).now_or_never(), None);
    site.clock.advance(HOUR);
    assert_eq!(ended.await, SessionEnd::Ended(EndReason::Idle));
}

#[tokio::test(start_paused = true)]
async fn f1_a_store_that_fails_closes_no_socket() {
    for fault in [
        Fault::Fail(StoreErrorKind::Unavailable),
        Fault::Fail(StoreErrorKind::Corrupt),
        Fault::Hang,
        Fault::Panic,
    ] {
        let site = Site::new();
        let client = site.client().await;
        let mut ended = waiting(&session_of(&client).await);
        site.store.plan_for(StoreCall::LoadLatest, fault);
        for _ in 0..5 {
            assert!(is_open(&mut ended).await, "{fault:?}");
        }
        site.store.heal();
        assert!(is_open(&mut ended).await);
        let other_node = site.other_node();
        elsewhere(&other_node, &client, async |session| session.destroy()).await;
        assert_eq!(ended.await, SessionEnd::Gone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_stored_later_is_waited_for_then() {
    let site = Site::new();
    let client = Client::new(site.layer.clone());
    let (mut ended,) = client
        .visit(async |session: Session| {
            let ended = waiting(&session);
            session.insert("n", 1).unwrap();
            (ended,)
        })
        .await;
    assert!(is_open(&mut ended).await);
    elsewhere(&site.layer, &client, async |session| session.destroy()).await;
    let destroyed = SessionEnd::Ended(EndReason::Destroyed);
    assert_eq!(ended.now_or_never(), Some(destroyed));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_about_to_log_in_is_waited_for_under_its_new_id() {
    let site = Site::new();
    let client = site.client().await;
    let (mut ended,) = client
        .visit(async |session: Session| {
            session.log_in("ann").unwrap();
            (waiting(&session),)
        })
        .await;
    assert!(is_open(&mut ended).await);
    elsewhere(&site.layer, &client, async |session| session.destroy()).await;
    let destroyed = SessionEnd::Ended(EndReason::Destroyed);
    assert_eq!(ended.now_or_never(), Some(destroyed));
}

#[tokio::test(start_paused = true)]
async fn where_no_session_was_stored_there_is_no_end() {
    let site = Site::new();
    let mut early = Client::new(site.layer.clone())
        .visit(async |session: Session| waiting(&session))
        .await;
    let mut late = waiting(&session_of(&Client::new(site.layer.clone())).await);
    assert!(is_open(&mut early).await && is_open(&mut late).await);
    assert!(!site.store.calls().contains(&StoreCall::LoadLatest));
}

#[tokio::test(start_paused = true)]
async fn f5_who_waits_does_not_keep_the_layers_task_alive() {
    let site = Site::new();
    let client = site.client().await;
    let mut ended = waiting(&session_of(&client).await);
    let cookie = client.cookie().unwrap();
    let Site { store, clock, .. } = site;
    drop(client);
    drop(site.layer);
    store.calls();
    assert!(is_open(&mut ended).await);
    assert!(is_open(&mut ended).await);
    let calls = store.calls();
    assert!(calls.contains(&StoreCall::LoadLatest) && !calls.contains(&StoreCall::DeleteExpired));
    let other_node = SessionLayer::new(store).clock(clock);
    let tab = Client::with_cookie(other_node, cookie);
    tab.visit(async |session| session.destroy()).await;
    assert_eq!(ended.await, SessionEnd::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_tasks_that_wait_on_many_threads_are_woken() {
    let layer = SessionLayer::new(Arc::new(MemoryStore::default()));
    let mut sockets = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = Client::new(layer.clone());
        client
            .visit(async |session| session.insert("n", 1).unwrap())
            .await;
        let session = session_of(&client).await;
        sockets.extend((0..20).map(|_| tokio::spawn(session.ended())));
        clients.push(client);
    }
    for client in clients {
        client.visit(async |session| session.destroy()).await;
    }
    for socket in sockets {
        let end = socket.await.unwrap();
        // Who began to wait only after the end finds that it is gone.
        let destroyed = SessionEnd::Ended(EndReason::Destroyed);
        assert!(end == destroyed || end == SessionEnd::Gone, "{end:?}");
    }
}
