//! The bound of a memory store: [`Budget`], in sessions and in bytes.

use super::sync::{AtomicUsize, Ordering};

/// Counts the reserved sessions and bytes. At no moment, and with any number of threads, does it exceed either limit: room
/// is reserved before a session is inserted, and released after it was dropped.
#[derive(Debug)]
pub(super) struct Budget {
    sessions: Counter,
    bytes: Counter,
}

impl Budget {
    pub(super) fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            sessions: Counter::new(max_sessions),
            bytes: Counter::new(max_bytes),
        }
    }

    /// Reserves both or neither.
    pub(super) fn try_reserve(&self, sessions: usize, bytes: usize) -> bool {
        if !self.sessions.try_add(sessions) {
            return false;
        }
        if !self.bytes.try_add(bytes) {
            self.sessions.subtract(sessions);
            return false;
        }
        true
    }

    pub(super) fn release(&self, sessions: usize, bytes: usize) {
        self.sessions.subtract(sessions);
        self.bytes.subtract(bytes);
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.get()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub(super) fn max_sessions(&self) -> usize {
        self.sessions.max
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.bytes.max
    }
}

#[derive(Debug)]
struct Counter {
    taken: AtomicUsize,
    max: usize,
}

impl Counter {
    fn new(max: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            max,
        }
    }

    // Relaxed, because the numbers guard no other memory. All threads share them, so they are not written in vain: most
    // updates change neither.
    fn try_add(&self, amount: usize) -> bool {
        if amount == 0 {
            return true;
        }
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let Some(sum) = taken.checked_add(amount).filter(|sum| *sum <= self.max) else {
                return false;
            };
            match self
                .taken
                .compare_exchange_weak(taken, sum, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => taken = now,
            }
        }
    }

    fn subtract(&self, amount: usize) {
        if amount == 0 {
            return;
        }
        self.taken.fetch_sub(amount, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
