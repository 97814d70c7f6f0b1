//! What becomes of a session at its first request to a node with cloakroom.

use std::{sync::Arc, time::Duration};

use cloakroom::{Event, EventKind};
use parking_lot::Mutex;
use tower_sessions::{
    SessionStore as _,
    session::{Id, Record},
};

use crate::{
    nodes::{import, new_layer, new_node, old_node, old_records, postgres, redis},
    support::Browser,
};

#[tokio::test]
async fn a_session_in_postgresql_goes_on_with_its_values_and_its_user() {
    let (pool, old, new) = postgres().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/log_in/7").await;
    assert_eq!(browser.page("/count").await, "1");
    let old_cookie = browser.cookies.header().unwrap();
    assert_eq!(old_records(&pool).await, 1);

    let imported = Arc::new(Mutex::new(0));
    let told = Arc::clone(&imported);
    let layer = new_layer(new, import(&old)).on_event(move |event: &Event| {
        *told.lock() += u32::from(matches!(event.kind(), EventKind::Imported));
    });
    let browser = browser.at(new_node(&layer));
    let reply = browser.get("/user").await;
    assert_eq!(reply.body, "7");
    let cookie = reply.set_cookie();
    assert!(cookie.starts_with("__Host-id="), "{cookie}");
    // The old session had a day, and the new settings would give it a week.
    let age: u64 = cookie
        .split_once("Max-Age=")
        .unwrap()
        .1
        .split(';')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((86_000..=86_401).contains(&age), "{age}");
    assert_eq!(browser.page("/count").await, "2");
    // When they logged in is not known.
    assert_eq!(
        browser.page("/ours").await,
        r#"user=Some("7") authenticated=false"#
    );
    assert_eq!(*imported.lock(), 1);
    assert_eq!(old_records(&pool).await, 0);
    // The old cookie alone is worth nothing a minute later, and until then opens the same session.
    assert!(browser.cookies.header().unwrap().contains(&old_cookie));
}

#[tokio::test]
async fn a_session_in_redis_goes_on_with_its_values_and_its_user() {
    let (old, new) = redis().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/log_in/7").await;
    assert_eq!(browser.page("/count").await, "1");
    let id: Id = browser.cookies.get("id").unwrap().parse().unwrap();
    let browser = browser.at(new_node(&new_layer(new, import(&old))));
    assert_eq!(browser.page("/count").await, "2");
    assert_eq!(
        browser.page("/ours").await,
        r#"user=Some("7") authenticated=false"#
    );
    assert_eq!(old.load(&id).await.unwrap(), None);
}

#[tokio::test]
async fn an_anonymous_session_goes_on_too() {
    let (_, old, new) = postgres().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/count").await;
    let browser = browser.at(new_node(&new_layer(new, import(&old))));
    assert_eq!(browser.page("/count").await, "2");
    assert_eq!(browser.page("/ours").await, "user=None authenticated=false");
}

#[tokio::test]
async fn two_requests_at_once_import_one_session() {
    let (_, old, new) = postgres().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/log_in/7").await;
    let layer = new_layer(new, import(&old));
    let (one, other) = (browser.at(new_node(&layer)), browser.at(new_node(&layer)));
    let (first, second) = tokio::join!(one.page("/user"), other.page("/user"));
    assert_eq!((&*first, &*second), ("7", "7"));
    assert_eq!(
        (one.page("/user").await, other.page("/user").await),
        ("7".into(), "7".into())
    );
    let filter = cloakroom::SessionFilter::default().user("7");
    let page = layer.sessions().list(&filter, None, 10).await.unwrap();
    assert_eq!(page.sessions.len(), 1);
}

#[tokio::test]
async fn a_session_that_has_expired_or_never_was_is_not_imported() {
    let (_, old, new) = postgres().await;
    let layer = new_layer(new, import(&old));
    let mut record = Record {
        id: Id::default(),
        data: [("count".to_owned(), 1.into())].into(),
        expiry_date: time::OffsetDateTime::now_utc() - Duration::from_secs(1),
    };
    old.create(&mut record).await.unwrap();
    for id in [record.id, Id::default()] {
        let browser = Browser::new(new_node(&layer));
        browser.cookies.set("id", &id.to_string());
        assert_eq!(browser.page("/user").await, "nobody");
        assert_eq!(browser.cookies.session(), None);
        assert_eq!(browser.page("/count").await, "1");
    }
}
