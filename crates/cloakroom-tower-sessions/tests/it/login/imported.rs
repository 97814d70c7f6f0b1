//! The example `sqlite` before and after the switch: axum-login over sessions that tower-sessions has begun.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum_login::AuthManagerLayerBuilder;
use axum_messages::MessagesManagerLayer;
use cloakroom::{SessionFilter, SessionLayer};
use cloakroom_tower_sessions::{TowerSessionsImport, axum_login_user};
use http::StatusCode;
use tower_sessions::{MemoryStore, SessionManagerLayer, SessionStore as _, session::Id};

use super::{Example, log_in_as, on_cloakroom, sqlite::routes};
use crate::support::{Browser, count};

/// An old node with tower-sessions, and a new one with cloakroom, of one application.
struct Switch {
    old: Router,
    new: Router,
    old_store: MemoryStore,
    sessions: cloakroom::Sessions,
    example: Example,
}

impl Switch {
    async fn new(keep: bool) -> Self {
        let example = Example::new(Router::new()).await;
        let old_store = MemoryStore::default();
        let layer = SessionManagerLayer::new(old_store.clone());
        let auth = AuthManagerLayerBuilder::new(example.backend.clone(), layer).build();
        let import = TowerSessionsImport::new(old_store.clone())
            .until(SystemTime::now() + Duration::from_secs(24 * 60 * 60))
            .user_from("axum-login.data", axum_login_user)
            .keep(keep);
        let layer = SessionLayer::default().import(import);
        Self {
            old: routes().layer(MessagesManagerLayer).layer(auth),
            new: on_cloakroom(routes(), &example.backend, &layer),
            old_store,
            sessions: layer.sessions(),
            example,
        }
    }

    /// A browser that has logged in at the old node.
    async fn ferris(&self) -> Browser {
        let browser = Browser::new(self.old.clone());
        log_in_as(&browser, "ferris").await;
        browser
    }

    async fn has_old(&self, browser: &Browser) -> bool {
        let id: Id = browser.cookies.get("id").unwrap().parse().unwrap();
        self.old_store.load(&id).await.unwrap().is_some()
    }
}

/// Whether nobody is logged in.
async fn is_nobody(browser: &Browser) -> bool {
    browser.get("/").await.status == StatusCode::TEMPORARY_REDIRECT
}

#[tokio::test]
async fn who_logged_in_before_the_switch_is_known_after_it_and_a_log_out_holds_on_both_sides() {
    for keep in [false, true] {
        let switch = Switch::new(keep).await;
        let at_old = switch.ferris().await;
        let at_new = at_old.at(switch.new.clone());
        // The message of the log-in has moved too.
        assert_eq!(
            at_new.page("/").await,
            "ferris: Successfully logged in as ferris"
        );
        assert_eq!(at_new.page("/").await, "ferris: ");
        assert_eq!(switch.has_old(&at_old).await, keep);
        assert_eq!(is_nobody(&at_old).await, !keep);
        let filter = SessionFilter::default().user("1");
        let page = switch.sessions.list(&filter, None, 10).await.unwrap();
        assert_eq!(page.sessions.len(), 1);

        let copy = at_new.copy();
        assert_eq!(at_new.get("/logout").await.location(), "/login");
        assert!(!switch.has_old(&copy).await);
        for browser in [
            &at_new,
            &copy,
            &at_new.at(switch.old.clone()),
            &copy.at(switch.old.clone()),
        ] {
            assert!(is_nobody(browser).await);
        }
        // Nor with the old cookie alone.
        let old_alone = Browser::new(switch.new.clone());
        old_alone
            .cookies
            .set("id", &copy.cookies.get("id").unwrap());
        assert!(is_nobody(&old_alone).await);
        assert_eq!(count(&switch.sessions).await, 0);
    }
}

#[tokio::test]
async fn another_user_who_logs_in_after_the_switch_ends_the_old_session() {
    for keep in [false, true] {
        let switch = Switch::new(keep).await;
        let browser = switch.ferris().await.at(switch.new.clone());
        log_in_as(&browser, "admin").await;
        assert!(browser.page("/").await.starts_with("admin: "));
        assert!(!switch.has_old(&browser).await);
        assert!(is_nobody(&browser.at(switch.old.clone())).await);
    }
}

#[tokio::test]
async fn a_password_that_was_changed_before_the_switch_ends_the_session_at_it() {
    for keep in [false, true] {
        let switch = Switch::new(keep).await;
        let browser = switch.ferris().await;
        switch
            .example
            .backend
            .change_password("ferris", "swordfish")
            .await;
        let browser = browser.at(switch.new.clone());
        assert!(is_nobody(&browser).await);
        assert!(!switch.has_old(&browser).await);
        assert_eq!(count(&switch.sessions).await, 0);
    }
}
