//! A store in memory is asked without a future wherever that will do: whatever a request does
//! comes to the same as over a store that has to be waited for.

use std::time::Duration;

use cloakroom::{EventKind, MemoryStore, Session, SessionCookie, SessionLayer, SessionStore};
use futures::future::join_all;
use http::StatusCode;
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::support::{
    Browser, FaultyStore, FixedClock, Recorder, Visitor,
    fixture::{MINUTE, SECOND, headers, visitor_of},
};

/// Everything that the routes offer, what is ordinary more often than the rest.
const PATHS: [&str; 20] = [
    "/set/n/1",
    "/set/n/2",
    "/set/m/1",
    "/set/n/2",
    "/load",
    "/load",
    "/remove/n",
    "/back-and-forth",
    "/peek",
    "/save",
    "/touch",
    "/in/ann",
    "/in/bob",
    "/cycle",
    "/destroy",
    "/begin-again",
    "/persistent/true",
    "/persistent/false",
    "/idle/120000",
    "/absolute/180000",
];

#[derive(Clone, Debug)]
enum Step {
    Get(usize, &'static str),
    /// The first visitor's cookies get into the hands of another.
    Copy(usize),
    /// A cookie under the former name, too.
    Plant(usize),
    Wait(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..3_usize, prop::sample::select(&PATHS[..]))
            .prop_map(|(who, path)| Step::Get(who, path)),
        1 => (1..3_usize).prop_map(Step::Copy),
        1 => (0..3_usize).prop_map(Step::Plant),
        1 => (1..8_u32).prop_map(|seconds| Step::Wait(10 * seconds * SECOND)),
    ];
    prop::collection::vec(step, 0..60)
}

/// A layer, three visitors of it, and what it tells.
struct House {
    visitors: Vec<Browser>,
    recorder: Recorder,
}

impl House {
    fn new(store: impl SessionStore, clock: &FixedClock, renews: bool) -> Self {
        let recorder = Recorder::default();
        let cookie = SessionCookie::new("id").also_read("old").build().unwrap();
        let layer = SessionLayer::new(store)
            .clock(clock.clone())
            .cookie(cookie)
            .renew_every(renews.then_some(2 * MINUTE))
            .reap_every(None)
            .on_event(recorder.clone());
        let visitors = (0..3).map(|_| visitor_of(layer.clone())).collect();
        Self { visitors, recorder }
    }

    /// All that can be seen of what a request came to, but for ids and tokens.
    async fn get(&self, who: usize, path: &str) -> String {
        let reply = self.visitors[who].get(path).await;
        let told: Vec<String> = self.recorder.kinds().iter().map(name).collect();
        let (status, headers, body) = (reply.status, headers(&reply), reply.body);
        format!("{status} {body} {headers:?} {told:?}")
    }

    fn copy(&mut self, who: usize) {
        self.visitors[who] = self.visitors[0].twin();
    }

    fn plant(&self, who: usize) {
        if let Some(token) = self.visitors[0].cookie("__Host-id") {
            self.visitors[who].set_cookie("old", &token);
        }
    }
}

fn name(kind: &EventKind) -> String {
    match kind {
        EventKind::LoggedIn { from, .. } => format!("LoggedIn, from one: {}", from.is_some()),
        EventKind::Cycled { .. } => "Cycled".to_owned(),
        other => format!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn a_store_in_memory_is_like_one_that_has_to_be_waited_for(
        steps in steps(),
        renews in any::<bool>(),
    ) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let clock = FixedClock::default();
        let (memory, waiting) = (MemoryStore::default(), FaultyStore::in_memory());
        let mut houses = [
            House::new(memory.clone(), &clock, renews),
            House::new(waiting.clone(), &clock, renews),
        ];
        let mut waited = Duration::ZERO;
        for step in steps {
            match step {
                Step::Get(who, path) => {
                    let [at_once, later] = &houses;
                    let at_once = runtime.block_on(at_once.get(who, path));
                    prop_assert_eq!(at_once, runtime.block_on(later.get(who, path)));
                }
                Step::Copy(who) => houses.iter_mut().for_each(|house| house.copy(who)),
                Step::Plant(who) => houses.iter().for_each(|house| house.plant(who)),
                // Which of the expired a newcomer sees out first is not said.
                Step::Wait(duration) if waited + duration < 6 * MINUTE => {
                    waited += duration;
                    clock.advance(duration);
                }
                Step::Wait(_) => {}
            }
            prop_assert_eq!(memory.len(), waiting.inner().len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m3_concurrent_updates_of_a_session_in_memory_add_up() {
    let visitor = Visitor::new(&SessionLayer::default());
    visitor
        .visit(async |session: Session| session.insert("n", 0))
        .await;
    let tasks = (0..16).map(|_| {
        let visitor = visitor.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                let counting = visitor.visit(async |session: Session| {
                    session.update("n", |n: Option<u64>| n.unwrap_or(0) + 1)?;
                    Ok::<_, cloakroom::Error>(())
                });
                assert_eq!(counting.await.status, StatusCode::OK);
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
    let counted = visitor.visit(async |session: Session| {
        Ok::<_, cloakroom::Error>(session.get::<u64>("n")?.unwrap().to_string())
    });
    assert_eq!(counted.await.body, "3200");
}
