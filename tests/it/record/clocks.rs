//! L7: whatever a clock says, and though it says another time at each look, nothing overflows and no request fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloakroom::{MemoryStore, SessionFilter, SessionLayer, SessionStore, Timestamp};
use http::StatusCode;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::runtime::Builder;

use crate::support::{FaultyStore, fixture::visitor_of};

const PATHS: [&str; 18] = [
    "/set/n/1",
    "/set/n/2",
    "/load",
    "/peek",
    "/remove/n",
    "/save",
    "/touch",
    "/in/ann",
    "/in/bob",
    "/cycle",
    "/destroy",
    "/begin-again",
    "/persistent/true",
    "/idle/120000",
    "/absolute/180000",
    "/absolute/never",
    "/remember/18446744073709551615",
    "/remember/60000",
];

/// A time that is near the others, or far from all of them.
fn time() -> impl Strategy<Value = Timestamp> {
    const NOW: u64 = 1_767_225_600_000;
    prop_oneof![
        6 => (NOW..NOW + 300_000).prop_map(Timestamp::from_millis),
        2 => (NOW..NOW + 200_000_000).prop_map(Timestamp::from_millis),
        1 => any::<u64>().prop_map(Timestamp::from_millis),
        1 => (0..100_u64).prop_map(Timestamp::from_millis),
        1 => Just(Timestamp::MAX),
    ]
}

fn layer(store: impl SessionStore, times: &[Timestamp]) -> SessionLayer {
    let (times, looks) = (Arc::<[Timestamp]>::from(times), AtomicUsize::new(0));
    SessionLayer::new(store)
        .clock(move || times[looks.fetch_add(1, Ordering::Relaxed) % times.len()])
        .reap_every(None)
        .max_sessions_per_user(Some(2))
        .renew_every(Some(Duration::from_secs(60)))
}

async fn run(layer: SessionLayer, steps: &[(usize, &str)]) -> Result<(), TestCaseError> {
    let (sessions, visitors) = (
        layer.sessions(),
        [(); 3].map(|()| visitor_of(layer.clone())),
    );
    for (who, path) in steps {
        let reply = visitors[*who].get(path).await;
        let is_answered = match reply.status {
            StatusCode::OK => true,
            // The new session has expired before the limit of sessions is enforced.
            StatusCode::SERVICE_UNAVAILABLE => path.starts_with("/in/"),
            // By then the session has ended, which these tell the handler.
            _ => matches!(*path, "/save" | "/touch"),
        };
        prop_assert!(is_answered, "{path}: {} {}", reply.status, reply.body);
    }
    let filter = SessionFilter::default().user("ann");
    prop_assert!(sessions.count_matching(&filter).await.is_ok());
    prop_assert!(sessions.expire_idle(Duration::MAX).await.is_ok());
    prop_assert!(sessions.expire_idle(Duration::ZERO).await.is_ok());
    prop_assert!(sessions.revoke_user("ann").await.is_ok());
    prop_assert!(sessions.reap().await.is_ok());
    Ok(())
}

proptest! {
    #[test]
    fn l7_a_clock_that_jumps_at_each_look_fails_no_request(
        times in vec(time(), 1..40),
        steps in vec((0..3_usize, select(&PATHS[..])), 0..40),
    ) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(layer(MemoryStore::default(), &times), &steps))?;
        runtime.block_on(run(layer(FaultyStore::in_memory(), &times), &steps))?;
    }
}
