//! Two requests of one session at the same time, on tower-sessions and on cloakroom.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, extract::Path, routing::get};
use axum_messages::{Messages, MessagesManagerLayer};
use tokio::sync::Barrier;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

use crate::support::{Browser, on_cloakroom};

/// Two requests to `/both/…` have both read the session before one of them writes it.
fn routes() -> Router {
    let (both, shown) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let insert = async move |Path(key): Path<String>, session: Session| {
        assert_eq!(session.get("begun").await.unwrap(), Some(true));
        both.wait().await;
        session.insert(&key, 1).await.unwrap();
    };
    let show = async move |Path(text): Path<String>, messages: Messages| {
        shown.wait().await;
        messages.info(text);
    };
    Router::new()
        .route(
            "/begin",
            get(async |session: Session| session.insert("begun", true).await.unwrap()),
        )
        .route(
            "/both/{key}",
            get(async move |path: Path<String>, session| insert(path, session).await),
        )
        .route(
            "/show/{text}",
            get(async move |path: Path<String>, messages| show(path, messages).await),
        )
        .route(
            "/keys",
            get(async |session: Session| {
                let mut keys = BTreeSet::new();
                for key in ["one", "two"] {
                    if session.get_value(key).await.unwrap().is_some() {
                        keys.insert(key);
                    }
                }
                format!("{keys:?}")
            }),
        )
        .route(
            "/messages",
            get(async |messages: Messages| messages.count().to_string()),
        )
        .layer(MessagesManagerLayer)
}

fn on_tower_sessions() -> Browser {
    Browser::new(routes().layer(SessionManagerLayer::new(MemoryStore::default())))
}

async fn both(browser: &Browser) -> String {
    browser.get("/begin").await;
    let (one, other) = (browser.copy(), browser.copy());
    tokio::join!(one.page("/both/one"), other.page("/both/two"));
    browser.page("/keys").await
}

#[tokio::test]
async fn on_tower_sessions_the_key_of_one_of_them_is_lost() {
    let keys = both(&on_tower_sessions()).await;
    assert!(keys == r#"{"one"}"# || keys == r#"{"two"}"#, "{keys}");
}

#[tokio::test]
async fn b1_on_cloakroom_the_keys_of_both_are_kept() {
    let fixture = on_cloakroom(routes());
    assert_eq!(both(&fixture.browser).await, r#"{"one", "two"}"#);
}

async fn messages(browser: &Browser) -> String {
    browser.get("/begin").await;
    let (one, other) = (browser.copy(), browser.copy());
    tokio::join!(one.page("/show/one"), other.page("/show/two"));
    browser.page("/messages").await
}

#[tokio::test]
async fn a_library_that_keeps_all_in_one_value_loses_one_of_two_on_both() {
    assert_eq!(messages(&on_tower_sessions()).await, "1");
    assert_eq!(messages(&on_cloakroom(routes()).browser).await, "1");
}
