//! Lets through one store call of a request at a time: [`Gate`].

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Loads, saves and the commit of one request follow one another. The gate guards no data.
///
/// A tokio semaphore would work too. Most requests find the gate open, and this one costs them only a few instructions.
#[derive(Default)]
pub(super) struct Gate {
    is_taken: AtomicBool,
    freed: Notify,
}

/// Opens the gate again when it is dropped.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    #[inline]
    pub(super) fn try_enter(&self) -> Option<Pass<'_>> {
        let was_taken = self.is_taken.swap(true, Ordering::Acquire);
        // Not `then_some`: a pass that is made opens the gate when it is dropped.
        (!was_taken).then(|| Pass(self))
    }

    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            // If the holder leaves after this check, its `notify_one` wakes this task, or is stored for it.
            if let Some(pass) = self.try_enter() {
                return pass;
            }
            self.freed.notified().await;
        }
    }

    /// The pass that was forgotten. Call it once, instead of [`leave`](Self::leave).
    pub(super) fn resume(&self) -> Pass<'_> {
        Pass(self)
    }

    /// For a gate whose pass was forgotten.
    #[inline]
    pub(super) fn leave(&self) {
        self.is_taken.store(false, Ordering::Release);
        self.freed.notify_one();
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_at_a_time_and_nobody_is_forgotten() {
        let shared = Arc::new((Gate::default(), AtomicU32::new(0), AtomicU32::new(0)));
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let (gate, inside, passed) = &*shared;
                    for round in 0..200 {
                        if (task + round) % 7 == 0 {
                            // A waiter that gives up must not take a wake-up with it.
                            drop(timeout(Duration::from_micros(20), gate.enter()).await);
                        }
                        let _pass = gate.enter().await;
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        if round % 5 == 0 {
                            tokio::task::yield_now().await;
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                        passed.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for task in tasks {
            let ended = timeout(Duration::from_secs(60), task).await;
            ended.expect("nobody waits for ever").unwrap();
        }
        assert_eq!(shared.2.load(Ordering::SeqCst), 10_000);
    }
}
