//! A browser, and apps for it.

mod browser;
mod visitor;

use axum::Router;
use cloakroom::{SessionFilter, SessionLayer, Sessions};
use cloakroom_tower_sessions::TowerSessionsLayer;

pub(crate) use self::{
    browser::{Browser, Reply},
    visitor::{Views, Visitor},
};

/// How many live sessions there are.
pub(crate) async fn count(sessions: &Sessions) -> usize {
    let all = SessionFilter::default();
    sessions
        .list(&all, None, 1000)
        .await
        .unwrap()
        .sessions
        .len()
}

/// `routes` on cloakroom, over a store in memory.
pub(crate) struct Fixture {
    pub(crate) browser: Browser,
    pub(crate) sessions: Sessions,
}

pub(crate) fn on_cloakroom(routes: Router) -> Fixture {
    let sessions = SessionLayer::default();
    Fixture {
        sessions: sessions.sessions(),
        browser: Browser::new(routes.layer(TowerSessionsLayer::new()).layer(sessions)),
    }
}

impl Fixture {
    /// How many sessions there are.
    pub(crate) async fn count(&self) -> usize {
        count(&self.sessions).await
    }
}
