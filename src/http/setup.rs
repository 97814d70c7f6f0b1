//! What a layer and its services share: [`Setup`].

use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

use crate::{config::Config, operator::reaper::Reaper};

/// The settings, and the background task that ends with the last clone of the layer and its services.
///
/// axum clones the service for each request, and a request's session holds the settings. If all threads changed the same
/// two reference counts, each request would wait for the processor that did so last. So there is a replica for each processor,
/// with a copy of the settings, and a clone refers to that of its thread.
// A replica's count has its line of memory for itself.
#[repr(align(128))]
pub(crate) struct Setup {
    // Sessions hold only the settings, so a session that a handler keeps does not keep the task alive.
    pub(crate) config: Arc<Config>,
    pub(crate) reaper: Arc<Reaper>,
    is_prepared: Arc<AtomicBool>,
    /// Its place among the replicas, or [`ROOT`].
    place: usize,
    replicas: OnceLock<Arc<[Weak<Self>]>>,
    /// Keeps the replicas that nobody uses at the moment. One of those in use has them.
    kept: OnceLock<Vec<Arc<Self>>>,
}

/// The place of the one that was replicated.
const ROOT: usize = usize::MAX;

impl Setup {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::new(config),
            reaper: Arc::default(),
            is_prepared: Arc::default(),
            place: ROOT,
            replicas: OnceLock::new(),
            kept: OnceLock::new(),
        })
    }

    /// Checks the settings, once.
    pub(crate) fn prepare(&self) {
        // Read before it is written: all threads share it.
        if !self.is_prepared.load(Ordering::Relaxed)
            && !self.is_prepared.swap(true, Ordering::Relaxed)
        {
            self.config.check_timeouts();
            self.config.check_import();
            self.config.label_metrics();
        }
        // A listener may be added at any time.
        self.config.ensure_reporting();
    }

    /// The replica for this thread.
    #[inline]
    pub(crate) fn near(self: &Arc<Self>) -> Arc<Self> {
        let place = place();
        if place == self.place {
            return Arc::clone(self);
        }
        let replicas = self.replicas.get_or_init(|| self.replicate());
        // It is gone if it once had to keep the others.
        replicas[place]
            .upgrade()
            .unwrap_or_else(|| Arc::clone(self))
    }

    #[cold]
    fn replicate(&self) -> Arc<[Weak<Self>]> {
        let kept: Vec<_> = (0..processors())
            .map(|place| {
                Arc::new(Self {
                    config: Arc::new(Config::clone(&self.config)),
                    reaper: Arc::clone(&self.reaper),
                    is_prepared: Arc::clone(&self.is_prepared),
                    place,
                    replicas: OnceLock::new(),
                    kept: OnceLock::new(),
                })
            })
            .collect();
        let replicas: Arc<[_]> = kept.iter().map(Arc::downgrade).collect();
        for replica in &kept {
            let _ = replica.replicas.set(Arc::clone(&replicas));
        }
        let _ = self.kept.set(kept);
        replicas
    }
}

impl Drop for Setup {
    /// Hands the replicas on to one that is in use. If none is, the settings are gone.
    fn drop(&mut self) {
        let Some(mut kept) = self.kept.take() else {
            return;
        };
        let in_use = kept
            .iter()
            .position(|replica| Arc::strong_count(replica) > 1);
        if let Some(in_use) = in_use {
            let heir = kept.swap_remove(in_use);
            let _ = heir.kept.set(kept);
        }
    }
}

/// Which replica is for this thread. Threads take turns.
fn place() -> usize {
    thread_local! {
        static PLACE: Cell<usize> = const { Cell::new(ROOT) };
    }
    PLACE.with(|place| {
        if place.get() == ROOT {
            place.set(next_place());
        }
        place.get()
    })
}

#[cold]
fn next_place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % processors()
}

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    // The number may change while the process runs.
    *PROCESSORS.get_or_init(|| available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;
    use crate::{MemoryStore, store::DynStore};

    fn setup() -> Arc<Setup> {
        Setup::new(Config::new(DynStore::new(MemoryStore::default())))
    }

    /// Whether anything still has the layer's task.
    fn is_alive(observed: &Weak<Reaper>) -> bool {
        observed.strong_count() > 0
    }

    #[test]
    fn each_thread_has_a_replica_of_its_own() {
        let setup = setup();
        let near = setup.near();
        assert!(Arc::ptr_eq(&near, &setup.near()) && Arc::ptr_eq(&near, &near.near()));
        assert!(!Arc::ptr_eq(&near, &setup) && !Arc::ptr_eq(&near.config, &setup.config));
        let mut seen: Vec<_> = (0..8 * processors())
            .map(|_| {
                let setup = &setup;
                thread::scope(|scope| scope.spawn(|| Arc::as_ptr(&setup.near()) as usize).join())
                    .unwrap()
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        // Threads of other tests take numbers too.
        assert!(seen.len() > 1 || processors() == 1, "{seen:?}");
        assert!(seen.len() <= processors(), "{seen:?}");
    }

    #[test]
    fn the_replicas_stay_as_long_as_one_is_in_use() {
        let setup = setup();
        let reaper = Arc::downgrade(&setup.reaper);
        let near = setup.near();
        drop(setup);
        assert!(near.kept.get().is_some(), "the only one in use keeps them");
        let mut replicas = near.replicas.get().unwrap().iter();
        assert!(replicas.all(|replica| replica.upgrade().is_some()));
        drop(near);
        assert!(!is_alive(&reaper));
    }

    #[test]
    fn whichever_clone_is_dropped_last_nothing_is_left() {
        for order in 0..6 {
            let setup = setup();
            let reaper = Arc::downgrade(&setup.reaper);
            let elsewhere = thread::scope(|scope| scope.spawn(|| setup.near()).join()).unwrap();
            let mut clones = vec![setup.near(), elsewhere, setup];
            for left in (1..=3).rev() {
                assert!(is_alive(&reaper));
                drop(clones.remove(order % left));
            }
            assert!(!is_alive(&reaper), "{order}");
        }
    }

    #[test]
    fn clones_on_many_threads_leave_nothing() {
        for _ in 0..200 {
            let setup = setup();
            let reaper = Arc::downgrade(&setup.reaper);
            thread::scope(|scope| {
                for _ in 0..4 {
                    let mut mine = setup.near();
                    scope.spawn(move || {
                        for _ in 0..50 {
                            mine = mine.near();
                        }
                    });
                }
                drop(setup);
            });
            assert!(!is_alive(&reaper));
        }
    }
}
