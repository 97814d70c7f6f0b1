//! Signed and encrypted cookies.

use axum::Router;
use cloakroom::testing::FaultyStore;
use http::StatusCode;
use tower_sessions::{MemoryStore, SessionManagerLayer, cookie::Key};

use crate::{
    nodes::{import, new_layer, new_node, old_node_of},
    support::Browser,
};

async fn logged_in(node: Router) -> Browser {
    let browser = Browser::new(node);
    browser.page("/log_in/7").await;
    browser
}

/// The browser's cookie with its last byte changed.
fn forge(browser: &Browser) {
    let mut value = browser.cookies.get("id").unwrap().into_bytes();
    let last = value.len() - 1;
    value[last] = if value[last] == b'A' { b'B' } else { b'A' };
    browser
        .cookies
        .set("id", std::str::from_utf8(&value).unwrap());
}

#[tokio::test]
async fn a_signed_cookie_is_imported_and_a_forged_one_is_not() {
    let (old, key) = (MemoryStore::default(), Key::generate());
    let layer = SessionManagerLayer::new(old.clone()).with_signed(key.clone());
    let browser = logged_in(old_node_of(layer)).await;
    let node = || {
        new_node(&new_layer(
            FaultyStore::in_memory(),
            import(&old).signed(key.clone()),
        ))
    };
    let forged = browser.at(node());
    forge(&forged);
    assert_eq!(forged.page("/user").await, "nobody");
    // Nor is the id alone a signed cookie.
    let plain = browser.at(node());
    let value = plain.cookies.get("id").unwrap();
    plain.cookies.set("id", &value[value.len() - 22..]);
    assert_eq!(plain.page("/user").await, "nobody");
    assert_eq!(browser.at(node()).page("/user").await, "7");
}

#[tokio::test]
async fn an_encrypted_cookie_is_imported_and_a_forged_one_is_not() {
    let (old, key) = (MemoryStore::default(), Key::generate());
    let layer = SessionManagerLayer::new(old.clone()).with_private(key.clone());
    let browser = logged_in(old_node_of(layer)).await;
    let node = |key: Key| {
        new_node(&new_layer(
            FaultyStore::in_memory(),
            import(&old).private(key),
        ))
    };
    let forged = browser.at(node(key.clone()));
    forge(&forged);
    assert_eq!(forged.page("/user").await, "nobody");
    assert_eq!(
        browser.at(node(Key::generate())).page("/user").await,
        "nobody"
    );
    assert_eq!(browser.at(node(key)).page("/user").await, "7");
}

#[tokio::test]
async fn a_cookie_that_is_no_id_asks_nobody_and_harms_nobody() {
    let old = MemoryStore::default();
    let store = FaultyStore::in_memory();
    let node = new_node(&new_layer(store.clone(), import(&old)));
    for value in [
        "",
        "x",
        "%",
        "%zz",
        "AAAAAAAAAAAAAAAAAAAAA",
        "=;=",
        &"A".repeat(5000),
    ] {
        let browser = Browser::new(node.clone());
        browser.cookies.set("id", value);
        let reply = browser.get("/user").await;
        assert_eq!(
            (reply.status, &*reply.body),
            (StatusCode::OK, "nobody"),
            "{value}"
        );
    }
    assert_eq!(store.calls(), []);
}
