//! Old and new nodes behind one address, while visitors use it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::Request};
use http::header;
use tower::ServiceExt as _;

use crate::{
    nodes::{import, new_layer, new_node, old_node, old_records, postgres},
    support::Browser,
};

/// Sends a share of the requests to the new node, and all of a visitor who was there before: by cloakroom's cookie.
fn balancer(old: Router, new: Router, share: Arc<AtomicUsize>) -> Router {
    let requests = Arc::new(AtomicUsize::new(0));
    Router::new().fallback(async move |request: Request| {
        let cookies = request.headers().get(header::COOKIE);
        let was_there = cookies.is_some_and(|it| it.to_str().unwrap().contains("__Host-id="));
        // Spread evenly, and not in the visitors' own rhythm.
        let number = requests.fetch_add(1, Ordering::Relaxed) * 37 % 100;
        let node = if was_there || number < share.load(Ordering::Relaxed) {
            new
        } else {
            old
        };
        node.oneshot(request).await
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_logged_out_and_no_count_goes_back_while_the_nodes_change() {
    const VISITORS: u64 = 40;
    const REQUESTS: u64 = 12;
    let (pool, old, new) = postgres().await;
    let layer = new_layer(new, import(&old));
    let share = Arc::new(AtomicUsize::new(0));
    let address = balancer(old_node(&old), new_node(&layer), Arc::clone(&share));
    let visitors: Vec<_> = (0..VISITORS)
        .map(|user| {
            let (browser, share) = (Browser::new(address.clone()), Arc::clone(&share));
            tokio::spawn(async move {
                browser.page(&format!("/log_in/{user}")).await;
                for count in 1..=REQUESTS {
                    assert_eq!(browser.page("/count").await, count.to_string());
                    assert_eq!(browser.page("/user").await, user.to_string());
                    // Over the time that the visitors take, all nodes become new ones.
                    share.fetch_max(
                        usize::try_from(count * 100 / REQUESTS).unwrap(),
                        Ordering::Relaxed,
                    );
                }
                browser
            })
        })
        .collect();
    for (user, visitor) in visitors.into_iter().enumerate() {
        let browser = visitor.await.unwrap();
        assert!(browser.cookies.session().is_some());
        assert_eq!(
            browser.page("/ours").await,
            format!(r#"user=Some("{user}") authenticated=false"#)
        );
    }
    assert_eq!(old_records(&pool).await, 0);
    let sessions = layer.sessions().list(&Default::default(), None, 1000).await;
    assert_eq!(sessions.unwrap().sessions.len(), VISITORS as usize);
}
