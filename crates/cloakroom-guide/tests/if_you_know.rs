//! The program of the page "If you know another library", with curl.

mod transcript;

use super::*;

#[tokio::test]
async fn curl_prints_what_the_page_shows() {
    let page = include_str!("../../../docs/guide/if-you-know.md");
    transcript::follow(page, app()).await;
}
