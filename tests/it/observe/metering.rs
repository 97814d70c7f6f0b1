//! The statistics as metrics, under the names that the docs of `Stats` list.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use cloakroom::{
    CircuitBreaker, Clock as _, MemoryStore, Session, SessionId, SessionLayer, StoreError,
    import::{Import, OldSession, OldToken},
    store::StoreErrorKind,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;

use crate::support::{
    Client, Fault, FaultyStore, FixedClock, StoreCall, Visitor,
    fixture::{DAY, MINUTE, SECOND},
    process::Directory,
};

/// Writes down every metric as `name{label=value} value`.
#[derive(Default)]
struct Notes {
    values: Mutex<Vec<(String, Arc<Value>)>>,
    /// `kind name`, the unit, the description.
    described: Mutex<Vec<(String, Option<Unit>, String)>>,
    /// Whether the labels that every metric has are written down too.
    shows_common: bool,
}

#[derive(Default)]
struct Value {
    bits: AtomicU64,
    times: AtomicU64,
}

impl Value {
    fn change(&self, to: impl Fn(f64) -> f64) {
        let bits = self.bits.load(Ordering::Relaxed);
        let changed = to(f64::from_bits(bits)).to_bits();
        self.bits.store(changed, Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

impl CounterFn for Value {
    fn increment(&self, value: u64) {
        self.change(|was| was + value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Value {
    fn increment(&self, value: f64) {
        self.change(|was| was + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|was| was - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        self.change(|was| was + value);
    }
}

impl Notes {
    fn value(&self, kind: &str, key: &Key) -> Arc<Value> {
        // Those that every metric has are looked at by a test of their own.
        let labels: Vec<String> = key
            .labels()
            .filter(|label| self.shows_common || !matches!(label.key(), "layer" | "store"))
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{kind} {}{{{}}}", key.name(), labels.join(","));
        let mut values = self.values.lock();
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            return Arc::clone(value);
        }
        values.push((name, Arc::default()));
        Arc::clone(&values.last().unwrap().1)
    }

    #[track_caller]
    fn get(&self, name: &str) -> f64 {
        let values = self.values.lock();
        let found = values.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.get()
    }

    fn describe(&self, kind: &str, name: &KeyName, unit: Option<Unit>, text: &str) {
        let name = format!("{kind} {}", name.as_str());
        self.described.lock().push((name, unit, text.to_owned()));
    }

    fn names(&self) -> Vec<String> {
        let values = self.values.lock();
        values.iter().map(|(name, _)| name.clone()).collect()
    }
}

impl Recorder for Notes {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("counter", &name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("gauge", &name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("histogram", &name, unit, &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value("counter", key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value("gauge", key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value("histogram", key))
    }
}

async fn set(visitor: &Visitor, key: &'static str) {
    visitor
        .visit(async |session: Session| session.insert(key, 1))
        .await;
}

/// Another library, with a session under every cookie.
struct Other;

impl Import for Other {
    fn cookie_name(&self) -> &str {
        "old"
    }

    fn until(&self) -> SystemTime {
        SystemTime::now() + DAY
    }

    fn token(&self, value: &str) -> Option<OldToken> {
        Some(OldToken::new(value))
    }

    async fn load(&self, _: &OldToken) -> Result<Option<OldSession>, StoreError> {
        Ok(Some(OldSession::new()))
    }

    async fn delete(&self, _: &OldToken) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Something of everything that is counted.
pub(super) async fn a_busy_day() -> String {
    let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
    let layer = SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(None)
        // One call was abandoned, and two fail.
        .circuit_breaker(CircuitBreaker::default().failures(3))
        .on_event(|_: &cloakroom::Event| {});
    let (ann, bob) = (Visitor::new(&layer), Visitor::new(&layer));
    for visitor in [&ann, &bob] {
        set(visitor, "n").await;
    }
    let twin = ann.twin();
    ann.visit(async |session: Session| {
        session.insert("a", 1).unwrap();
        set(&twin, "b").await;
    })
    .await;
    ann.visit(async |session: Session| session.log_in("ann-of-cleves"))
        .await;
    clock.advance(10 * MINUTE);
    bob.visit(async |_| ()).await;
    ann.visit(async |session: Session| session.destroy()).await;
    let client = Client::with_cookie(layer.clone(), "__Host-id=nonsense".to_owned());
    client.visit(async |_| ()).await;
    store.plan_for(StoreCall::Load, Fault::Delay(2 * SECOND));
    bob.visit(async |_| ()).await;
    store.plan_for(StoreCall::Load, Fault::Hang);
    bob.visit(async |_| ()).await;
    store.plan_for(StoreCall::Load, Fault::Fail(StoreErrorKind::Unavailable));
    bob.visit(async |_| ()).await;
    for _ in 0..2 {
        bob.visit(async |_| ()).await;
    }
    store.heal();
    tokio::time::sleep(SECOND).await;
    clock.advance(DAY);
    layer.sessions().reap().await.unwrap();
    // The store within answers for itself, and knows its size.
    let bounded = MemoryStore::builder().max_sessions(100).build();
    let small = SessionLayer::new(bounded).reap_every(None);
    set(&Visitor::new(&small), "n").await;
    let imported = Visitor::new(&small.clone().import(Other));
    imported.set_cookie(Some("old=token".to_owned()));
    imported.visit(async |_| ()).await;
    small.sessions().reap().await.unwrap();
    bob.cookie().unwrap()
}

#[test]
fn what_the_docs_list_is_recorded_and_names_no_session_and_no_user() {
    let notes = Notes::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let cookie = metrics::with_local_recorder(&notes, || runtime.block_on(a_busy_day()));

    assert_eq!(notes.get("counter cloakroom_sessions_created_total{}"), 3.0);
    let imported = "counter cloakroom_sessions_imported_total{}";
    assert_eq!(notes.get(imported), 1.0);
    assert_eq!(notes.get("gauge cloakroom_sessions{}"), 2.0);
    let ended = "counter cloakroom_sessions_ended_total";
    assert_eq!(notes.get(&format!("{ended}{{reason=destroyed}}")), 1.0);
    assert_eq!(notes.get(&format!("{ended}{{reason=idle}}")), 1.0);
    assert_eq!(
        notes.get("histogram cloakroom_session_life_seconds{}"),
        600.0 + 4200.0
    );
    assert_eq!(notes.get("counter cloakroom_log_ins_total{}"), 1.0);
    let rejected = "counter cloakroom_cookies_rejected_total{reason=malformed}";
    assert_eq!(notes.get(rejected), 1.0);
    assert_eq!(notes.get("counter cloakroom_conflicts_total{}"), 1.0);
    assert_eq!(notes.get("counter cloakroom_touches_total{}"), 1.0);
    let loading = notes.get("histogram cloakroom_store_call_seconds{call=load}");
    assert_eq!(loading, 2.0);
    let failures = "counter cloakroom_store_failures_total{call=load}";
    assert_eq!(notes.get(failures), 2.0);
    let refused = "counter cloakroom_store_refused_total{call=load}";
    assert_eq!(notes.get(refused), 1.0);
    assert_eq!(notes.get("gauge cloakroom_store_circuit_open{}"), 0.0);
    let abandoned = "counter cloakroom_store_abandoned_total{call=load}";
    assert_eq!(notes.get(abandoned), 1.0);
    assert!(notes.get("gauge cloakroom_memory_bytes{}") > 0.0);
    assert_eq!(notes.get("gauge cloakroom_memory_max_sessions{}"), 100.0);
    assert!(notes.get("histogram cloakroom_listening_seconds{}") >= 0.0);

    let id = &cookie[cookie.find('=').unwrap() + 1..][..20];
    for name in notes.names() {
        assert!(
            !name.contains("ann-of-cleves") && !name.contains(id),
            "{name}"
        );
    }
    // What is recorded is in the docs' table, with its kind and its label.
    let documented: BTreeSet<String> = documented()
        .map(|[name, kind, label, _]| format!("{kind} {name}{{{label}}}"))
        .collect();
    let recorded: BTreeSet<String> = notes
        .names()
        .iter()
        .map(|name| match name.split_once('=') {
            Some((name, _)) => format!("{name}}}"),
            None => name.clone(),
        })
        .collect();
    assert_eq!(recorded, documented);
}

/// The rows of the table in the docs of `Stats`: name, kind, label, unit.
pub(super) fn documented() -> impl Iterator<Item = [String; 4]> {
    include_str!("../../../src/observe/stats.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `cloakroom_"))
        .map(|row| {
            let cells: Vec<_> = row
                .split('|')
                .map(|cell| cell.trim().replace('`', ""))
                .collect();
            let [name, kind, label, unit] = [0, 1, 2, 3].map(|n| cells[n].clone());
            [format!("cloakroom_{name}"), kind, label, unit]
        })
}

#[test]
fn each_metric_names_its_layer_and_its_store() {
    let notes = Notes {
        shows_common: true,
        ..Notes::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics::with_local_recorder(&notes, || {
        let shop = SessionLayer::new(FaultyStore::in_memory()).name("shop");
        let unnamed = SessionLayer::default();
        for layer in [shop, unnamed] {
            runtime.block_on(set(&Visitor::new(&layer.reap_every(None)), "n"));
        }
    });
    let created = "counter cloakroom_sessions_created_total";
    for labels in [
        "layer=shop,store=FaultyStore",
        "layer=__Host-id,store=MemoryStore",
    ] {
        assert_eq!(notes.get(&format!("{created}{{{labels}}}")), 1.0);
    }
}

#[test]
fn each_histogram_has_buckets_in_ascending_order() {
    let mut with_buckets: Vec<_> = cloakroom::metric_buckets()
        .map(|(metric, buckets)| {
            assert!(buckets.is_sorted_by(|one, next| one < next), "{metric}");
            metric.to_owned()
        })
        .collect();
    with_buckets.sort();
    let mut histograms: Vec<_> = documented()
        .filter(|[_, kind, _, _]| kind == "histogram")
        .map(|[name, ..]| name)
        .collect();
    histograms.sort();
    assert_eq!(with_buckets, histograms);
}

#[test]
fn each_metric_has_a_description_and_the_unit_that_the_docs_say() {
    let notes = Notes::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics::with_local_recorder(&notes, || {
        let layer = SessionLayer::default().reap_every(None);
        runtime.block_on(set(&Visitor::new(&layer), "n"));
    });
    let mut described = notes.described.lock();
    described.sort_by(|one, other| one.0.cmp(&other.0));
    // Once when the layer wraps a service, and once with the first record.
    described.dedup();
    let described: Vec<_> = described
        .iter()
        .map(|(name, unit, text)| {
            assert!(!text.is_empty(), "{name}");
            let unit = unit.unwrap().as_str().to_owned();
            format!("{name} {unit}")
        })
        .collect();
    let mut documented: Vec<_> = documented()
        .map(|[name, kind, _, unit]| format!("{kind} {name} {unit}"))
        .collect();
    documented.sort();
    assert_eq!(described, documented);
}

/// The id of a new session.
async fn begin(layer: &SessionLayer) -> SessionId {
    let (visitor, mut id) = (Visitor::new(layer), None);
    set(&visitor, "n").await;
    visitor
        .visit(async |session: Session| id = session.id())
        .await;
    id.unwrap()
}

#[test]
fn the_gauge_of_sessions_counts_none_from_before_a_restart_and_is_never_negative() {
    let store = MemoryStore::default();
    let clock = FixedClock::default();
    // A store that says nothing of its size, as those that persist do.
    let node = || {
        SessionLayer::new(FaultyStore::new(store.clone()))
            .clock(clock.clone())
            .reap_every(None)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let before = node();
    let [ann, bob, carol] = [(); 3].map(|()| runtime.block_on(begin(&before)));
    clock.advance(MINUTE);

    let notes = Notes::default();
    let gauge = || notes.get("gauge cloakroom_sessions{}");
    let after = node();
    let sessions = after.sessions();
    let end = async |id: SessionId| assert!(sessions.revoke(id).await.unwrap());
    metrics::with_local_recorder(&notes, || {
        runtime.block_on(async {
            end(ann).await;
            assert_eq!(sessions.stats().live, 0);
            let dave = begin(&after).await;
            assert_eq!((gauge(), sessions.stats().live), (1.0, 1));
            end(bob).await;
            assert_eq!((gauge(), sessions.stats().live), (1.0, 1));
            end(dave).await;
            end(carol).await;
            assert_eq!((gauge(), sessions.stats().live), (0.0, 0));
        });
    });
}

#[test]
fn the_gauge_of_a_memory_store_counts_restored_sessions_as_the_statistics_do() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let directory = Directory::new();
    let path = directory.path().join("sessions");
    let former = MemoryStore::default();
    let layer = |store: &MemoryStore| SessionLayer::new(store.clone()).reap_every(None);
    let ids = [(); 3].map(|()| runtime.block_on(begin(&layer(&former))));
    runtime.block_on(former.save_to(&path)).unwrap();

    let notes = Notes::default();
    let gauge = || notes.get("gauge cloakroom_sessions{}");
    metrics::with_local_recorder(&notes, || {
        runtime.block_on(async {
            let store = MemoryStore::default();
            store.restore_from(&path).await.unwrap();
            let layer = layer(&store);
            let sessions = layer.sessions();
            assert_eq!((gauge(), sessions.stats().live), (3.0, 3));
            begin(&layer).await;
            assert_eq!((gauge(), sessions.stats().live), (4.0, 4));
            for (ended, id) in (1..).zip(ids) {
                assert!(sessions.revoke(id).await.unwrap());
                assert_eq!(sessions.stats().live, 4 - ended);
                assert_eq!(gauge(), (4 - ended) as f64);
            }
            // Behind the layer's back: known from the next sweep on.
            store.restore_from(&path).await.unwrap();
            sessions.reap().await.unwrap();
            assert_eq!(gauge(), sessions.stats().live as f64);
            assert_eq!(sessions.stats().peak, 4);
        });
    });
}

#[test]
fn the_time_of_the_last_reap_stays_while_reaping_fails_or_hangs() {
    let (store, clock) = (FaultyStore::in_memory(), FixedClock::default());
    let layer = SessionLayer::new(store.clone())
        .clock(clock.clone())
        .reap_every(MINUTE);
    let notes = Notes::default();
    let reaped = || notes.get("gauge cloakroom_last_reap_timestamp_seconds{}");
    let now = || clock.now().as_millis() as f64 / 1000.0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&notes, || {
        runtime.block_on(async {
            // Until the first reap, it is the time when the task began.
            store.plan_for(StoreCall::DeleteExpired, Fault::Hang);
            let began = now();
            Visitor::new(&layer).visit(async |_| ()).await;
            tokio::time::sleep(SECOND).await;
            clock.advance(DAY);
            assert_eq!(reaped(), began);
            let fails = Fault::Fail(StoreErrorKind::Unavailable);
            store.plan_for(StoreCall::DeleteExpired, fails);
            tokio::time::sleep(10 * MINUTE).await;
            assert_eq!(reaped(), began);
            store.heal();
            tokio::time::sleep(60 * MINUTE).await;
            assert_eq!(reaped(), now());
        });
    });
}
