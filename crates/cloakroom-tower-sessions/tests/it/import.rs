//! Sessions of a tower-sessions store in memory go on. Those of stores on servers are in `old-stores`.

use std::time::{Duration, SystemTime};

use axum::{Router, routing::get};
use cloakroom::{
    PresentedId, RequireUser, SessionHandle, SessionLayer, StoreCall, testing::FaultyStore,
};
use cloakroom_tower_sessions::{
    TowerSessionsImport, TowerSessionsLayer, axum_login_user, delete_remaining,
};
use http::{StatusCode, header};
use serde_json::json;

use crate::support::Browser;

fn in_a_day() -> SystemTime {
    SystemTime::now() + Duration::from_secs(24 * 60 * 60)
}

macro_rules! import {
    ($version:ident, $tower_sessions:ident) => {
        mod $version {
            use $tower_sessions::{
                MemoryStore, Session, SessionManagerLayer, SessionStore as _,
                session::{Id, Record},
                session_store::Error as StoreError,
            };

            use super::*;

            fn routes() -> Router {
                let begin = async |session: Session| {
                    let user = json!({ "user_id": 7 });
                    session.insert("user", user).await.unwrap();
                    session.insert("cart", ["boots"]).await.unwrap();
                };
                let show = async |session: Session, handle: SessionHandle| {
                    let id = session.id().map(|id| id.0.to_le_bytes());
                    let is_known = matches!(handle.presented_id(), PresentedId::Id(_));
                    assert_eq!(is_known, id.is_some());
                    let ours = handle.load().await.unwrap();
                    assert_eq!(id, ours.id().map(|id| *id.as_bytes()));
                    let cart: Option<Vec<String>> = session.get("cart").await.unwrap();
                    format!("{:?} {:?}", ours.user(), cart.unwrap_or_default())
                };
                // With tower-sessions' session alone.
                let shown = async |session: Session| {
                    let user = session.get_value("user").await.unwrap();
                    let cart: Option<Vec<String>> = session.get("cart").await.unwrap();
                    let user = user.map(|user| user["user_id"].to_string());
                    format!("{user:?} {:?}", cart.unwrap_or_default())
                };
                let change = async |session: Session| session.insert("cart", ["hat"]).await.unwrap();
                Router::new()
                    .route("/begin", get(begin))
                    .route("/change", get(change))
                    .route("/flush", get(async |session: Session| session.flush().await.unwrap()))
                    .route("/shown", get(shown))
                    .route("/", get(show))
            }

            fn old_node(store: &MemoryStore) -> Router {
                routes().layer(SessionManagerLayer::new(store.clone()))
            }

            fn new_layer(store: &MemoryStore, keep: bool) -> SessionLayer {
                importing(SessionLayer::default(), store, keep)
            }

            fn importing(layer: SessionLayer, store: &MemoryStore, keep: bool) -> SessionLayer {
                let import = TowerSessionsImport::new(store.clone())
                    .until(in_a_day())
                    .user_from("user", axum_login_user)
                    .keep(keep);
                layer.import(import)
            }

            fn new_node(layer: &SessionLayer) -> Router {
                let bridge = TowerSessionsLayer::new().user_from("user", axum_login_user);
                let fresh = RequireUser::new().fresh(Duration::from_secs(60 * 60));
                let log_in = async |session: cloakroom::Session| session.log_in(7).unwrap();
                Router::new()
                    .route("/pay", get(async || "paid"))
                    .route_layer(fresh)
                    .route(
                        "/account",
                        get(async || "an account").route_layer(RequireUser::new()),
                    )
                    .route("/log_in", get(log_in))
                    .route("/static", get(async || "static"))
                    .merge(routes())
                    .layer(bridge)
                    .layer(layer.clone())
            }

            /// A browser that has a session of tower-sessions, and a node with cloakroom.
            async fn moved(store: &MemoryStore, keep: bool) -> Browser {
                let browser = Browser::new(old_node(store));
                browser.page("/begin").await;
                browser.at(new_node(&new_layer(store, keep)))
            }

            #[tokio::test]
            async fn a_session_goes_on_and_theirs_has_its_id_at_once() {
                let store = MemoryStore::default();
                let browser = moved(&store, false).await;
                let id = browser.cookies.get("id").unwrap().parse().unwrap();
                assert!(store.load(&id).await.unwrap().is_some());
                for _ in 0..2 {
                    assert_eq!(browser.page("/").await, r#"Some("7") ["boots"]"#);
                }
                assert!(browser.cookies.session().is_some());
                assert!(store.load(&id).await.unwrap().is_none());
                // Who has neither cookie is a stranger.
                assert_eq!(browser.other().page("/").await, "None []");
            }

            /// The old store, which fails to load, to delete, or to decode.
            #[derive(Clone, Copy, Debug)]
            enum Broken {
                Loading,
                Decoding,
                Deleting,
            }

            #[derive(Clone, Debug)]
            struct BrokenStore(MemoryStore, Option<Broken>);

            #[async_trait::async_trait]
            impl $tower_sessions::SessionStore for BrokenStore {
                async fn save(&self, record: &Record) -> Result<(), StoreError> {
                    self.0.save(record).await
                }

                async fn load(&self, id: &Id) -> Result<Option<Record>, StoreError> {
                    match self.1 {
                        Some(Broken::Loading) => Err(StoreError::Backend("down".to_owned())),
                        Some(Broken::Decoding) => Err(StoreError::Decode("garbled".to_owned())),
                        _ => self.0.load(id).await,
                    }
                }

                async fn delete(&self, id: &Id) -> Result<(), StoreError> {
                    match self.1 {
                        Some(Broken::Deleting) => Err(StoreError::Backend("down".to_owned())),
                        _ => self.0.delete(id).await,
                    }
                }
            }

            /// The status of a log-out, and whether the old record is there after it.
            async fn log_out(broken: Option<Broken>) -> (u16, bool) {
                let store = MemoryStore::default();
                let browser = moved(&store, true).await;
                let id = browser.cookies.get("id").unwrap().parse().unwrap();
                let import = TowerSessionsImport::new(BrokenStore(store.clone(), broken))
                    .until(in_a_day())
                    .keep(true);
                let destroy = async |session: cloakroom::Session| session.destroy();
                let layer = SessionLayer::default().import(import);
                let browser = browser.at(Router::new().route("/", get(destroy)).layer(layer));
                let status = browser.get("/").await.status;
                (status.as_u16(), store.load(&id).await.unwrap().is_some())
            }

            #[tokio::test]
            async fn an_old_store_that_fails_is_a_503_and_a_record_that_does_not_decode_is_none() {
                assert_eq!(log_out(None).await, (200, false));
                assert_eq!(log_out(Some(Broken::Loading)).await, (503, true));
                assert_eq!(log_out(Some(Broken::Deleting)).await, (503, true));
                assert_eq!(log_out(Some(Broken::Decoding)).await.0, 200);
            }

            #[tokio::test]
            async fn an_old_record_that_is_kept_stays() {
                let store = MemoryStore::default();
                let browser = moved(&store, true).await;
                let id = browser.cookies.get("id").unwrap().parse().unwrap();
                assert_eq!(browser.page("/").await, r#"Some("7") ["boots"]"#);
                assert!(store.load(&id).await.unwrap().is_some());
            }

            #[tokio::test]
            async fn i6_an_imported_session_has_a_user_and_no_recent_log_in() {
                let browser = moved(&MemoryStore::default(), false).await;
                assert_eq!(browser.page("/account").await, "an account");
                for _ in 0..2 {
                    let reply = browser.get("/pay").await;
                    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
                    let challenge = &reply.headers[header::WWW_AUTHENTICATE];
                    let challenge = challenge.to_str().unwrap();
                    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
                }
                browser.get("/log_in").await;
                assert_eq!(browser.page("/pay").await, "paid");
            }

            #[tokio::test]
            async fn i7_with_an_old_cookie_the_session_is_looked_up_because_its_id_is_not_known() {
                use StoreCall::{Create, Load, LoadLatest};

                let (old, store) = (MemoryStore::default(), FaultyStore::in_memory());
                let browser = Browser::new(old_node(&old));
                browser.page("/begin").await;
                let layer = importing(SessionLayer::new(store.clone()), &old, false);
                let browser = browser.at(new_node(&layer.reap_every(None)));
                browser.page("/static").await;
                assert_eq!(store.calls(), [LoadLatest, Create, Create]);
                browser.page("/").await;
                let _ = store.calls();
                browser.page("/static").await;
                assert_eq!(store.calls(), [Load]);
                let without = browser.other();
                let own = browser.cookies.session().unwrap();
                without.cookies.set("__Host-id", &own);
                without.page("/static").await;
                assert_eq!(store.calls(), []);
                assert_eq!(without.page("/shown").await, r#"Some("7") ["boots"]"#);
            }

            #[tokio::test]
            async fn back_and_forth_each_library_has_what_was_changed_there() {
                const BOOTS: &str = r#"Some("7") ["boots"]"#;
                const HAT: &str = r#"Some("7") ["hat"]"#;
                let store = MemoryStore::default();
                let (old, layer) = (old_node(&store), new_layer(&store, true));
                let browser = Browser::new(old.clone());
                browser.page("/begin").await;
                let browser = browser.at(new_node(&layer));
                browser.page("/change").await;
                assert_eq!(browser.page("/shown").await, HAT);
                // Back: as it was at the import. The cookie of cloakroom stays in the browser.
                let browser = browser.at(old.clone());
                assert_eq!(browser.page("/shown").await, BOOTS);
                browser.page("/flush").await;
                assert_eq!(browser.page("/shown").await, "None []");
                // Forth over the same table: the log-out is not known there.
                assert_eq!(browser.at(new_node(&layer)).page("/shown").await, HAT);
                layer.sessions().revoke_all(|_| {}).await.unwrap();
                assert_eq!(browser.at(new_node(&layer)).page("/shown").await, "None []");
            }

            #[tokio::test]
            async fn i3_forth_over_the_same_table_no_old_session_is_imported_twice_and_over_an_empty_one_it_is() {
                let store = MemoryStore::default();
                let (old, layer) = (old_node(&store), new_layer(&store, true));
                let browser = Browser::new(old.clone());
                browser.page("/begin").await;
                browser.at(new_node(&layer)).page("/shown").await;
                layer.sessions().revoke_all(|_| {}).await.unwrap();
                let browser = browser.at(old);
                browser.page("/change").await;
                assert_eq!(browser.at(new_node(&layer)).page("/shown").await, "None []");
                let empty = new_node(&new_layer(&store, true));
                assert_eq!(browser.at(empty).page("/shown").await, r#"Some("7") ["hat"]"#);
            }
        }
    };
}

import!(v0_14, tower_sessions);
import!(v0_15, tower_sessions_0_15);

#[tokio::test(start_paused = true)]
async fn what_is_left_is_deleted_until_a_batch_is_empty() {
    let mut rows = 25;
    let deleted = delete_remaining(10, Duration::from_secs(1), async |batch| {
        let batch = u64::from(batch).min(rows);
        rows -= batch;
        Ok::<_, ()>(batch)
    });
    assert_eq!(deleted.await, Ok(25));
    assert_eq!(
        delete_remaining(10, Duration::ZERO, async |_| Err(7)).await,
        Err(7)
    );
}
