//! The program of the page "Getting started", with curl.

mod transcript;

use super::*;

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let page = include_str!("../../../docs/guide/getting-started.md");
    transcript::follow(page, app()).await;
}
