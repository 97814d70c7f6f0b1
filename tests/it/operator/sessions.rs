//! Rules P1 and P2, `Sessions`: counting, listing and ending sessions from outside of their requests.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::response::IntoResponse;
use cloakroom::{
    Activity, Cursor, EndReason, Error, ErrorKind, Event, EventKind, MemoryStore, Record, Session,
    SessionFilter, SessionId, SessionLayer, SessionPage, SessionStore, SessionSummary, Sessions,
    StoreError, Timestamp,
    store::{
        Created, Former, Position, Query, Reaped, StoreErrorKind, StorePage, Touched, Updated,
    },
};
use futures::{
    FutureExt,
    future::{join, join_all},
    poll,
};
use http::StatusCode;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::support::{
    Fault, FaultyStore, FixedClock, Reply, StoreCall, Visitor,
    fixture::{HOUR, MILLISECOND, MINUTE, SECOND},
    token,
};

/// A layer, its operator's handle, and what its listener heard of endings.
struct House<S = MemoryStore> {
    store: FaultyStore<S>,
    clock: FixedClock,
    layer: SessionLayer,
    sessions: Sessions,
    ended: Arc<Mutex<Vec<(SessionId, EndReason)>>>,
}

impl House {
    fn new() -> Self {
        Self::over(MemoryStore::default())
    }
}

impl<S: SessionStore> House<S> {
    fn over(store: S) -> Self {
        let (store, clock) = (FaultyStore::new(store), FixedClock::default());
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&ended);
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .on_event(move |event: &Event| {
                if let EventKind::Ended { reason } = event.kind() {
                    assert!(event.session().is_some());
                    heard.lock().push((event.id().unwrap(), *reason));
                }
            });
        Self {
            sessions: layer.sessions(),
            store,
            clock,
            layer,
            ended,
        }
    }

    /// A new visitor whose session has `n` = 1.
    async fn anonymous(&self) -> Visitor {
        let visitor = Visitor::new(&self.layer);
        let reply = visitor.visit(async |session: Session| session.insert("n", 1));
        assert_eq!(reply.await.status, StatusCode::OK);
        visitor
    }

    /// As `anonymous`, logged in as `user`.
    async fn user(&self, user: &'static str) -> Visitor {
        let visitor = self.anonymous().await;
        log_in(&visitor, user).await;
        visitor
    }

    fn ended(&self) -> Vec<(SessionId, EndReason)> {
        std::mem::take(&mut *self.ended.lock())
    }

    async fn all(&self, filter: &SessionFilter) -> Vec<SessionId> {
        let page = self.sessions.list(filter, None, 1000).await.unwrap();
        assert_eq!(page.next, None);
        ids(&page)
    }
}

async fn log_in(visitor: &Visitor, user: &'static str) -> Reply {
    let reply = visitor
        .visit(async |session: Session| session.log_in(user))
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    reply
}

async fn cycle(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await
}

/// The id in the visitor's cookie.
fn id(visitor: &Visitor) -> SessionId {
    let cookie = visitor.cookie().unwrap();
    token::split(cookie.split_once('=').unwrap().1).0
}

async fn is_known(visitor: &Visitor) -> bool {
    let reply = visitor.visit(async |session: Session| session.is_new().to_string());
    let reply = reply.await;
    assert_eq!(reply.status, StatusCode::OK);
    reply.body == "false"
}

fn ids(page: &SessionPage) -> Vec<SessionId> {
    page.sessions.iter().map(SessionSummary::id).collect()
}

fn sorted(mut ids: Vec<SessionId>) -> Vec<SessionId> {
    ids.sort();
    ids
}

/// A store whose lists have one session a page, and which counts nothing.
struct Slow(MemoryStore);

/// A store that neither lists nor counts.
struct Unlisted(MemoryStore);

macro_rules! store {
    ($store:ident, $($list:item)*) => {
        impl SessionStore for $store {
            async fn create(&self, id: SessionId, record: &Arc<Record>, activity: Activity) -> Result<Created, StoreError> {
                self.0.create(id, record, activity).await
            }
            async fn load(&self, id: SessionId) -> Result<Option<(Arc<Record>, Activity)>, StoreError> {
                self.0.load(id).await
            }
            async fn update(&self, id: SessionId, record: &Arc<Record>, activity: Activity, former: Former<'_>) -> Result<Updated, StoreError> {
                self.0.update(id, record, activity, former).await
            }
            async fn touch(&self, id: SessionId, former: Former<'_>, activity: Activity) -> Result<Touched, StoreError> {
                self.0.touch(id, former, activity).await
            }
            async fn delete(&self, id: SessionId) -> Result<bool, StoreError> {
                self.0.delete(id).await
            }
            async fn delete_expired(&self, before: Timestamp, limit: usize) -> Result<Reaped, StoreError> {
                self.0.delete_expired(before, limit).await
            }
            $($list)*
        }
    };
}

store!(
    Slow,
    async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        self.0.list(query, after, limit.min(1)).await
    }
);
store!(Unlisted,);

/// Delays of up to 9 ms, always the same ones for the same seed.
fn delays(seed: u64) -> impl FnMut(StoreCall) -> Fault {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |_| {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let millis = (state >> 33) % 10;
        match (state >> 60) % 2 {
            0 => Fault::Delay(MILLISECOND * millis as u32),
            _ => Fault::DelayReply(MILLISECOND * millis as u32),
        }
    }
}

#[tokio::test]
async fn a_session_is_described_without_a_request() {
    let house = House::new();
    let ann = house.user("ann").await;
    house.clock.advance(MINUTE);
    let found = house.sessions.get(id(&ann)).await.unwrap().unwrap();
    assert_eq!((found.id(), found.user()), (id(&ann), Some("ann")));
    let start = SystemTime::from(FixedClock::START);
    assert_eq!(found.created_at(), start);
    assert_eq!(found.authenticated_at(), Some(start));
    assert_eq!(found.last_seen_at(), start);
    assert_eq!(found.expires_at(), Some(start + HOUR));
    assert_eq!((found.keys(), found.data_bytes()), (vec!["n".into()], 2));
    assert_eq!(found.get("n").unwrap(), Some(1));
    let shown = format!("{found:?} {:?}", house.sessions);
    assert!(!shown.contains("ann"), "{shown}");

    let nobody = token::NEVER_ISSUED.into();
    assert!(house.sessions.get(nobody).await.unwrap().is_none());
    assert_eq!(house.sessions.count().await.unwrap(), 1, "without markers");
    assert!("no-uuid".parse::<SessionId>().is_err());
}

#[tokio::test]
async fn p2_listing_does_not_count_as_activity() {
    let house = House::new();
    let visitor = house.anonymous().await;
    house.clock.advance(HOUR - SECOND);
    house.sessions.get(id(&visitor)).await.unwrap().unwrap();
    house.all(&SessionFilter::default()).await;
    house.clock.advance(SECOND);
    assert!(house.sessions.get(id(&visitor)).await.unwrap().is_none());
    assert!(!is_known(&visitor).await);
}

#[tokio::test]
async fn p2_what_expired_or_moved_is_not_listed() {
    let house = House::new();
    house.anonymous().await;
    house.clock.advance(HOUR);
    let ann = house.user("ann").await;
    cycle(&ann).await;
    assert_eq!(house.sessions.count().await.unwrap(), 2);
    assert_eq!(house.all(&SessionFilter::default()).await, [id(&ann)]);
    let of_ann = SessionFilter::default().user("ann");
    assert_eq!(house.all(&of_ann).await, [id(&ann)]);
}

#[tokio::test]
async fn a_list_is_of_those_that_its_filter_lets_through() {
    let house = House::new();
    let (ann, old) = (house.user("ann").await, house.anonymous().await);
    house.clock.advance(10 * MINUTE);
    let (bob, moment) = (house.user("bob").await, house.clock.clone());
    assert!(is_known(&ann).await);
    let moment: SystemTime = cloakroom::Clock::now(&moment).into();
    let filter = SessionFilter::default;

    assert_eq!(house.all(&filter().user("ann")).await, [id(&ann)]);
    assert_eq!(house.all(&filter().user("nobody")).await, []);
    assert_eq!(house.all(&filter().idle_for(MINUTE)).await, [id(&old)]);
    assert_eq!(house.all(&filter().idle_for(10 * MINUTE)).await, []);
    let early = sorted(vec![id(&ann), id(&old)]);
    assert_eq!(house.all(&filter().created_before(moment)).await, early);
    let both = filter().created_before(moment).user("bob");
    assert_eq!(house.all(&both).await, []);
    let everybody = sorted(vec![id(&ann), id(&old), id(&bob)]);
    assert_eq!(house.all(&filter()).await, everybody);
}

#[tokio::test]
async fn p2_pages_continue_where_the_last_one_ended_while_sessions_begin_and_end() {
    let house = House::over(Slow(MemoryStore::default()));
    let visitors = join_all((0..40).map(|_| house.anonymous())).await;
    let mut expected: Vec<_> = visitors.iter().map(id).collect();
    expected.sort();
    let (gone, stay) = expected.split_at(3);
    let filter = SessionFilter::default();
    let mut listed = Vec::new();
    let mut page = house.sessions.list(&filter, None, 7).await.unwrap();
    listed.extend(ids(&page));
    for id in gone {
        assert!(house.sessions.revoke(*id).await.unwrap());
    }
    let newcomers = join_all((0..40).map(|_| house.anonymous())).await;
    while let Some(next) = page.next {
        let text = next.to_string();
        assert!(
            text.len() == 32 && !text.contains(['=', '+', '/']),
            "{text}"
        );
        let next: Cursor = text.parse().unwrap();
        page = house.sessions.list(&filter, Some(&next), 7).await.unwrap();
        assert!(page.sessions.len() == 7 || page.next.is_none());
        listed.extend(ids(&page));
    }
    assert_eq!(listed, sorted(listed.clone()), "in the order of their ids");
    let newcomers: Vec<_> = newcomers.iter().map(id).collect();
    listed.retain(|id| !newcomers.contains(id));
    assert_eq!(listed, [gone, stay].concat(), "each exactly once");
}

#[tokio::test]
async fn a_page_of_sessions_that_do_not_count_is_left_short() {
    let house = House::over(Slow(MemoryStore::default()));
    join_all((0..40).map(|_| house.anonymous())).await;
    house.clock.advance(HOUR);
    let last = house.anonymous().await;
    house.store.calls();
    let (filter, mut next, mut listed) = (SessionFilter::default(), None, Vec::new());
    loop {
        let page = house.sessions.list(&filter, next.as_ref(), 7).await;
        let page = page.unwrap();
        assert!(house.store.calls().len() <= 16);
        listed.extend(ids(&page));
        match page.next {
            Some(cursor) => next = Some(cursor),
            None => break,
        }
    }
    assert_eq!(listed, [id(&last)]);
}

#[tokio::test]
async fn p2_a_cursor_of_another_filter_is_an_error() {
    let house = House::new();
    join_all((0..3).map(|_| house.user("ann"))).await;
    let filter = SessionFilter::default;
    let moment = SystemTime::from(FixedClock::START);
    let filters = [
        filter(),
        filter().user("ann"),
        filter().user(""),
        filter().idle_for(SECOND),
        filter().idle_for(Duration::ZERO),
        filter().created_before(moment),
        filter().created_before(moment).user("ann"),
    ];
    let page = house.sessions.list(&filters[1], None, 1).await.unwrap();
    let cursor = page.next.unwrap();
    house.store.calls();
    for other in filters.iter().filter(|other| **other != filters[1]) {
        let error = house.sessions.list(other, Some(&cursor), 1).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::BadCursor);
    }
    assert_eq!(house.store.calls(), []);
    let same = house.sessions.list(&filters[1], Some(&cursor), 1).await;
    assert_eq!(same.unwrap().sessions.len(), 1);
}

#[test]
fn an_invalid_cursor_is_an_error() {
    for text in ["", "x", &"A".repeat(31), &"A".repeat(33), &"=".repeat(32)] {
        let error = text.parse::<Cursor>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadCursor, "{text}");
        assert!(!error.is_transient());
        assert_eq!(error.into_response().status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_limit_is_between_one_and_a_thousand() {
    let house = House::new();
    join_all((0..3).map(|_| house.anonymous())).await;
    let filter = SessionFilter::default();
    for (limit, listed) in [(0, 1), (1, 1), (2, 2), (3, 3), (usize::MAX, 3)] {
        let page = house.sessions.list(&filter, None, limit).await.unwrap();
        assert_eq!(page.sessions.len(), listed);
    }
}

#[tokio::test]
async fn p1_a_revoked_session_is_rejected_at_its_next_load_and_sends_one_event() {
    let house = House::new();
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let ended = id(&ann);
    assert!(house.sessions.revoke(ended).await.unwrap());
    assert!(!is_known(&ann).await);
    assert!(is_known(&bob).await);
    assert!(!house.sessions.revoke(ended).await.unwrap());
    assert!(!house.sessions.revoke(Uuid::nil().into()).await.unwrap());
    assert_eq!(house.ended(), [(ended, EndReason::Revoked)]);
    let stats = house.sessions.stats();
    assert_eq!(stats.ended(EndReason::Revoked), 1);
}

#[tokio::test]
async fn a_user_can_end_only_their_own_sessions() {
    let house = House::new();
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let client = house.anonymous().await;
    for other in [&bob, &client] {
        let ended = house.sessions.revoke_for("ann", id(other)).await;
        assert!(!ended.unwrap());
        assert!(is_known(other).await);
    }
    assert!(!house.sessions.revoke_for("", id(&client)).await.unwrap());
    assert!(house.sessions.revoke_for("ann", id(&ann)).await.unwrap());
    assert!(!is_known(&ann).await);
}

#[tokio::test]
async fn revoke_user_ends_only_the_sessions_of_the_user() {
    let house = House::new();
    let of_ann = join_all((0..250).map(|_| house.user("ann"))).await;
    let others = [house.user("bob").await, house.anonymous().await];
    assert_eq!(house.sessions.revoke_user("nobody").await.unwrap(), 0);
    assert_eq!(house.sessions.revoke_user("ann").await.unwrap(), 250);
    assert_eq!(house.sessions.revoke_user("ann").await.unwrap(), 0);
    for ann in &of_ann {
        assert!(!is_known(ann).await);
    }
    for other in &others {
        assert!(is_known(other).await);
    }
    assert_eq!(house.ended().len(), 250);
}

#[tokio::test]
async fn the_others_of_a_session_are_all_of_its_user_but_itself() {
    let house = House::new();
    let of_ann = join_all((0..5).map(|_| house.user("ann"))).await;
    let bob = house.user("bob").await;
    let sessions = &house.sessions;
    let reply = of_ann[2].visit(async |session: Session| {
        // Which comes later, when the response head leaves.
        session.cycle_id()?;
        let ended = sessions.revoke_others(&session).await?;
        Ok::<_, Error>(ended.to_string())
    });
    assert_eq!(reply.await.body, "4");
    for (index, ann) in of_ann.iter().enumerate() {
        assert_eq!(is_known(ann).await, index == 2);
    }
    assert!(is_known(&bob).await);
}

#[tokio::test(start_paused = true)]
async fn p1_a_session_that_cycles_meanwhile_is_none_of_its_others() {
    for seed in 0..200 {
        let house = House::over(Slow(MemoryStore::default()));
        let of_ann = join_all((0..3).map(|_| house.user("ann"))).await;
        let (this, twin) = (&of_ann[0], of_ann[0].twin());
        house.store.plan(delays(seed));
        let sessions = &house.sessions;
        let revoking = twin.visit(async |session: Session| {
            let ended = sessions.revoke_others(&session).await?;
            Ok::<_, Error>(ended.to_string())
        });
        let (reply, _) = join(revoking, cycle(this)).await;
        house.store.heal();
        // If the cycle came first, the twin has the old token, and begins a new session.
        if reply.status == StatusCode::OK {
            assert_eq!(reply.body, "2", "{seed}");
            assert!(!is_known(&of_ann[1]).await && !is_known(&of_ann[2]).await);
        }
        assert!(is_known(this).await, "{seed}");
    }
}

#[tokio::test]
async fn a_session_without_a_user_has_no_others() {
    let house = House::new();
    let ann = house.user("ann").await;
    for visitor in [Visitor::new(&house.layer), house.anonymous().await] {
        let sessions = &house.sessions;
        visitor
            .visit(async |session: Session| {
                let error = sessions.revoke_others(&session).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NoUser);
                session.log_in("ann").unwrap();
                let error = sessions.revoke_others(&session).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NoUser, "not stored yet");
            })
            .await;
    }
    assert!(is_known(&ann).await);
}

#[tokio::test]
async fn a_session_that_has_ended_ends_no_others() {
    let house = House::new();
    let (ann, other) = (house.user("ann").await, house.user("ann").await);
    let ended = id(&ann);
    let sessions = &house.sessions;
    ann.visit(async |session: Session| {
        assert!(sessions.revoke(ended).await.unwrap());
        let error = sessions.revoke_others(&session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ended);
    })
    .await;
    assert!(is_known(&other).await);
}

#[tokio::test]
async fn p1_a_request_under_way_when_its_session_is_revoked_keeps_nothing() {
    let house = House::new();
    let sessions = &house.sessions;
    for act in [
        (|session: &Session| session.insert("n", 2)) as fn(&Session) -> Result<(), Error>,
        |session| {
            session
                .update("n", |n: Option<u64>| n.unwrap_or(0) + 1)
                .map(drop)
        },
        |session| session.cycle_id(),
        |session| {
            session.set_persistent(true);
            Ok(())
        },
    ] {
        let ann = house.user("ann").await;
        let ended = id(&ann);
        let reply = ann.visit(async |session: Session| {
            act(&session)?;
            assert!(sessions.revoke(ended).await?);
            Ok::<_, Error>(())
        });
        let reply = reply.await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.set_cookies(), [""; 0]);
        assert!(!is_known(&ann).await);
        assert_eq!(house.ended(), [(ended, EndReason::Revoked)]);
        assert_eq!(house.all(&SessionFilter::default()).await, []);
    }
}

#[tokio::test]
async fn p1_m7_a_log_in_under_way_when_its_session_is_revoked_works() {
    let house = House::new();
    let sessions = &house.sessions;
    let visitor = house.user("ann").await;
    let ended = id(&visitor);
    visitor
        .visit(async |session: Session| {
            session.log_in("ann")?;
            assert!(sessions.revoke(ended).await?);
            Ok::<_, Error>(())
        })
        .await;
    assert!(is_known(&visitor).await);
    assert!(!sessions.revoke(ended).await.unwrap(), "it is another");
    assert!(is_known(&visitor).await);
}

#[tokio::test]
async fn p1_an_id_that_a_session_had_a_moment_ago_ends_it_all_the_same() {
    let house = House::new();
    let ann = house.user("ann").await;
    let first = id(&ann);
    for _ in 0..5 {
        cycle(&ann).await;
    }
    let last = id(&ann);
    assert!(!house.sessions.revoke_for("bob", first).await.unwrap());
    assert!(house.sessions.revoke_for("ann", first).await.unwrap());
    assert!(!is_known(&ann).await);
    assert_eq!(house.ended(), [(last, EndReason::Revoked)]);
}

#[tokio::test(start_paused = true)]
async fn p1_a_revocation_follows_a_session_that_moves() {
    for seed in 0..200 {
        let house = House::new();
        let ann = house.user("ann").await;
        let asked = id(&ann);
        house.store.plan(delays(seed));
        let moving = async {
            cycle(&ann).await;
            cycle(&ann).await
        };
        let (revoked, reply) = join(house.sessions.revoke(asked), moving).await;
        assert!(revoked.unwrap(), "{seed}");
        assert_eq!(reply.status, StatusCode::OK);
        house.store.heal();
        assert!(!is_known(&ann).await, "{seed}");
        assert_eq!(house.ended().len(), 1, "{seed}");
        assert_eq!(house.all(&SessionFilter::default()).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn p1_no_session_of_a_user_escapes_by_moving_to_where_the_list_has_been() {
    for seed in 0..100 {
        let house = House::over(Slow(MemoryStore::default()));
        let of_ann = join_all((0..4).map(|_| house.user("ann"))).await;
        house.store.plan(delays(seed));
        let moving = of_ann.iter().map(async |ann| {
            for _ in 0..3 {
                cycle(ann).await;
            }
        });
        let (revoked, _) = join(house.sessions.revoke_user("ann"), join_all(moving)).await;
        house.store.heal();
        assert_eq!(revoked.unwrap(), 4, "{seed}");
        assert_eq!(house.ended().len(), 4, "{seed}");
        for ann in &of_ann {
            assert!(!is_known(ann).await, "{seed}");
        }
        let of_ann = SessionFilter::default().user("ann");
        assert_eq!(house.all(&of_ann).await, [], "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn p1_concurrent_revocations_and_a_log_out_send_one_event() {
    for seed in 0..100 {
        let house = House::new();
        let ann = house.user("ann").await;
        let asked = id(&ann);
        house.store.plan(delays(seed));
        let log_out = ann.visit(async |session: Session| session.destroy());
        let revocations = join_all((0..3).map(|_| house.sessions.revoke(asked)));
        join(log_out, revocations).await;
        house.store.heal();
        assert_eq!(house.ended().len(), 1, "{seed}");
        assert_eq!(house.sessions.get(asked).await.unwrap().map(|_| ()), None);
    }
}

/// The session of `house` that is none of these, nor a marker.
async fn unborn<S: SessionStore>(house: &House<S>, known: &[SessionId]) -> SessionId {
    let filter = Query::default();
    let page = house.store.inner().list(&filter, None, 100).await.unwrap();
    let mut others = page.sessions.iter().filter(|listed| {
        let is_moved = listed.record.is_moved();
        !is_moved && !known.contains(&listed.id)
    });
    others.next().unwrap().id
}

#[tokio::test(start_paused = true)]
async fn p2_a_session_that_is_cycling_is_listed_once() {
    let house = House::new();
    let ann = house.user("ann").await;
    let before = id(&ann);
    house
        .store
        .plan_for(StoreCall::Update, Fault::Delay(SECOND));
    let mut cycling = Box::pin(cycle(&ann));
    assert!(poll!(&mut cycling).is_pending());
    let of_ann = SessionFilter::default().user("ann");
    assert_eq!(house.all(&of_ann).await, [before]);
    let after = unborn(&house, &[before]).await;
    assert!(house.sessions.get(after).await.unwrap().is_none());
    cycling.await;
    assert_eq!(after, id(&ann));
    assert_eq!(house.all(&of_ann).await, [after]);
    assert!(house.sessions.get(after).await.unwrap().is_some());
    assert!(house.sessions.get(before).await.unwrap().is_none());
}

#[tokio::test]
async fn p2_the_new_session_of_a_dropped_cycle_is_not_listed() {
    let house = House::new();
    let ann = house.user("ann").await;
    house.store.plan_for(StoreCall::Update, Fault::Hang);
    {
        let mut cycling = Box::pin(cycle(&ann));
        assert!(poll!(&mut cycling).is_pending());
    }
    // Nothing can be taken back.
    let refused = Fault::Refuse(StoreErrorKind::Other);
    house.store.plan(move |_| refused);
    tokio::task::yield_now().await;
    house.store.heal();
    let orphan = unborn(&house, &[id(&ann)]).await;
    let everybody = SessionFilter::default();
    assert_eq!(house.all(&everybody).await, [id(&ann)]);
    cycle(&ann).await;
    assert_eq!(house.all(&everybody).await, [id(&ann)]);
    assert!(house.sessions.get(orphan).await.unwrap().is_none());
    assert!(!house.sessions.revoke(orphan).await.unwrap());
    assert!(is_known(&ann).await);
}

#[tokio::test(start_paused = true)]
async fn p1_a_session_that_is_cycling_is_ended_once_under_whichever_id_it_is_revoked() {
    let house = House::new();
    let ann = house.user("ann").await;
    let before = id(&ann);
    let mut updates = 0;
    house.store.plan(move |call| {
        updates += usize::from(call == StoreCall::Update);
        match call {
            // The cycle's marker.
            StoreCall::Update if updates == 1 => Fault::Delay(SECOND),
            StoreCall::Delete => Fault::Delay(MILLISECOND),
            _ => Fault::None,
        }
    });
    let mut cycling = Box::pin(cycle(&ann));
    assert!(poll!(&mut cycling).is_pending());
    let after = unborn(&house, &[before]).await;
    let sessions = &house.sessions;
    let (first, second) = join(sessions.revoke(before), sessions.revoke(after)).await;
    assert_eq!((first.unwrap(), second.unwrap()), (true, false));
    assert_eq!(cycling.await.set_cookies(), [""; 0]);
    assert_eq!(house.ended(), [(before, EndReason::Revoked)]);
    assert_eq!(house.all(&SessionFilter::default()).await, []);
    assert!(!is_known(&ann).await);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_whose_replies_are_lost_happens() {
    for lost in [StoreCall::Update, StoreCall::Delete] {
        let house = House::new();
        let ann = house.user("ann").await;
        let asked = id(&ann);
        let mut is_first = true;
        house.store.plan(move |call| {
            if call == lost && std::mem::take(&mut is_first) {
                Fault::LoseReply(StoreErrorKind::Unavailable)
            } else {
                Fault::None
            }
        });
        assert!(house.sessions.revoke(asked).await.unwrap());
        assert!(!is_known(&ann).await);
    }
}

#[tokio::test]
async fn sessions_that_nobody_uses_are_expired() {
    let house = House::new();
    let idle = house.user("ann").await;
    house.clock.advance(10 * MINUTE);
    let (busy, asked) = (house.user("ann").await, id(&idle));
    let sessions = &house.sessions;
    assert_eq!(sessions.expire_idle(10 * MINUTE).await.unwrap(), 0);
    assert_eq!(sessions.expire_idle(9 * MINUTE).await.unwrap(), 1);
    assert_eq!(house.ended(), [(asked, EndReason::Idle)]);
    assert!(!is_known(&idle).await && is_known(&busy).await);
    house.clock.advance(SECOND);
    assert_eq!(sessions.expire_idle(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(sessions.expire_idle(Duration::MAX).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_seen_since_it_was_listed_is_not_expired() {
    let house = House::new();
    let visitor = house.anonymous().await;
    house.clock.advance(10 * MINUTE);
    house
        .store
        .plan_for(StoreCall::List, Fault::DelayReply(10 * MILLISECOND));
    let (expired, was_known) = join(house.sessions.expire_idle(MINUTE), is_known(&visitor)).await;
    assert_eq!((expired.unwrap(), was_known), (0, true));
    assert!(is_known(&visitor).await);
}

#[tokio::test]
async fn reaping_deletes_what_expired_five_minutes_ago() {
    let house = House::new();
    join_all((0..1500).map(|_| house.anonymous())).await;
    house.clock.advance(HOUR + 5 * MINUTE - MILLISECOND);
    assert_eq!(house.sessions.reap().await.unwrap(), 0);
    house.clock.advance(MILLISECOND);
    assert_eq!(house.sessions.reap().await.unwrap(), 1500);
    assert_eq!(house.sessions.count().await.unwrap(), 0);
    assert_eq!(house.ended().len(), 1500);
}

#[tokio::test]
async fn a_store_that_cannot_list_says_so_and_nothing_changes() {
    let house = House::over(Unlisted(MemoryStore::default()));
    let ann = house.user("ann").await;
    let sessions = &house.sessions;
    let errors = [
        sessions.count().await.map(drop),
        sessions
            .list(&SessionFilter::default(), None, 1)
            .await
            .map(drop),
        sessions.revoke_user("ann").await.map(drop),
        sessions.expire_idle(Duration::ZERO).await.map(drop),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.to_string().contains("does not support"), "{source}");
    }
    ann.visit(async |session: Session| {
        let error = sessions.revoke_others(&session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    })
    .await;
    assert!(is_known(&ann).await);
    assert!(sessions.get(id(&ann)).await.unwrap().is_some());
    assert!(sessions.revoke(id(&ann)).await.unwrap());
    assert!(!is_known(&ann).await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_is_an_error_of_its_kind() {
    let house = House::new();
    let asked = id(&house.user("ann").await);
    for (fault, kind) in [
        (
            Fault::Fail(StoreErrorKind::Unavailable),
            ErrorKind::Unavailable,
        ),
        (Fault::Hang, ErrorKind::Timeout),
        (Fault::Panic, ErrorKind::Unavailable),
    ] {
        house.store.plan(move |_| fault);
        let sessions = &house.sessions;
        let filter = SessionFilter::default();
        for error in [
            sessions.count().await.map(drop),
            sessions.get(asked).await.map(drop),
            sessions.list(&filter, None, 1).await.map(drop),
            sessions.revoke(asked).await.map(drop),
            sessions.revoke_for("ann", asked).await.map(drop),
            sessions.revoke_user("ann").await.map(drop),
            sessions.expire_idle(SECOND).await.map(drop),
            sessions.reap().await.map(drop),
        ] {
            assert_eq!(error.unwrap_err().kind(), kind);
        }
    }
}

#[test]
fn the_handle_needs_no_runtime() {
    let house = House::new();
    let ann = house.user("ann").now_or_never().unwrap();
    let sessions = house.sessions.clone();
    let asked = id(&ann);
    let (counted, revoked) = std::thread::spawn(move || {
        let counted = sessions.count().now_or_never().unwrap();
        let revoked = sessions.revoke(asked).now_or_never().unwrap();
        (counted.unwrap(), revoked.unwrap())
    })
    .join()
    .unwrap();
    assert_eq!((counted, revoked), (1, true));
}

#[tokio::test]
async fn the_numbers_of_a_memory_store_are_what_it_holds() {
    let store = MemoryStore::default();
    let layer = SessionLayer::new(store.clone());
    let sessions = layer.sessions();
    let visitor = Visitor::new(&layer);
    visitor
        .visit(async |session: Session| session.insert("n", 1))
        .await;
    let stats = sessions.stats();
    assert_eq!((stats.live, stats.created), (1, 1));
    assert_eq!(stats.memory_bytes, Some(store.bytes()));
}

#[tokio::test(start_paused = true)]
async fn f5_the_handle_does_not_keep_the_background_task() {
    let store = FaultyStore::in_memory();
    let layer = SessionLayer::new(store.clone()).clock(FixedClock::default());
    let visitor = Visitor::new(&layer);
    is_known(&visitor).await;
    let sessions = layer.sessions();
    drop((layer, visitor));
    tokio::task::yield_now().await;
    store.calls();
    tokio::time::sleep(HOUR).await;
    assert_eq!(store.calls(), []);
    assert_eq!(sessions.count().await.unwrap(), 0);
}
