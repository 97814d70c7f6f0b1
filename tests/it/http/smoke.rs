use axum::{Router, routing::get};
use cloakroom::{Error, Session, SessionLayer};

use crate::support::{Browser, FaultyStore, FixedClock};

async fn counter(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |n: Option<u64>| n.unwrap_or(0) + 1)?;
    Ok(format!("visit {visits}"))
}

#[tokio::test]
async fn a_log_in_takes_the_data_along_and_leaves_the_old_token_worthless() {
    let app = Router::new()
        .route("/", get(counter))
        .route("/in", get(async |session: Session| session.log_in("ann")))
        .layer(SessionLayer::new(FaultyStore::in_memory()).clock(FixedClock::default()));
    let ann = Browser::new(app);
    assert_eq!(ann.get("/").await.body, "visit 1");
    assert_eq!(ann.get("/").await.body, "visit 2");
    let straggler = ann.twin();
    ann.get("/in").await;
    assert_eq!(ann.get("/").await.body, "visit 3");
    let late = straggler.get("/").await;
    assert_eq!(late.body, "visit 1");
    assert!(late.set_cookies().is_empty());
}
