//! Rules P1 and P2 for operators: orders, filters, counts, previews, revoking by filter.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use cloakroom::{
    EndReason, ErrorKind, Event, EventKind, MemoryStore, Session, SessionFilter, SessionId,
    SessionLayer, SessionSummary, Sessions, store::StoreErrorKind,
};
use futures::future::{join, join_all};
use http::StatusCode;
use parking_lot::Mutex;

use crate::support::{
    Fault, FaultyStore, FixedClock, StoreCall, Visitor,
    fixture::{HOUR, MINUTE, SECOND},
    token,
};

type Ended = (SessionId, EndReason, Option<String>);

/// A layer, its operator's handle, and what its listener heard of endings.
struct Setup {
    store: FaultyStore<MemoryStore>,
    clock: FixedClock,
    layer: SessionLayer,
    sessions: Sessions,
    ended: Arc<Mutex<Vec<Ended>>>,
}

impl Setup {
    fn new() -> Self {
        let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&ended);
        let layer = SessionLayer::new(store.clone())
            .clock(clock.clone())
            .reap_every(None)
            .on_event(move |event: &Event| {
                if let EventKind::Ended { reason } = event.kind() {
                    let operator = event.operator().map(str::to_owned);
                    heard.lock().push((event.id().unwrap(), *reason, operator));
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

    /// A second later, a new visitor; logged in as `user`.
    async fn visitor(&self, user: Option<&'static str>) -> Visitor {
        self.clock.advance(SECOND);
        let visitor = Visitor::new(&self.layer);
        let reply = visitor.visit(async |session: Session| {
            session.insert("n", 1).unwrap();
            if let Some(user) = user {
                session.log_in(user).unwrap();
            }
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        visitor
    }

    async fn list(&self, filter: &SessionFilter) -> Vec<SessionId> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.sessions.list(filter, after.as_ref(), 2).await.unwrap();
            all.extend(page.sessions.iter().map(SessionSummary::id));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    fn now(&self) -> SystemTime {
        use cloakroom::Clock as _;
        self.clock.now().into()
    }

    fn ended(&self) -> Vec<Ended> {
        std::mem::take(&mut *self.ended.lock())
    }
}

/// The id in the visitor's cookie.
fn id(visitor: &Visitor) -> SessionId {
    let cookie = visitor.cookie().unwrap();
    token::split(cookie.split_once('=').unwrap().1).0
}

fn newest() -> SessionFilter {
    SessionFilter::default().newest_first()
}

#[tokio::test]
async fn p2_the_newest_come_first_and_a_log_in_or_a_cycle_begins_anew() {
    let setup = Setup::new();
    let [first, second, third] = [None, Some("ann"), None].map(|user| setup.visitor(user));
    let (first, second, third) = (first.await, second.await, third.await);
    assert_eq!(
        setup.list(&newest()).await,
        [id(&third), id(&second), id(&first)]
    );

    setup.clock.advance(SECOND);
    first
        .visit(async |session: Session| session.cycle_id())
        .await;
    assert_eq!(
        setup.list(&newest()).await,
        [id(&first), id(&third), id(&second)]
    );
    // Neither a write nor a use.
    setup.clock.advance(MINUTE);
    second
        .visit(async |session: Session| session.insert("n", 2))
        .await;
    assert_eq!(
        setup.list(&newest()).await,
        [id(&first), id(&third), id(&second)]
    );

    third
        .visit(async |session: Session| session.log_in("bob"))
        .await;
    assert_eq!(
        setup.list(&newest()).await,
        [id(&third), id(&first), id(&second)]
    );
    let summary = setup.sessions.get(id(&third)).await.unwrap().unwrap();
    assert_eq!(summary.begun_at(), setup.now());
    assert!(summary.created_at() < summary.begun_at());
    let cycled = setup.sessions.get(id(&first)).await.unwrap().unwrap();
    assert_eq!(cycled.begun_at(), setup.now() - MINUTE);
}

#[tokio::test]
async fn p2_filters_go_by_log_in_and_by_begin() {
    let setup = Setup::new();
    let ann = setup.visitor(Some("ann")).await;
    let anonymous = setup.visitor(None).await;
    let bob = setup.visitor(Some("bob")).await;
    assert_eq!(
        setup.list(&newest().logged_in()).await,
        [id(&bob), id(&ann)]
    );
    assert_eq!(setup.list(&newest().anonymous()).await, [id(&anonymous)]);
    let middle = setup.now() - SECOND;
    for (filter, expected) in [
        (
            newest().begun_within(middle..),
            vec![id(&bob), id(&anonymous)],
        ),
        (newest().begun_within(..middle), vec![id(&ann)]),
        (
            newest().begun_within(..=middle),
            vec![id(&anonymous), id(&ann)],
        ),
        (newest().begun_within(middle..=middle), vec![id(&anonymous)]),
        (newest().begun_within(middle..middle), vec![]),
        (newest().logged_in().user("ann"), vec![id(&ann)]),
        (newest().anonymous().user("ann"), vec![]),
    ] {
        assert_eq!(setup.list(&filter).await, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn p2_the_last_seen_are_one_list_without_ends_of_moves() {
    let setup = Setup::new();
    let first = setup.visitor(None).await;
    let second = setup.visitor(Some("ann")).await;
    setup.clock.advance(5 * MINUTE);
    first
        .visit(async |session: Session| session.insert("n", 2))
        .await;
    second
        .visit(async |session: Session| session.cycle_id())
        .await;
    setup.clock.advance(SECOND);
    first
        .visit(async |session: Session| session.insert("n", 3))
        .await;
    let everybody = SessionFilter::default();
    for limit in [1, 2, 1000, 5000] {
        let seen = setup.sessions.last_seen(&everybody, limit).await.unwrap();
        let seen: Vec<SessionId> = seen.iter().map(SessionSummary::id).collect();
        assert_eq!(seen, [id(&first), id(&second)][..limit.min(2)]);
    }
    let of_ann = setup.sessions.last_seen(&everybody.user("ann"), 10).await;
    assert_eq!(of_ann.unwrap().len(), 1);
}

#[tokio::test]
async fn p2_a_cursor_belongs_to_its_order() {
    let setup = Setup::new();
    for _ in 0..3 {
        setup.visitor(None).await;
    }
    let by_id = SessionFilter::default();
    let filters = [
        by_id.clone(),
        newest(),
        newest().anonymous(),
        by_id.logged_in(),
    ];
    for filter in &filters[..3] {
        let cursor = setup
            .sessions
            .list(filter, None, 1)
            .await
            .unwrap()
            .next
            .unwrap();
        let cursor: cloakroom::Cursor = cursor.to_string().parse().unwrap();
        for other in filters.iter().filter(|other| *other != filter) {
            let error = setup
                .sessions
                .list(other, Some(&cursor), 1)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadCursor);
        }
    }
}

#[tokio::test]
async fn a_count_by_filter_stops_at_ten_thousand() {
    let setup = Setup::new();
    for _ in 0..3 {
        setup.visitor(Some("ann")).await;
    }
    let count = setup
        .sessions
        .count_matching(&SessionFilter::default().logged_in())
        .await
        .unwrap();
    assert_eq!((count.sessions, count.is_exact), (3, true));
    assert_eq!(count.to_string(), "3");
    let layer = SessionLayer::default();
    join_all((0..10_001).map(|_| {
        let visitor = Visitor::new(&layer);
        async move {
            visitor
                .visit(async |session: Session| session.insert("n", 1))
                .await;
        }
    }))
    .await;
    let count = layer
        .sessions()
        .count_matching(&SessionFilter::default().anonymous())
        .await;
    let count = count.unwrap();
    assert_eq!((count.sessions, count.is_exact), (10_000, false));
    assert_eq!(count.to_string(), "more than 10000");
}

#[tokio::test]
async fn a_preview_shows_what_a_revocation_by_filter_then_ends() {
    let setup = Setup::new();
    let ann = setup.visitor(Some("ann")).await;
    let mut anonymous = Vec::new();
    for _ in 0..5 {
        anonymous.push(setup.visitor(None).await);
    }
    let filter = newest().anonymous();
    let preview = setup.sessions.preview(&filter, 2).await.unwrap();
    assert_eq!(preview.count.to_string(), "5");
    let first: Vec<SessionId> = preview
        .page
        .sessions
        .iter()
        .map(SessionSummary::id)
        .collect();
    assert_eq!(first, [id(&anonymous[4]), id(&anonymous[3])]);
    assert_eq!(setup.ended(), []);

    let mut progress = Vec::new();
    let operator = setup.sessions.as_operator("olga");
    let ended = operator.revoke_matching(&filter, |so_far| progress.push(so_far.ended));
    assert_eq!(ended.await.unwrap(), 5);
    assert_eq!(progress, [5]);
    let ended = setup.ended();
    assert_eq!(ended.len(), 5);
    for (_, reason, operator) in ended {
        assert_eq!(
            (reason, operator.as_deref()),
            (EndReason::Revoked, Some("olga"))
        );
    }
    assert_eq!(setup.list(&SessionFilter::default()).await, [id(&ann)]);
    let preview = setup.sessions.preview(&filter, 2).await.unwrap();
    assert_eq!(preview.count.to_string(), "0");
    assert_eq!(operator.revoke_matching(&filter, |_| {}).await.unwrap(), 0);
}

#[tokio::test]
async fn a_filter_without_a_condition_ends_nothing() {
    let setup = Setup::new();
    setup.visitor(None).await;
    for filter in [SessionFilter::default(), newest()] {
        let error = setup
            .sessions
            .revoke_matching(&filter, |_| {})
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EmptyFilter);
    }
    assert_eq!(setup.list(&SessionFilter::default()).await.len(), 1);
}

#[tokio::test]
async fn p1_all_are_ended_at_once_and_for_a_reason_of_its_own() {
    let setup = Setup::new();
    for user in [None, Some("ann"), None, Some("bob")] {
        setup.visitor(user).await;
    }
    let operator = setup.sessions.as_operator("olga");
    assert_eq!(operator.revoke_all(|_| {}).await.unwrap(), 4);
    for (_, reason, operator) in setup.ended() {
        assert_eq!(
            (reason, operator.as_deref()),
            (EndReason::RevokedAll, Some("olga"))
        );
    }
    assert_eq!(setup.list(&SessionFilter::default()).await, []);
    assert_eq!(setup.sessions.stats().ended(EndReason::RevokedAll), 4);
    // Who comes now is somebody new.
    setup.visitor(None).await;
    assert_eq!(setup.list(&SessionFilter::default()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p1_two_operators_who_revoke_the_same_end_each_session_once() {
    let setup = Setup::new();
    for _ in 0..20 {
        setup.visitor(None).await;
    }
    setup.store.plan(|call| match call {
        StoreCall::Update => Fault::Delay(Duration::from_millis(1)),
        _ => Fault::None,
    });
    let (olga, otto) = (
        setup.sessions.as_operator("olga"),
        setup.sessions.as_operator("otto"),
    );
    let filter = SessionFilter::default().anonymous();
    let both = join(
        olga.revoke_matching(&filter, |_| {}),
        otto.revoke_matching(&filter, |_| {}),
    );
    let (first, second) = both.await;
    assert_eq!(first.unwrap() + second.unwrap(), 20);
    assert_eq!(setup.ended().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn p1_a_cycle_does_not_save_a_session_from_a_revocation_by_its_begin() {
    let setup = Setup::new();
    let ann = setup.visitor(Some("ann")).await;
    let until = setup.now() + SECOND;
    setup.clock.advance(HOUR / 10);
    setup.store.plan_for(StoreCall::List, Fault::Delay(SECOND));
    let filter = SessionFilter::default().begun_within(..until);
    let revoking = setup.sessions.revoke_matching(&filter, |_| {});
    let cycling = ann.visit(async |session: Session| session.cycle_id());
    let (ended, _) = join(revoking, cycling).await;
    // Listed before the cycle or after it: the marker leads on.
    assert_eq!(ended.unwrap(), 1);
    assert_eq!(setup.list(&SessionFilter::default()).await, []);
}

#[tokio::test]
async fn the_operator_is_named_in_no_other_event() {
    let setup = Setup::new();
    let ann = setup.visitor(Some("ann")).await;
    let bob = setup.visitor(Some("bob")).await;
    let (first, second) = (id(&ann), id(&bob));
    setup
        .sessions
        .as_operator("olga")
        .revoke(first)
        .await
        .unwrap();
    setup.sessions.revoke(second).await.unwrap();
    let olga = Some("olga".to_owned());
    let expected = [
        (first, EndReason::Revoked, olga),
        (second, EndReason::Revoked, None),
    ];
    assert_eq!(setup.ended(), expected);
}

#[tokio::test]
async fn a_ping_says_whether_the_store_answers() {
    let setup = Setup::new();
    setup.sessions.ping().await.unwrap();
    assert_eq!(setup.sessions.stats().store(StoreCall::Ping).calls, 1);
    setup
        .store
        .plan_for(StoreCall::Ping, Fault::Fail(StoreErrorKind::Unavailable));
    let error = setup.sessions.ping().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_store_that_does_not_list_says_so() {
    let setup = Setup::new();
    setup.visitor(None).await;
    setup.store.plan(|call| match call {
        StoreCall::List | StoreCall::Count => Fault::Refuse(StoreErrorKind::Unsupported),
        _ => Fault::None,
    });
    let filter = SessionFilter::default().anonymous();
    let sessions = &setup.sessions;
    let errors = [
        sessions.list(&newest(), None, 1).await.map(drop),
        sessions.last_seen(&filter, 1).await.map(drop),
        sessions.count_matching(&filter).await.map(drop),
        sessions.preview(&filter, 1).await.map(drop),
        sessions.revoke_matching(&filter, |_| {}).await.map(drop),
        sessions.revoke_all(|_| {}).await.map(drop),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
