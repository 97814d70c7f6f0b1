//! What ending sessions and the limit for each user need of a store that several nodes share.

use std::time::Duration;

use cloakroom::{Session, SessionFilter, SessionId, SessionLayer, SessionStore};
use futures::future::{join, join_all};
use http::StatusCode;
use tokio::time::{sleep, timeout};

use crate::support::{Visitor, token};

const MOST: usize = 3;

/// Holds the nodes to it, each of which has one of these stores: at least two,
/// and all the same place.
pub(crate) async fn is_kept_by<S: SessionStore>(nodes: Vec<S>) {
    let layer = |store| {
        SessionLayer::new(store)
            .max_sessions_per_user(MOST)
            .store_timeout(Duration::from_secs(60))
    };
    let nodes: Vec<_> = nodes.into_iter().map(layer).collect();
    no_more_log_in_than_may(&nodes).await;
    a_revoked_session_is_dead_elsewhere(&nodes).await;
    nobody_escapes_by_moving(&nodes).await;
}

async fn no_more_log_in_than_may(nodes: &[SessionLayer]) {
    let visitors: Vec<_> = (0..12)
        .map(|index| Visitor::new(&nodes[index % nodes.len()]))
        .collect();
    let tasks = visitors.iter().cloned().map(|visitor| {
        tokio::spawn(async move {
            for _ in 0..2 {
                // Newer ones may have outdone it.
                let status = log_in(&visitor, "ann").await;
                assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE);
            }
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
    for node in nodes {
        // A log-in that failed because the store was busy is undone in the background.
        let settled = async {
            while listed(node, "ann").await.len() != MOST {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let settled = timeout(Duration::from_secs(120), settled).await;
        settled.expect("as many sessions as the limit, in the end");
    }
    let mut known = 0;
    for visitor in &visitors {
        known += usize::from(is_known(visitor).await);
    }
    assert_eq!(known, MOST);
}

async fn a_revoked_session_is_dead_elsewhere(nodes: &[SessionLayer]) {
    let (here, there) = (&nodes[0], &nodes[1]);
    let bob = Visitor::new(here);
    assert_eq!(log_in(&bob, "bob").await, StatusCode::OK);
    assert!(is_known(&bob).await);
    let ended = id(&bob);
    assert_eq!(listed(there, "bob").await, [ended]);
    let sessions = there.sessions();
    assert!(!sessions.revoke_for("ann", ended).await.unwrap());
    assert!(sessions.revoke_for("bob", ended).await.unwrap());
    assert!(!is_known(&bob).await);
    assert!(here.sessions().get(ended).await.unwrap().is_none());
    assert!(!here.sessions().revoke(ended).await.unwrap());
}

async fn nobody_escapes_by_moving(nodes: &[SessionLayer]) {
    for round in 0..5 {
        let visitors: Vec<_> = (0..MOST)
            .map(|index| Visitor::new(&nodes[index % nodes.len()]))
            .collect();
        for visitor in &visitors {
            assert_eq!(log_in(visitor, "cho").await, StatusCode::OK);
        }
        let moving = visitors.iter().map(async |visitor| {
            for _ in 0..3 {
                visitor
                    .visit(async |session: Session| session.cycle_id())
                    .await;
            }
        });
        let sessions = nodes[round % nodes.len()].sessions();
        let (ended, _) = join(sessions.revoke_user("cho"), join_all(moving)).await;
        assert_eq!(ended.unwrap(), MOST as u64, "{round}");
        for visitor in &visitors {
            assert!(!is_known(visitor).await, "{round}");
        }
        assert_eq!(listed(&nodes[0], "cho").await, [], "{round}");
    }
}

async fn log_in(visitor: &Visitor, user: &'static str) -> StatusCode {
    let log_in = async |session: Session| session.log_in(user);
    visitor.visit(log_in).await.status
}

async fn is_known(visitor: &Visitor) -> bool {
    let reply = visitor.visit(async |session: Session| session.is_new().to_string());
    reply.await.body == "false"
}

async fn listed(layer: &SessionLayer, user: &str) -> Vec<SessionId> {
    let filter = SessionFilter::default().user(user);
    let page = layer.sessions().list(&filter, None, 1000).await.unwrap();
    page.sessions.iter().map(|session| session.id()).collect()
}

/// The id in the visitor's cookie.
fn id(visitor: &Visitor) -> SessionId {
    let cookie = visitor.cookie().unwrap();
    token::split(cookie.split_once('=').unwrap().1).0
}
