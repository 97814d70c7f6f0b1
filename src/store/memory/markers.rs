//! How much room the markers of moved sessions take: [`Markers`].

use super::sync::{AtomicUsize, Ordering};

/// The markers have an eighth of the room. Beyond that, the oldest lose their protection.
const SHARE: usize = 8;

/// How many markers there are, and their bytes. Counted up under a shard's lock.
#[derive(Debug)]
pub(super) struct Markers {
    count: AtomicUsize,
    bytes: AtomicUsize,
    most: usize,
    most_bytes: usize,
}

impl Markers {
    /// For a store of so many sessions and bytes.
    pub(super) fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most: (max_sessions / SHARE).max(1),
            most_bytes: max_bytes / SHARE,
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether they take more than their share.
    pub(super) fn are_too_many(&self) -> bool {
        self.count() > self.most || self.bytes.load(Ordering::Relaxed) > self.most_bytes
    }
}
