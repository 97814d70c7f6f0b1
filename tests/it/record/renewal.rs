//! `renew_every`: the secret is replaced in place, and a copied cookie is soon worthless.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cloakroom::{
    EndReason, Event, EventKind, MemoryStore, Rejection, Session, SessionCookie, SessionHandle,
    SessionId, SessionLayer, store::StoreErrorKind,
};
use http::{Request, Response, StatusCode, header};
use parking_lot::Mutex;
use proptest::prelude::*;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Client, Fault, FaultyStore, FixedClock, Log, StoreCall, Visitor, token};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

type Events = Arc<Mutex<Vec<EventKind>>>;

struct Site {
    store: FaultyStore,
    clock: FixedClock,
    layer: SessionLayer,
    events: Events,
}

impl Site {
    fn new() -> Self {
        Self::with(|layer| layer)
    }

    /// Renewed every hour, and idle for a day.
    fn with(set: impl Fn(SessionLayer) -> SessionLayer) -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let events = Events::default();
        let listener = Arc::clone(&events);
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .idle_timeout(24 * HOUR)
            .absolute_timeout(None)
            .renew_every(HOUR)
            .on_event(move |event: &Event| listener.lock().push(event.kind().clone()));
        Self {
            store,
            clock,
            layer: set(layer),
            events,
        }
    }

    /// Somebody who has a session with n = 1.
    async fn visitor(&self) -> Visitor {
        let visitor = Visitor::new(&self.layer);
        let reply = visitor.visit(async |session: Session| session.insert("n", 1));
        assert_eq!(reply.await.set_cookies().len(), 1);
        visitor
    }

    fn ended(&self) -> Vec<EndReason> {
        let events = self.events.lock();
        let reason = |kind: &EventKind| match kind {
            EventKind::Ended { reason } => Some(*reason),
            _ => None,
        };
        events.iter().filter_map(reason).collect()
    }
}

/// What the session has for n, and whether the response sets a cookie.
async fn look(visitor: &Visitor) -> (Option<u32>, bool) {
    let reply = visitor
        .visit(async |session: Session| {
            let n: Option<u32> = session.get("n").unwrap();
            n.map_or_else(String::new, |n| n.to_string())
        })
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    let sets_cookie = !reply.set_cookies().is_empty();
    (reply.body.parse().ok(), sets_cookie)
}

const SAME: (Option<u32>, bool) = (Some(1), false);
const RENEWED: (Option<u32>, bool) = (Some(1), true);
const ANONYMOUS: (Option<u32>, bool) = (None, false);

fn id_in(cookie: &str) -> SessionId {
    token::split(cookie.split_once('=').unwrap().1).0
}

#[tokio::test]
async fn r1_the_secret_is_replaced_and_the_session_goes_on() {
    let site = Site::new();
    let visitor = site.visitor().await;
    visitor
        .visit(async |session: Session| session.log_in("ann"))
        .await;
    let before = visitor.cookie().unwrap();
    site.clock.advance(HOUR - SECOND);
    assert_eq!(look(&visitor).await, SAME);
    site.clock.advance(SECOND);
    let reply = visitor
        .visit(async |session: Session| session.user().unwrap())
        .await;
    assert_eq!(reply.body, "ann");
    assert_eq!(reply.all(header::CACHE_CONTROL), ["no-store"]);
    let after = visitor.cookie().unwrap();
    assert_eq!(id_in(&before), id_in(&after));
    assert_ne!(before, after);
    assert_eq!(look(&visitor).await, SAME);
    assert_eq!(visitor.cookie().unwrap(), after);
}

#[tokio::test]
async fn r1_without_renew_every_the_cookie_stays_as_it_is() {
    let site = Site::with(|layer| layer.renew_every(None));
    let visitor = site.visitor().await;
    for _ in 0..48 {
        site.clock.advance(20 * HOUR);
        assert_eq!(look(&visitor).await, SAME);
    }
}

#[tokio::test]
async fn r1_a_lost_response_costs_nothing() {
    let site = Site::new();
    let visitor = site.visitor().await;
    for _ in 0..5 {
        site.clock.advance(HOUR);
        // What this one gets never reaches the visitor.
        assert_eq!(look(&visitor.twin()).await, RENEWED);
        assert_eq!(look(&visitor).await, SAME);
    }
    site.clock.advance(MINUTE);
    assert_eq!(look(&visitor).await, RENEWED);
    site.clock.advance(HOUR / 2);
    assert_eq!(look(&visitor).await, SAME);
    assert_eq!(site.ended(), []);
}

#[tokio::test]
async fn r1_the_old_secret_is_good_until_the_new_one_was_presented_and_60_seconds_longer() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let straggler = visitor.twin();
    site.clock.advance(HOUR);
    assert_eq!(look(&visitor).await, RENEWED);
    site.clock.advance(59 * SECOND);
    assert_eq!(look(&straggler).await, SAME);
    // The new one is presented: nothing more is given out for the old.
    assert_eq!(look(&visitor).await, SAME);
    site.clock.advance(MINUTE - SECOND);
    assert_eq!(look(&straggler).await, SAME);
    assert_eq!(look(&visitor).await, SAME);
    assert_eq!(site.ended(), []);
}

#[tokio::test]
async fn r3_an_old_secret_that_comes_back_after_its_time_ends_the_session() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let thief = visitor.twin();
    site.clock.advance(HOUR);
    assert_eq!(look(&visitor).await, RENEWED);
    assert_eq!(look(&visitor).await, SAME);
    site.clock.advance(MINUTE);
    let log = Log::capture();
    assert_eq!(look(&thief).await, ANONYMOUS);
    assert_eq!(log.count(tracing::Level::WARN, "the cookie was copied"), 1);
    assert_eq!(site.ended(), [EndReason::Copied]);
    assert_eq!(look(&visitor).await, ANONYMOUS);
    assert_eq!(look(&thief).await, ANONYMOUS);
    assert_eq!(site.ended(), [EndReason::Copied]);
    assert_eq!(site.layer.sessions().stats().ended(EndReason::Copied), 1);
    let rejected = EventKind::Rejected {
        why: Rejection::Unproven,
    };
    assert!(site.events.lock().contains(&rejected));
}

#[tokio::test]
async fn r3_a_renewed_copy_is_noticed_at_the_visitors_next_request() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let thief = visitor.twin();
    site.clock.advance(HOUR);
    assert_eq!(look(&visitor).await, RENEWED);
    site.clock.advance(MINUTE);
    assert_eq!(look(&thief).await, RENEWED);
    assert_eq!(look(&thief).await, SAME);
    site.clock.advance(MINUTE);
    assert_eq!(look(&visitor).await, ANONYMOUS);
    assert_eq!(site.ended(), [EndReason::Copied]);
    assert_eq!(look(&thief).await, ANONYMOUS);
}

#[tokio::test]
async fn r3_a_secret_that_was_never_issued_ends_nothing() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.clock.advance(HOUR);
    assert_eq!(look(&visitor).await, RENEWED);
    assert_eq!(look(&visitor).await, SAME);
    let (name, value) = {
        let cookie = visitor.cookie().unwrap();
        let (name, value) = cookie.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    let (id, secret) = token::split(&value);
    for guess in [[0; 16], [255; 16], secret.map(|byte| byte ^ 1)] {
        site.clock.advance(2 * MINUTE);
        let guesser = Client::with_cookie(
            site.layer.clone(),
            format!("{name}={}", token::join(id, guess)),
        );
        let n = guesser.visit(async |session| session.get::<u32>("n").unwrap());
        assert_eq!(n.await, None);
        assert_eq!(look(&visitor).await, SAME);
    }
    assert_eq!(site.ended(), []);
}

#[tokio::test]
async fn r3_a_copy_that_cannot_be_acted_upon_is_503_and_opens_nothing() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let thief = visitor.twin();
    site.clock.advance(HOUR);
    look(&visitor).await;
    look(&visitor).await;
    site.clock.advance(MINUTE);
    site.store
        .plan_for(StoreCall::Update, Fault::Fail(StoreErrorKind::Unavailable));
    let reply = thief.visit(async |_: Session| "opened").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    site.store.heal();
    assert_eq!(look(&thief).await, ANONYMOUS);
    assert_eq!(site.ended(), [EndReason::Copied]);
}

#[tokio::test]
async fn r3_a_leftover_beside_the_good_cookie_ends_nothing() {
    let cookie = SessionCookie::new("id").path("/app").insecure().build();
    let site = Site::with(|layer| layer.cookie(cookie.clone().unwrap()));
    let visitor = site.visitor().await;
    let leftover = visitor.cookie().unwrap();
    site.clock.advance(HOUR);
    look(&visitor).await;
    look(&visitor).await;
    site.clock.advance(MINUTE);
    let good = visitor.cookie().unwrap();
    for both in [format!("{leftover}; {good}"), format!("{good}; {leftover}")] {
        let client = Client::with_cookie(site.layer.clone(), both);
        let n = client.visit(async |session| session.get::<u32>("n").unwrap());
        assert_eq!(n.await, Some(1));
    }
    assert_eq!(site.ended(), []);
}

#[tokio::test]
async fn r3_a_former_name_that_a_browser_still_has_ends_nothing() {
    let before = Site::new();
    let visitor = before.visitor().await;
    let former = visitor.cookie().unwrap();
    let cookie = SessionCookie::new("new").also_read("__Host-id").build();
    let layer = before.layer.clone().cookie(cookie.unwrap());
    let client = Client::with_cookie(layer.clone(), former.clone());
    let n = async |session: Session| session.get::<u32>("n").unwrap();
    before.clock.advance(HOUR);
    assert_eq!(client.visit(n).await, Some(1));
    let renewed = client.cookie().unwrap();
    assert!(renewed.starts_with("__Host-new="));
    let client = Client::with_cookie(layer.clone(), format!("{former}; {renewed}"));
    assert_eq!(client.visit(n).await, Some(1));
    before.clock.advance(HOUR / 2);
    assert_eq!(client.visit(n).await, Some(1));
    let client = Client::with_cookie(layer, former);
    assert_eq!(client.visit(n).await, None);
    assert_eq!(before.ended(), []);
}

#[tokio::test]
async fn r2_two_tabs_at_once_get_one_new_secret() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let tab = visitor.twin();
    site.clock.advance(HOUR);
    let mut replies = Vec::new();
    let first = visitor
        .visit(async |session: Session| {
            // This one renews while the first is at it.
            replies.push(look(&tab).await);
            session.insert("m", 2)
        })
        .await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!((replies, first.set_cookies().len()), (vec![RENEWED], 0));
    for one in [&visitor, &tab, &visitor] {
        assert_eq!(look(one).await, SAME);
        site.clock.advance(20 * SECOND);
    }
    let kept =
        tab.visit(async |session: Session| session.get::<u32>("m").unwrap().unwrap().to_string());
    assert_eq!(kept.await.body, "2");
}

#[tokio::test]
async fn r1_a_change_and_a_new_secret_are_one_write() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.clock.advance(HOUR);
    site.store.calls();
    let reply = visitor
        .visit(async |session: Session| session.insert("n", 2))
        .await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(site.store.calls(), [StoreCall::Load, StoreCall::Update]);
    assert_eq!(look(&visitor).await, (Some(2), false));
    let saved = EventKind::Saved {
        keys: vec!["n".to_owned()],
    };
    assert!(site.events.lock().contains(&saved));
}

#[tokio::test(start_paused = true)]
async fn f2_a_renewal_that_fails_is_only_logged() {
    for fault in [
        Fault::Fail(StoreErrorKind::Unavailable),
        Fault::Hang,
        Fault::Panic,
    ] {
        let site = Site::new();
        let visitor = site.visitor().await;
        site.clock.advance(HOUR);
        site.store.plan_for(StoreCall::Update, fault);
        let log = Log::capture();
        assert_eq!(look(&visitor).await, SAME, "{fault:?}");
        assert_eq!(
            log.count(tracing::Level::WARN, "failed"),
            1,
            "{}",
            log.text()
        );
        site.store.heal();
        assert_eq!(look(&visitor).await, RENEWED);
    }
}

#[tokio::test]
async fn m5_a_renewal_whose_reply_was_lost_is_found_to_be_made() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.clock.advance(HOUR);
    let mut times = 0;
    site.store.plan(move |call| {
        times += u32::from(call == StoreCall::Update);
        if call == StoreCall::Update && times == 1 {
            Fault::LoseReply(StoreErrorKind::Unavailable)
        } else {
            Fault::None
        }
    });
    assert_eq!(look(&visitor).await, RENEWED);
    assert_eq!(look(&visitor).await, SAME);
}

#[tokio::test]
async fn l2_who_peeks_neither_renews_nor_presents() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let old = visitor.twin();
    site.clock.advance(HOUR);
    let peek = async |visitor: &Visitor| {
        let reply = visitor
            .ask(|handle: SessionHandle| async move {
                let session = handle.peek().await.unwrap().unwrap();
                axum::response::IntoResponse::into_response(
                    session.get::<u32>("n").unwrap().unwrap().to_string(),
                )
            })
            .await;
        (reply.body.parse().ok(), !reply.set_cookies().is_empty())
    };
    assert_eq!(peek(&visitor).await, SAME);
    assert_eq!(look(&visitor).await, RENEWED);
    assert_eq!(peek(&visitor).await, SAME);
    site.clock.advance(30 * SECOND);
    assert_eq!(look(&old).await, SAME);
    site.clock.advance(2 * MINUTE);
    assert_eq!(peek(&old).await, SAME);
}

#[tokio::test]
async fn a_log_in_and_a_cycle_begin_a_new_period() {
    let acts: [fn(&Session); 2] = [
        |session| session.log_in("ann").unwrap(),
        |session| session.cycle_id().unwrap(),
    ];
    for act in acts {
        let site = Site::new();
        let visitor = site.visitor().await;
        // With something of every kind in its record.
        site.clock.advance(HOUR);
        look(&visitor).await;
        look(&visitor).await;
        site.clock.advance(HOUR);
        look(&visitor.twin()).await;
        site.clock.advance(30 * MINUTE);
        visitor.visit(async |session: Session| act(&session)).await;
        site.clock.advance(HOUR - SECOND);
        assert_eq!(look(&visitor).await, SAME);
        site.clock.advance(SECOND);
        assert_eq!(look(&visitor).await, RENEWED);
        assert_eq!(look(&visitor).await, SAME);
    }
}

#[tokio::test]
async fn m6_a_late_request_with_any_of_the_secrets_stores_nothing_after_a_cycle() {
    let site = Site::new();
    let visitor = site.visitor().await;
    let former = visitor.twin();
    site.clock.advance(HOUR);
    look(&visitor).await;
    look(&visitor).await;
    site.clock.advance(HOUR);
    let pending = visitor.twin();
    look(&pending).await;
    let current = visitor.twin();
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await;
    for straggler in [former, pending, current] {
        let reply = straggler
            .visit(async |session: Session| session.insert("n", 7))
            .await;
        assert_eq!(
            (reply.status, reply.set_cookies().len()),
            (StatusCode::OK, 0)
        );
    }
    assert_eq!(look(&visitor).await, SAME);
    assert_eq!(site.ended(), []);
}

#[tokio::test]
async fn a_save_before_the_head_leaves_the_new_secret_to_the_head() {
    let site = Site::new();
    let visitor = site.visitor().await;
    site.clock.advance(HOUR);
    let reply = visitor
        .visit(async |session: Session| {
            session.insert("n", 2)?;
            session.save().await
        })
        .await;
    assert_eq!(reply.set_cookies().len(), 1);
    let later = Client::with_cookie(site.layer.clone(), visitor.cookie().unwrap());
    site.clock.advance(HOUR);
    let session = later.visit(async |session| session).await;
    // The response has left: what a socket saves changes no secret.
    let cookie = later.cookie();
    site.clock.advance(2 * HOUR);
    session.insert("n", 1).unwrap();
    session.save().await.unwrap();
    session.touch().await.unwrap();
    let tab = Client::with_cookie(site.layer.clone(), cookie.unwrap());
    assert_eq!(
        tab.visit(async |session| session.get::<u32>("n").unwrap())
            .await,
        Some(1)
    );
    assert_eq!(site.ended(), []);
}

#[tokio::test]
async fn a_persistent_cookie_is_not_sent_again_while_another_is_on_its_way() {
    let site = Site::with(|layer| layer.persistent(true).touch_after(Duration::ZERO));
    let visitor = site.visitor().await;
    let tab = visitor.twin();
    site.clock.advance(HOUR - 2 * MINUTE);
    assert_eq!(look(&tab).await, RENEWED, "for its Max-Age");
    assert_eq!(tab.cookie(), visitor.cookie());
    site.clock.advance(MINUTE);
    assert_eq!(look(&tab).await, SAME, "it could arrive after the next");
    site.clock.advance(MINUTE);
    assert_eq!(look(&visitor).await, RENEWED);
    assert_ne!(tab.cookie(), visitor.cookie());
    site.clock.advance(SECOND);
    assert_eq!(look(&tab).await, SAME);
    let presented = visitor.cookie();
    assert_eq!(look(&visitor).await, RENEWED, "for its Max-Age");
    assert_eq!(visitor.cookie(), presented);
    site.clock.advance(SECOND);
    assert_eq!(look(&tab).await, SAME, "it is a former one");
}

#[tokio::test]
async fn t3_neither_an_old_nor_a_new_secret_is_logged_or_stored() {
    let log = Log::capture();
    let site = Site::new();
    let visitor = site.visitor().await;
    let mut cookies = vec![visitor.cookie().unwrap()];
    let thief = visitor.twin();
    for _ in 0..3 {
        site.clock.advance(HOUR);
        look(&visitor).await;
        cookies.push(visitor.cookie().unwrap());
    }
    let id = id_in(&cookies[0]);
    let inner = site.store.inner();
    let (record, _) = cloakroom::SessionStore::load(inner, id)
        .await
        .unwrap()
        .unwrap();
    let stored = String::from_utf8(record.to_bytes()).unwrap() + &format!("{record:?}");
    site.clock.advance(HOUR);
    look(&thief).await;
    assert_eq!(site.ended(), [EndReason::Copied]);
    let text = log.text() + &format!("{:?}", site.events.lock());
    for cookie in cookies {
        let value = cookie.split_once('=').unwrap().1;
        // The id is in its first half.
        for secret in [value, &value[22..]] {
            assert!(!text.contains(secret) && !stored.contains(secret));
        }
    }
}

/// One request; what it saw, and the cookie that its response sets.
async fn send(layer: &SessionLayer, cookie: &str, act: Act) -> (Option<u32>, Option<String>) {
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    let service = service_fn(move |request: Request<()>| {
        let slot = Arc::clone(&slot);
        async move {
            let handle = request.extensions().get::<SessionHandle>().unwrap();
            let session = match act {
                Act::Peek => handle.peek().await.unwrap(),
                Act::Read | Act::Write(_) => Some(handle.load().await.unwrap()),
            };
            let n = session.as_ref().and_then(|s| s.get("n").unwrap());
            *slot.lock() = n;
            if let (Act::Write(m), Some(session)) = (act, session)
                && n.is_some()
            {
                session.insert("m", m).unwrap();
            }
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }
    });
    let request = Request::get("/").header(header::COOKIE, cookie);
    let response = layer.layer(service).oneshot(request.body(()).unwrap());
    let response = response.await.unwrap();
    let set = response.headers().get(header::SET_COOKIE);
    let set = set.map(|set| set.to_str().unwrap().split(';').next().unwrap().to_owned());
    let n = *seen.lock();
    (n, set)
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Peek,
    Read,
    Write(u32),
}

/// A visit of some tab: when it begins after the one before, how long request
/// and response are under way, in seconds, and whether the response is lost.
#[derive(Clone, Copy, Debug)]
struct Trip {
    rest: u64,
    there: u64,
    back: u64,
    is_lost: bool,
    node: bool,
    act: Act,
}

fn trip() -> impl Strategy<Value = Trip> {
    let rest = prop_oneof![4 => 0..5_u64, 3 => 0..90_u64, 1 => 3000..8000_u64];
    let act = prop_oneof![
        Just(Act::Peek),
        Just(Act::Read),
        any::<u32>().prop_map(Act::Write)
    ];
    (
        rest,
        0..60_u64,
        0..60_u64,
        any::<bool>(),
        any::<bool>(),
        act,
    )
        .prop_map(|(rest, there, back, is_lost, node, act)| Trip {
            rest,
            there,
            back,
            is_lost,
            node,
            act,
        })
}

enum Packet {
    Departure(Trip),
    Arrival(Trip, String),
    Reply(String),
}

/// A browser whose tabs share a jar, two nodes, and a network on which nothing
/// is under way for a minute or longer.
async fn browse(trips: &[Trip], is_persistent: bool) -> Result<(), TestCaseError> {
    let clock = FixedClock::default();
    let store = Arc::new(MemoryStore::default());
    let ended = Arc::new(Mutex::new(0));
    let nodes = [(); 2].map(|()| {
        let ended = Arc::clone(&ended);
        SessionLayer::new(Arc::clone(&store))
            .clock(clock.clone())
            .reap_every(None)
            .absolute_timeout(None)
            .idle_timeout(None)
            .touch_after(Duration::ZERO)
            .persistent(is_persistent)
            .renew_every(5 * MINUTE)
            .on_event(move |event: &Event| {
                *ended.lock() += u32::from(matches!(event.kind(), EventKind::Ended { .. }));
            })
    });
    let first = Client::new(nodes[0].clone());
    first
        .visit(async |session| session.insert("n", 1).unwrap())
        .await;
    let mut jar = first.cookie().unwrap();
    let mut packets = BTreeMap::new();
    let mut number = 0;
    let mut post = |packets: &mut BTreeMap<(u64, u32), Packet>, at: u64, packet| {
        number += 1;
        packets.insert((at, number), packet);
    };
    let mut at = 0;
    for trip in trips {
        at += trip.rest;
        post(&mut packets, at, Packet::Departure(*trip));
    }
    while let Some(((at, _), packet)) = packets.pop_first() {
        clock.set(FixedClock::START.saturating_add(Duration::from_secs(at)));
        match packet {
            Packet::Departure(trip) => {
                let arrival = Packet::Arrival(trip, jar.clone());
                post(&mut packets, at + trip.there, arrival);
            }
            Packet::Arrival(trip, cookie) => {
                let node = &nodes[usize::from(trip.node)];
                let (n, set) = send(node, &cookie, trip.act).await;
                prop_assert_eq!(n, Some(1), "thrown out at {}", at);
                if let Some(cookie) = set
                    && !trip.is_lost
                {
                    post(&mut packets, at + trip.back, Packet::Reply(cookie));
                }
            }
            Packet::Reply(cookie) => jar = cookie,
        }
    }
    prop_assert_eq!(*ended.lock(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn r1_a_visitor_who_sends_their_newest_cookie_is_never_logged_out(
        trips in prop::collection::vec(trip(), 1..60),
        is_persistent: bool,
    ) {
        futures::executor::block_on(browse(&trips, is_persistent))?;
    }
}
