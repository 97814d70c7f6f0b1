//! A lazy min-heap: [`LazyHeap`], used to find the next session to evict and the next to reap.
//!
//! Pure: it knows neither lock nor clock nor what its keys mean.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

/// A min-heap of `(key, tag)` whose keys are lower bounds of the true ones.
///
/// If a key grows, its entry stays unchanged. When the entry comes to the top, it is
/// compared with the true key, and moved down if that has grown. So using a
/// session costs nothing here, and the top is still exactly the least. A key that
/// shrinks needs a second entry, by [`push`](Self::push). Entries of removed tags
/// are dropped at the top, or when [`trim`](Self::trim) rebuilds the heap.
#[derive(Debug)]
pub(super) struct LazyHeap {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    /// The key at the top; the greatest possible one if the heap is empty. Each new session asks for it, and the top itself is
    /// seldom in the processor's cache.
    least: u64,
}

impl Default for LazyHeap {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            least: u64::MAX,
        }
    }
}

/// Extra capacity, so that a small heap is not rebuilt at every step.
const SPARE: usize = 8;

/// Moving this share of the entries down one by one takes about as long as rebuilding the heap.
const MOVED_SHARE: usize = 16;

/// The largest capacity for `live` entries.
const fn most(live: usize) -> usize {
    live + live * 5 / 8 + 4 * SPARE
}

impl LazyHeap {
    /// The bytes of its vector beyond 13/8 of the live entries, at most.
    pub(super) const SPARE_BYTES: usize = most(0) * size_of::<(u64, u64)>();

    pub(super) fn push(&mut self, key: u64, tag: u64) {
        if self.heap.len() == self.heap.capacity() {
            // Doubling would reserve far more than the budget counts.
            self.heap.reserve_exact(self.heap.len() / 4 + SPARE);
        }
        self.heap.push(Reverse((key, tag)));
        self.least = self.least.min(key);
    }

    /// Removes and returns the tag with the least true key, if that key is at most `max`.
    ///
    /// `true_key` returns `None` for a tag that was removed, or must not be returned. If many of the keys at the top
    /// have grown, the heap is rebuilt from the true `entries`, which takes less time than moving each of them down.
    pub(super) fn pop_least<I>(
        &mut self,
        max: u64,
        true_key: impl Fn(u64) -> Option<u64>,
        entries: impl FnOnce() -> I,
    ) -> Option<u64>
    where
        I: Iterator<Item = (u64, u64)>,
    {
        if self.least > max {
            return None;
        }
        let tag = self.pop(max, true_key, entries);
        self.note_least();
        tag
    }

    fn note_least(&mut self) {
        self.least = self.heap.peek().map_or(u64::MAX, |top| top.0.0);
    }

    fn pop<I>(
        &mut self,
        max: u64,
        true_key: impl Fn(u64) -> Option<u64>,
        entries: impl FnOnce() -> I,
    ) -> Option<u64>
    where
        I: Iterator<Item = (u64, u64)>,
    {
        let mut entries = Some(entries);
        let mut moved = 0;
        loop {
            let len = self.heap.len();
            let mut top = self.heap.peek_mut()?;
            let Reverse((bound, tag)) = *top;
            if bound > max {
                return None;
            }
            match true_key(tag) {
                Some(key) if key > bound => {
                    *top = Reverse((key, tag));
                    moved += 1;
                }
                Some(key) if key == bound => {
                    PeekMut::pop(top);
                    return Some(tag);
                }
                // A removed tag, or the older entry of a key that shrank.
                _ => {
                    PeekMut::pop(top);
                    continue;
                }
            }
            drop(top);
            if moved > len / MOVED_SHARE + SPARE
                && let Some(entries) = entries.take()
            {
                let mut rebuilt = std::mem::take(&mut self.heap).into_vec();
                rebuilt.clear();
                rebuilt.extend(entries().map(Reverse));
                self.heap = rebuilt.into();
            }
        }
    }

    /// Rebuilds the heap from the `live` true `entries` when there are too many outdated ones.
    pub(super) fn trim<I>(&mut self, live: usize, entries: impl FnOnce() -> I)
    where
        I: Iterator<Item = (u64, u64)>,
    {
        if self.heap.len() > live + live / 4 + SPARE || self.heap.capacity() > most(live) {
            let mut rebuilt = Vec::with_capacity(live + SPARE);
            rebuilt.extend(entries().map(Reverse));
            self.heap = rebuilt.into();
            self.note_least();
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.heap.iter().map(|entry| entry.0)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.heap.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_leaves_is_the_least_by_its_true_key(
            steps in prop::collection::vec((0_u64..24, prop::option::of(0_u64..1000)), 0..400),
        ) {
            let mut heap = LazyHeap::default();
            let mut truth: HashMap<u64, u64> = HashMap::new();
            for (tag, key) in steps {
                match key {
                    Some(key) => {
                        let before = truth.insert(tag, key);
                        if before.is_none_or(|before| key < before) {
                            heap.push(key, tag);
                        }
                    }
                    None => {
                        let least = truth.values().min().copied();
                        let true_key = |tag: u64| truth.get(&tag).copied();
                        let entries = || truth.iter().map(|(tag, key)| (*key, *tag));
                        let popped = heap.pop_least(u64::MAX, true_key, entries);
                        let key = popped.map(|tag| truth.remove(&tag).unwrap());
                        prop_assert_eq!(key, least);
                    }
                }
                heap.trim(truth.len(), || truth.iter().map(|(tag, key)| (*key, *tag)));
                let top = heap.iter().map(|(key, _)| key).min();
                prop_assert_eq!(heap.least, top.unwrap_or(u64::MAX));
                prop_assert!(heap.heap.len() <= truth.len() + truth.len() / 4 + SPARE);
                prop_assert!(heap.heap.capacity() <= most(truth.len()));
            }
        }
    }
}
