//! With `keep`, tower-sessions can take over again.

use crate::{
    nodes::{import, new_layer, new_node, old_node, old_records, postgres},
    support::Browser,
};

#[tokio::test]
async fn with_keep_the_old_cookie_opens_the_old_session_again() {
    let (pool, old, new) = postgres().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/log_in/7").await;
    assert_eq!(browser.page("/count").await, "1");
    let browser = browser.at(new_node(&new_layer(new, import(&old).keep(true))));
    assert_eq!(browser.page("/count").await, "2");
    assert_eq!(old_records(&pool).await, 1);
    let browser = browser.at(old_node(&old));
    assert_eq!(browser.page("/user").await, "7");
    // As it was when it was imported.
    assert_eq!(browser.page("/count").await, "2");
}

#[tokio::test]
async fn who_logged_out_in_between_is_not_logged_in_by_going_back() {
    let (pool, old, new) = postgres().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/log_in/7").await;
    let browser = browser.at(new_node(&new_layer(new, import(&old).keep(true))));
    assert_eq!(browser.page("/user").await, "7");
    browser.page("/log_out").await;
    assert_eq!(old_records(&pool).await, 0);
    assert_eq!(browser.page("/user").await, "nobody");
    let browser = browser.at(old_node(&old));
    assert_eq!(browser.page("/user").await, "nobody");
}

#[tokio::test]
async fn who_logged_in_in_between_has_no_old_session_any_more() {
    let (pool, old, new) = postgres().await;
    let browser = Browser::new(old_node(&old));
    browser.page("/log_in/7").await;
    let browser = browser.at(new_node(&new_layer(new, import(&old).keep(true))));
    browser.page("/log_in/8").await;
    assert_eq!(old_records(&pool).await, 0);
    assert_eq!(browser.page("/user").await, "8");
    let browser = browser.at(old_node(&old));
    assert_eq!(browser.page("/user").await, "nobody");
}
