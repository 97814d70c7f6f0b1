//! Requests that their clients give up: [`requests`].

use std::time::{Duration, Instant};

use cloakroom::{SessionLayer, SessionStore};

use crate::support::{
    Visitor,
    proxy::{Mode, Proxy},
    token::{NEVER_ISSUED, join},
};

/// For so long, and 200 of them at least, requests with an invented token over a wire that is
/// slower than their clients are patient.
pub(crate) async fn requests<S>(store: &S, wire: &Proxy, duration: Duration)
where
    S: SessionStore + Clone,
{
    let layer = SessionLayer::new(store.clone()).reap_every(None);
    let request = || {
        let visitor = Visitor::new(&layer);
        let token = join(NEVER_ISSUED, [7; 16]);
        visitor.set_cookie(Some(format!("__Host-id={token}")));
        async move {
            let answer = visitor.visit(async |session| session.get::<u32>("n").map(drop));
            tokio::time::timeout(Duration::from_millis(4), answer).await
        }
    };
    wire.set(Mode::Delay(Duration::from_millis(3)));
    let until = Instant::now() + duration;
    let mut given_up = 0;
    while given_up < 100 || Instant::now() < until {
        given_up += usize::from(request().await.is_err());
    }
    let at_once = futures::future::join_all((0..100).map(|_| request())).await;
    given_up += at_once.iter().filter(|answer| answer.is_err()).count();
    assert!(given_up >= 150, "{given_up}");
    wire.set(Mode::Pass);
    // What is still under way has an answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
}
