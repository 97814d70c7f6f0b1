//! Requests that read or change the session, for tests of the store's faults and of the order of requests.

use std::{collections::BTreeMap, time::Duration};

use cloakroom::{
    Error, MemoryStore, Session, SessionFilter, SessionId, SessionLayer, Sessions, store::DynStore,
};
use http::StatusCode;

use super::{Fault, FaultyStore, FixedClock, Reply, Visitor, token};

/// A store in memory, which answers at once, and one with calls that wait.
pub(crate) fn stores() -> [(&'static str, DynStore); 2] {
    let waiting = FaultyStore::in_memory();
    waiting.plan(|_| Fault::Yield);
    [
        ("memory", DynStore::new(MemoryStore::default())),
        ("waiting", DynStore::new(waiting)),
    ]
}

/// A layer that makes only the store calls of requests: it has no reaper.
pub(crate) fn layer_over(store: &DynStore, clock: &FixedClock) -> SessionLayer {
    SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(None)
}

/// Another node over the same store. Its calls have no faults.
pub(crate) fn healthy_node(store: &FaultyStore, clock: &FixedClock) -> SessionLayer {
    healthy_node_of(store.inner(), clock)
}

/// A node over this store. Its calls have no faults.
pub(crate) fn healthy_node_of(store: &MemoryStore, clock: &FixedClock) -> SessionLayer {
    layer_over(&DynStore::new(store.clone()), clock)
}

/// The same visitor, with requests to another node.
pub(crate) fn on(node: &SessionLayer, visitor: &Visitor) -> Visitor {
    let other = Visitor::new(node);
    other.set_cookie(visitor.cookie());
    other
}

/// A visitor with a session that has these values.
pub(crate) async fn holding<const N: usize>(
    layer: &SessionLayer,
    values: [(&'static str, u64); N],
) -> Visitor {
    let visitor = Visitor::new(layer);
    let reply = visitor.visit(async |session: Session| {
        values
            .into_iter()
            .try_for_each(|(key, value)| session.insert(key, value))
    });
    assert_eq!(reply.await.status, StatusCode::OK);
    visitor
}

pub(crate) async fn insert(visitor: &Visitor, key: &'static str, value: u64) -> Reply {
    visitor
        .visit(async |session: Session| session.insert(key, value))
        .await
}

pub(crate) async fn increment(visitor: &Visitor, key: &'static str) -> Reply {
    visitor
        .visit(async |session: Session| {
            session
                .update(key, |n: Option<u64>| n.unwrap_or(0) + 1)
                .map(drop)
        })
        .await
}

/// Far more writes than a record remembers, each answered with 200.
pub(crate) async fn write_on_top(visitor: &Visitor) {
    for _ in 0..20 {
        assert_eq!(increment(visitor, "others").await.status, StatusCode::OK);
    }
}

pub(crate) async fn log_in(visitor: &Visitor, user: &'static str) -> Reply {
    visitor
        .visit(async |session: Session| session.log_in(user))
        .await
}

pub(crate) async fn cycle(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| session.cycle_id())
        .await
}

pub(crate) async fn destroy(visitor: &Visitor) -> Reply {
    visitor
        .visit(async |session: Session| session.destroy())
        .await
}

/// The value that the request got, if it was answered with 200.
pub(crate) async fn claim(visitor: &Visitor, key: &'static str) -> Option<u64> {
    let mut given = None;
    let reply = visitor.visit(async |session: Session| {
        given = session.claim(key).await?;
        Ok::<_, Error>(())
    });
    reply.await;
    given
}

/// `user{values}` of the visitor's session, or `none` if their token opens nothing.
pub(crate) async fn seen(visitor: &Visitor) -> String {
    let show = async |session: Session| {
        if session.is_new() {
            return Ok::<_, Error>("none".to_owned());
        }
        let mut values = BTreeMap::new();
        for key in session.keys() {
            let value: Option<u64> = session.get(&key)?;
            values.insert(key, value.unwrap());
        }
        let user = session.user().unwrap_or_default();
        Ok(format!("{user}{values:?}"))
    };
    visitor.visit(show).await.body
}

/// The live sessions of `user`, or all live sessions.
pub(crate) async fn live(sessions: &Sessions, user: Option<&str>) -> Vec<SessionId> {
    let filter = match user {
        Some(user) => SessionFilter::default().user(user),
        None => SessionFilter::default(),
    };
    let page = sessions.list(&filter, None, 1000).await.unwrap();
    page.sessions.iter().map(|session| session.id()).collect()
}

/// The id in the visitor's cookie.
pub(crate) fn id(visitor: &Visitor) -> SessionId {
    let cookie = visitor.cookie().unwrap();
    token::split(cookie.split_once('=').unwrap().1).0
}

/// Waits until the background work of requests is done. For tests with a paused clock.
pub(crate) async fn until_undone() {
    tokio::time::sleep(Duration::from_secs(300)).await;
}
