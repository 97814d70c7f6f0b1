//! Sessions of another library that continue here: each becomes one session, whatever is lost or cancelled.

mod counting;
mod layers;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use cloakroom::{
    EventKind, Rejection, Session, SessionCookie, SessionLayer, SessionStore as _, StoreError,
    import::{Import, OldSession, OldToken},
    store::{Query, StoreErrorKind},
};
use futures::{future::join_all, poll};
use http::StatusCode;
use parking_lot::Mutex;
use tracing::Level;

use crate::support::{
    Fault, FaultyStore, FixedClock, Log, Recorder, Reply, StoreCall, Visitor,
    acts::{
        claim, cycle, destroy, healthy_node_of, holding, id, insert, live, log_in, on, seen,
        until_undone,
    },
    fixture::{DAY, HOUR, MILLISECOND, MINUTE, SECOND},
};

/// What the other library keeps under each cookie value.
#[derive(Clone, Default)]
struct Other(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    sessions: BTreeMap<String, OldSession>,
    keeps: bool,
    is_down: bool,
    loads: usize,
    verified: usize,
    /// `None`: 30 days after the clock's start.
    until: Option<SystemTime>,
}

/// The value of Ann's old cookie.
const ANN: &str = "secret-of-ann";

impl Other {
    /// With one session, of Ann.
    fn of_ann(alter: impl FnOnce(OldSession) -> OldSession) -> Self {
        let ann = OldSession::new().user("ann").value("n", 1).unwrap();
        let ann = ann.value("voucher", 7).unwrap();
        let other = Self::default();
        other.0.lock().sessions.insert(ANN.to_owned(), alter(ann));
        other
    }

    fn has(&self, value: &str) -> bool {
        self.0.lock().sessions.contains_key(value)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.0.lock().is_down {
            return Err(StoreError::new(StoreErrorKind::Corrupt, "as planned"));
        }
        Ok(())
    }
}

fn key(token: &OldToken) -> String {
    String::from_utf8(token.as_bytes().to_vec()).unwrap()
}

impl Import for Other {
    fn cookie_name(&self) -> &str {
        "old"
    }

    fn until(&self) -> SystemTime {
        let until = self.0.lock().until;
        until.unwrap_or(SystemTime::from(FixedClock::START) + 30 * DAY)
    }

    fn keeps(&self) -> bool {
        self.0.lock().keeps
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        self.0.lock().verified += 1;
        value
            .starts_with("secret-of-")
            .then(|| OldToken::new(value))
    }

    async fn load(&self, token: &OldToken) -> Result<Option<OldSession>, StoreError> {
        tokio::task::yield_now().await;
        self.check()?;
        let mut shelf = self.0.lock();
        shelf.loads += 1;
        Ok(shelf.sessions.get(&key(token)).cloned())
    }

    async fn delete(&self, token: &OldToken) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.check()?;
        self.0.lock().sessions.remove(&key(token));
        Ok(())
    }
}

struct House {
    store: FaultyStore,
    clock: FixedClock,
    other: Other,
    recorder: Recorder,
    layer: SessionLayer,
}

impl House {
    fn new(other: Other) -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let recorder = Recorder::default();
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .on_event(recorder.clone())
            .import(other.clone());
        Self {
            store,
            clock,
            other,
            recorder,
            layer,
        }
    }

    fn of_ann() -> Self {
        Self::new(Other::of_ann(|ann| ann))
    }

    /// A visitor who has this old cookie and nothing else.
    fn visitor(&self, value: &str) -> Visitor {
        let visitor = Visitor::new(&self.layer);
        visitor.set_cookie(Some(format!("old={value}")));
        visitor
    }

    fn ann(&self) -> Visitor {
        self.visitor(ANN)
    }

    async fn sessions(&self) -> usize {
        live(&self.layer.sessions(), None).await.len()
    }
}

const IMPORTED: &str = r#"ann{"n": 1, "voucher": 7}"#;

#[tokio::test]
async fn i1_a_visitor_with_the_old_cookie_has_the_session_that_they_had() {
    let house = House::of_ann();
    let visitor = house.ann();
    assert_eq!(seen(&visitor).await, IMPORTED);
    assert!(visitor.cookie().unwrap().starts_with("__Host-id="));
    assert!(!house.other.has(ANN));
    assert_eq!(seen(&visitor).await, IMPORTED);
    assert_eq!(house.recorder.kinds(), [EventKind::Imported]);
    let stats = house.layer.sessions().stats();
    assert_eq!((stats.imported, stats.created, stats.live), (1, 0, 1));
    let reply = visitor.visit(async |session: Session| {
        assert_eq!(session.authenticated_at(), None);
        assert_eq!(session.user().as_deref(), Some("ann"));
    });
    assert_eq!(reply.await.status, StatusCode::OK);
}

#[tokio::test]
async fn i1_an_old_cookie_that_opens_nothing_is_an_anonymous_visitor() {
    let house = House::of_ann();
    for value in ["secret-of-bob", "forged"] {
        let visitor = house.visitor(value);
        assert_eq!(seen(&visitor).await, "none");
        assert_eq!(insert(&visitor, "n", 2).await.status, StatusCode::OK);
        assert_eq!(seen(&visitor).await, r#"{"n": 2}"#);
    }
    let rejections = house.recorder.rejections();
    // Two requests of each visitor had no session.
    let kinds = [Rejection::NotImported, Rejection::NotVerified].map(|why| [(None, why); 2]);
    assert_eq!(rejections, kinds.concat());
    assert!(house.other.has(ANN));
}

#[tokio::test]
async fn i1_an_old_cookie_that_does_not_verify_is_logged_and_asks_no_store() {
    let log = Log::capture();
    let house = House::of_ann();
    let visitor = house.visitor("forged");
    assert_eq!(seen(&visitor).await, "none");
    assert_eq!(house.other.0.lock().loads, 0);
    assert_eq!(house.store.calls(), []);
    let line = "a session cookie of the other library is not accepted";
    assert_eq!(log.count(Level::WARN, line), 1);
    assert!(!log.text().contains("forged"));
    // Beside a session of the layer's own, it says nothing about the import.
    let visitor = house.visitor("forged");
    insert(&visitor, "n", 1).await;
    seen(&visitor).await;
    let rejections = house.recorder.rejections();
    assert_eq!(rejections, vec![(None, Rejection::NotVerified); 2]);
}

#[tokio::test]
async fn i1_a_token_of_the_layer_under_the_old_name_is_none_of_the_other_library() {
    let house = House::of_ann();
    let layer = house.layer.clone();
    let layer = layer.cookie(SessionCookie::new("old").insecure());
    let visitor = Visitor::new(&layer);
    insert(&visitor, "n", 1).await;
    house.clock.advance(2 * DAY);
    let cookie = visitor.cookie();
    seen(&visitor).await;
    assert!(cookie.is_some());
    let kinds: Vec<_> = house
        .recorder
        .rejections()
        .iter()
        .map(|(_, why)| *why)
        .collect();
    assert_eq!(kinds, [Rejection::Expired]);
}

#[tokio::test]
async fn i1_only_so_many_old_cookies_of_a_request_are_verified() {
    let house = House::of_ann();
    let visitor = Visitor::new(&house.layer);
    let many: Vec<_> = (0..1000)
        .map(|place| format!("old=forged{place}"))
        .collect();
    visitor.set_cookie(Some(many.join("; ")));
    seen(&visitor).await;
    assert!(house.other.0.lock().verified < 100);
}

#[tokio::test]
async fn a_cookie_of_the_layer_that_replaces_the_old_one_is_warned_of_if_sessions_are_kept() {
    let line = "the layer's cookie replaces the cookie of the other library";
    for (name, keeps, count) in [("old", true, 1), ("old", false, 0), ("id", true, 0)] {
        let log = Log::capture();
        let other = Other::of_ann(|ann| ann);
        other.0.lock().keeps = keeps;
        let house = House::new(other);
        let layer = house.layer.cookie(SessionCookie::new(name).insecure());
        seen(&Visitor::new(&layer)).await;
        assert_eq!(log.count(Level::WARN, line), count, "{name} {keeps}");
    }
}

#[tokio::test]
async fn i2_an_old_session_becomes_one_session_whatever_requests_come_at_once() {
    let house = House::of_ann();
    house.store.plan(|_| Fault::Yield);
    let visitors: Vec<_> = (0..8).map(|_| house.ann()).collect();
    let requests = visitors.iter().map(seen);
    for seen in join_all(requests).await {
        assert_eq!(seen, IMPORTED);
    }
    let ids: Vec<_> = visitors.iter().map(id).collect();
    assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
    assert_eq!(house.sessions().await, 1);
    let mut given = 0;
    for visitor in &visitors {
        given += usize::from(claim(visitor, "voucher").await.is_some());
    }
    assert_eq!(given, 1);
    assert_eq!(house.recorder.kinds()[0], EventKind::Imported);
}

#[tokio::test]
async fn i2_the_old_cookie_leads_to_the_same_session_until_a_minute_after_the_new_one_came_back() {
    let house = House::of_ann();
    let first = house.ann();
    assert_eq!(seen(&first).await, IMPORTED);
    house.clock.advance(30 * MINUTE);
    // The response was lost.
    let second = house.ann();
    assert_eq!(seen(&second).await, IMPORTED);
    assert_eq!(id(&first), id(&second));
    assert_eq!(seen(&first).await, IMPORTED);
    house.clock.advance(MINUTE - MILLISECOND);
    assert_eq!(seen(&house.ann()).await, IMPORTED);
    house.clock.advance(MILLISECOND);
    assert_eq!(seen(&house.ann()).await, "none");
    // Whoever copied the old cookie does not end the session.
    assert_eq!(seen(&second).await, IMPORTED);
    assert_eq!(house.sessions().await, 1);
}

#[tokio::test]
async fn i2_more_requests_than_secrets_have_the_session_without_a_cookie() {
    let house = House::of_ann();
    let visitors: Vec<_> = (0..10).map(|_| house.ann()).collect();
    for visitor in &visitors {
        assert_eq!(seen(visitor).await, IMPORTED);
    }
    let has_token = |visitor: &&Visitor| visitor.cookie().unwrap().starts_with("__Host-id=");
    assert_eq!(visitors.iter().filter(has_token).count(), 8);
    assert_eq!(seen(&visitors[0]).await, IMPORTED);
    assert_eq!(house.sessions().await, 1);
}

#[tokio::test]
async fn i3_what_ended_or_moved_is_not_imported_again() {
    type Act = fn(&Visitor) -> futures::future::LocalBoxFuture<'_, Reply>;
    let acts: [Act; 4] = [
        |visitor| Box::pin(destroy(visitor)),
        |visitor| Box::pin(cycle(visitor)),
        |visitor| Box::pin(log_in(visitor, "bob")),
        |visitor| Box::pin(log_in(visitor, "ann")),
    ];
    for act in acts {
        for waits in [SECOND, HOUR, 20 * DAY] {
            let house = House::of_ann();
            house.other.0.lock().keeps = true;
            let visitor = house.ann();
            assert_eq!(seen(&visitor).await, IMPORTED);
            assert!(house.other.has(ANN));
            assert_eq!(act(&visitor).await.status, StatusCode::OK);
            let sessions = house.sessions().await;
            house.clock.advance(waits);
            house.layer.sessions().reap().await.unwrap();
            assert_eq!(seen(&house.ann()).await, "none");
            assert!(house.sessions().await <= sessions);
        }
    }
}

#[tokio::test]
async fn i3_an_operator_ends_an_imported_session_for_good() {
    let house = House::of_ann();
    house.other.0.lock().keeps = true;
    let visitor = house.ann();
    assert_eq!(seen(&visitor).await, IMPORTED);
    assert_eq!(house.layer.sessions().revoke_user("ann").await.unwrap(), 1);
    assert_eq!(seen(&visitor).await, "none");
    assert_eq!(seen(&house.ann()).await, "none");
}

#[tokio::test]
async fn i3_an_old_session_that_lives_on_in_the_other_library_is_not_imported_again() {
    let ends = SystemTime::from(FixedClock::START) + HOUR;
    let house = House::new(Other::of_ann(|ann| ann.expires_at(ends)));
    house.other.0.lock().keeps = true;
    let visitor = house.ann();
    assert_eq!(seen(&visitor).await, IMPORTED);
    assert_eq!(house.layer.sessions().revoke_user("ann").await.unwrap(), 1);
    // An old node answers a request, and extends the session there.
    for ann in house.other.0.lock().sessions.values_mut() {
        *ann = ann.clone().expires_at(ends + 2 * DAY);
    }
    for waits in [2 * HOUR, DAY] {
        house.clock.advance(waits);
        house.layer.sessions().reap().await.unwrap();
        assert_eq!(seen(&house.ann()).await, "none", "{waits:?}");
    }
}

const FAULTS: [Fault; 9] = [
    Fault::Refuse(StoreErrorKind::Unavailable),
    Fault::Fail(StoreErrorKind::Timeout),
    Fault::LoseReply(StoreErrorKind::Timeout),
    Fault::FailThenApply(StoreErrorKind::Timeout, Duration::from_millis(200)),
    Fault::Hang,
    Fault::HangThenApply(Duration::from_millis(200)),
    Fault::HangThenApply(MINUTE),
    Fault::DelayReply(MINUTE),
    Fault::Panic,
];

/// Whether the session can still be had, and is one.
async fn check(house: &House, what: &str) {
    house.store.heal();
    until_undone().await;
    assert_eq!(seen(&house.ann()).await, IMPORTED, "{what}");
    assert_eq!(seen(&house.ann()).await, IMPORTED, "{what}");
    assert_eq!(house.sessions().await, 1, "{what}");
    let imported = house.recorder.kinds().into_iter();
    let imported = imported.filter(|kind| *kind == EventKind::Imported);
    assert!(imported.count() <= 1, "{what}");
}

#[tokio::test(start_paused = true)]
async fn i2_whatever_store_call_fails_the_session_is_neither_lost_nor_doubled() {
    for fault in FAULTS {
        for keeps in [false, true] {
            for nth in 1.. {
                let house = House::of_ann();
                house.other.0.lock().keeps = keeps;
                let calls = Arc::new(AtomicUsize::new(0));
                let made = Arc::clone(&calls);
                house.store.plan(
                    move |_| match made.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                        true => fault,
                        false => Fault::Yield,
                    },
                );
                let visitor = house.ann();
                let reply = visitor
                    .visit(async |session: Session| session.user().unwrap_or_default())
                    .await;
                let what = format!("{fault:?} {keeps} {nth} {}", reply.status);
                let is_done = calls.load(Ordering::Relaxed) < nth;
                match reply.status {
                    StatusCode::OK => assert_eq!(reply.body, "ann", "{what}"),
                    status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{what}"),
                }
                check(&house, &what).await;
                if is_done {
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i2_a_request_that_another_import_overtakes_anywhere_has_the_session() {
    for polls in 0.. {
        let house = House::of_ann();
        house.store.plan(|_| Fault::Yield);
        let slow = house.ann();
        let mut request = Box::pin(seen(&slow));
        let mut is_answered = false;
        for _ in 0..polls {
            if let Poll::Ready(seen) = poll!(&mut request) {
                assert_eq!(seen, IMPORTED);
                is_answered = true;
                break;
            }
        }
        assert_eq!(seen(&house.ann()).await, IMPORTED, "after {polls} polls");
        if is_answered {
            break;
        }
        assert_eq!(request.await, IMPORTED, "overtaken after {polls} polls");
        assert_eq!(house.sessions().await, 1, "overtaken after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn i2_wherever_a_request_is_cancelled_the_session_is_neither_lost_nor_doubled() {
    for polls in 0.. {
        let house = House::of_ann();
        house.store.plan(|_| Fault::Yield);
        let visitor = house.ann();
        let mut is_answered = false;
        {
            let mut request = Box::pin(seen(&visitor));
            for _ in 0..polls {
                if let Poll::Ready(seen) = poll!(&mut request) {
                    assert_eq!(seen, IMPORTED);
                    is_answered = true;
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        check(&house, &format!("after {polls} polls")).await;
        if is_answered {
            assert!(polls > 3);
            return;
        }
    }
}

#[tokio::test]
async fn i4_a_log_out_and_a_log_in_delete_the_old_session_first() {
    for keeps in [false, true] {
        for logs_in in [false, true] {
            let house = House::of_ann();
            house.other.0.lock().keeps = keeps;
            let visitor = holding(&house.layer, [("n", 5)]).await;
            log_in(&visitor, "bob").await;
            let cookie = visitor.cookie().unwrap();
            let both = || visitor.set_cookie(Some(format!("old={ANN}; {cookie}")));
            both();
            house.other.0.lock().is_down = true;
            let act = async |visitor: &Visitor| match logs_in {
                true => log_in(visitor, "carl").await,
                false => destroy(visitor).await,
            };
            assert_eq!(act(&visitor).await.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(house.sessions().await, 1);
            house.other.0.lock().is_down = false;
            assert!(house.other.has(ANN));
            both();
            assert_eq!(act(&visitor).await.status, StatusCode::OK);
            assert!(!house.other.has(ANN), "{keeps} {logs_in}");
        }
    }
}

#[tokio::test]
async fn i4_a_visitor_without_a_session_of_their_own_logs_out_of_the_old_one() {
    let house = House::of_ann();
    house.other.0.lock().keeps = true;
    let visitor = house.ann();
    assert_eq!(destroy(&visitor).await.status, StatusCode::OK);
    assert!(!house.other.has(ANN));
    assert_eq!(house.sessions().await, 0);
    assert_eq!(seen(&house.ann()).await, "none");
}

#[tokio::test]
async fn i5_a_failing_other_store_is_503_and_never_an_empty_session() {
    let house = House::of_ann();
    house.other.0.lock().is_down = true;
    let visitor = house.ann();
    let reply = visitor.visit(async |_: Session| ()).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies().len(), 0);
    assert_eq!(house.sessions().await, 0);
    house.other.0.lock().is_down = false;
    assert_eq!(seen(&visitor).await, IMPORTED);
}

#[tokio::test]
async fn i6_the_old_sessions_remaining_life_is_a_cap() {
    let start = SystemTime::from(FixedClock::START);
    let other = Other::of_ann(|ann| ann.expires_at(start + HOUR));
    let house = House::new(other);
    let visitor = house.ann();
    assert_eq!(seen(&visitor).await, IMPORTED);
    house.clock.advance(30 * MINUTE);
    assert_eq!(seen(&visitor).await, IMPORTED);
    house.clock.advance(30 * MINUTE - MILLISECOND);
    assert_eq!(seen(&visitor).await, IMPORTED);
    // A log-in begins a life of its own.
    let logged_in = visitor.twin();
    assert_eq!(cycle(&visitor).await.status, StatusCode::OK);
    assert_eq!(log_in(&logged_in, "ann").await.status, StatusCode::OK);
    house.clock.advance(MILLISECOND);
    assert_eq!(seen(&visitor).await, "none");
    assert!(seen(&logged_in).await.starts_with("ann"));
}

#[tokio::test]
async fn i6_the_layers_timeouts_hold_and_the_log_in_time_is_unknown() {
    let house = House::new(Other::of_ann(|ann| {
        ann.expires_at(SystemTime::from(FixedClock::START) + 20 * DAY)
    }));
    let visitor = house.ann();
    assert_eq!(seen(&visitor).await, IMPORTED);
    // The absolute timeout counts from the import.
    for _ in 0..47 {
        house.clock.advance(30 * MINUTE);
        assert_eq!(seen(&visitor).await, IMPORTED);
    }
    house.clock.advance(30 * MINUTE);
    assert_eq!(seen(&visitor).await, "none");
}

#[tokio::test]
async fn i6_persistence_is_taken_over() {
    for persistent in [true, false] {
        let house = House::new(Other::of_ann(|ann| ann.persistent(persistent)));
        let reply = house.ann().visit(async |_: Session| ()).await;
        let [cookie] = &reply.set_cookies()[..] else {
            panic!("one cookie")
        };
        assert_eq!(cookie.contains("Max-Age"), persistent);
    }
}

#[tokio::test]
async fn i7_an_anonymous_session_gives_way_to_an_old_one_of_a_user() {
    let house = House::of_ann();
    let anonymous = OldSession::new().value("n", 3).unwrap();
    let bob = "secret-of-bob".to_owned();
    house.other.0.lock().sessions.insert(bob, anonymous);
    for (value, expected) in [(ANN, IMPORTED), ("secret-of-bob", r#"{"cart": 2}"#)] {
        let visitor = holding(&house.layer, [("cart", 2)]).await;
        let own = visitor.cookie().unwrap();
        visitor.set_cookie(Some(format!("{own}; old={value}")));
        assert_eq!(seen(&visitor).await, expected, "{value}");
    }
    assert!(house.other.has("secret-of-bob"));
    // A session of a user is not asked for another.
    let visitor = holding(&house.layer, [("cart", 2)]).await;
    log_in(&visitor, "carl").await;
    let loads = house.other.0.lock().loads;
    let own = visitor.cookie().unwrap();
    visitor.set_cookie(Some(format!("{own}; old=secret-of-bob")));
    assert_eq!(seen(&visitor).await, r#"carl{"cart": 2}"#);
    assert_eq!(house.other.0.lock().loads, loads);
}

#[tokio::test]
async fn i7_beside_the_session_that_it_became_an_old_cookie_costs_one_call_and_with_a_user_none() {
    let house = House::of_ann();
    let anonymous = OldSession::new().value("n", 3).unwrap();
    let bob = "secret-of-bob".to_owned();
    house.other.0.lock().sessions.insert(bob, anonymous);
    use StoreCall::{Load, LoadLatest};
    for (value, expected, calls) in [
        ("secret-of-bob", r#"{"n": 3}"#, &[Load, LoadLatest][..]),
        (ANN, IMPORTED, &[Load]),
    ] {
        let visitor = house.visitor(value);
        assert_eq!(seen(&visitor).await, expected);
        let own = visitor.cookie().unwrap();
        visitor.set_cookie(Some(format!("{own}; old={value}")));
        // The first request writes: the token that it presents is not pending any more.
        assert_eq!(seen(&visitor).await, expected);
        house.store.calls();
        let loads = house.other.0.lock().loads;
        assert_eq!(seen(&visitor).await, expected);
        assert_eq!(house.store.calls(), calls, "{value}");
        assert_eq!(house.other.0.lock().loads, loads);
    }
}

#[tokio::test]
async fn i7_of_several_old_cookies_none_is_imported() {
    let house = House::of_ann();
    let visitor = house.ann();
    visitor.set_cookie(Some(format!("old={ANN}; old=secret-of-bob")));
    assert_eq!(seen(&visitor).await, "none");
    visitor.set_cookie(Some(format!("old={ANN}; old=forged; old={ANN}")));
    assert_eq!(seen(&visitor).await, IMPORTED);
}

#[tokio::test]
async fn i8_after_its_end_nothing_is_imported_and_the_old_cookie_is_not_looked_at() {
    let house = House::of_ann();
    house.clock.advance(30 * DAY);
    house.other.0.lock().is_down = true;
    assert_eq!(seen(&house.ann()).await, "none");
    assert_eq!(destroy(&house.ann()).await.status, StatusCode::OK);
    assert!(house.other.has(ANN));
}

#[tokio::test]
async fn i8_who_does_not_use_the_session_costs_no_call() {
    let house = House::of_ann();
    house.store.calls();
    let visitor = house.ann();
    let answer = visitor.ask(async |_| axum::response::Response::default());
    assert_eq!(answer.await.status, StatusCode::OK);
    assert_eq!(house.store.calls(), []);
    assert_eq!(house.other.0.lock().loads, 0);
    // An import takes three calls: the ledger, and two creations.
    assert_eq!(seen(&house.ann()).await, IMPORTED);
    use StoreCall::{Create, LoadLatest};
    assert_eq!(house.store.calls(), [LoadLatest, Create, Create]);
}

#[tokio::test]
async fn i9_the_ledger_entry_is_not_listed_and_does_not_reveal_the_old_token() {
    let house = House::of_ann();
    assert_eq!(seen(&house.ann()).await, IMPORTED);
    assert_eq!(house.sessions().await, 1);
    assert_eq!(house.store.inner().len(), 1);
    let all = Query::default();
    let page = house.store.inner().list(&all, None, 100).await.unwrap();
    assert_eq!(page.sessions.len(), 2);
    for listed in &page.sessions {
        let bytes = listed.record.to_bytes();
        let text = format!("{} {}", listed.id, String::from_utf8_lossy(&bytes));
        assert!(!text.contains("secret-of"), "{text}");
        let read = cloakroom::Record::from_bytes(&bytes).unwrap();
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.authenticated_at(), None);
    }
    let shown = format!("{:?}", house.recorder.events());
    assert!(!shown.contains("secret-of"), "{shown}");
}

#[tokio::test]
async fn i9_another_node_finds_the_imported_session() {
    let house = House::of_ann();
    let visitor = house.ann();
    assert_eq!(seen(&visitor).await, IMPORTED);
    let node = healthy_node_of(house.store.inner(), &house.clock);
    assert_eq!(seen(&on(&node, &visitor)).await, IMPORTED);
}
