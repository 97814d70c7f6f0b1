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
#[derive(Debug, Default)]
pub(super) struct LazyHeap(BinaryHeap<Reverse<(u64, u64)>>);

/// Extra capacity, so that a small heap is not rebuilt at every step.
const SPARE: usize = 8;

/// The largest capacity for `live` entries.
const fn most(live: usize) -> usize {
    live + live * 5 / 8 + 4 * SPARE
}

impl LazyHeap {
    /// The bytes of its vector beyond 13/8 of the live entries, at most.
    pub(super) const SPARE_BYTES: usize = most(0) * size_of::<(u64, u64)>();

    pub(super) fn push(&mut self, key: u64, tag: u64) {
        if self.0.len() == self.0.capacity() {
            // Doubling would reserve far more than the budget counts.
            self.0.reserve_exact(self.0.len() / 4 + SPARE);
        }
        self.0.push(Reverse((key, tag)));
    }

    /// Removes and returns the tag with the least true key, if that key is at most `max`.
    ///
    /// `true_key` returns `None` for a tag that was removed, or must not be returned.
    pub(super) fn pop_least(
        &mut self,
        max: u64,
        true_key: impl Fn(u64) -> Option<u64>,
    ) -> Option<u64> {
        loop {
            let mut top = self.0.peek_mut()?;
            let Reverse((bound, tag)) = *top;
            if bound > max {
                return None;
            }
            match true_key(tag) {
                Some(key) if key > bound => *top = Reverse((key, tag)),
                Some(key) if key == bound => {
                    PeekMut::pop(top);
                    return Some(tag);
                }
                // A removed tag, or the older entry of a key that shrank.
                _ => {
                    PeekMut::pop(top);
                }
            }
        }
    }

    /// Rebuilds the heap from the `live` true `entries` when there are too many outdated ones.
    pub(super) fn trim<I>(&mut self, live: usize, entries: impl FnOnce() -> I)
    where
        I: Iterator<Item = (u64, u64)>,
    {
        if self.0.len() > live + live / 4 + SPARE || self.0.capacity() > most(live) {
            let mut rebuilt = Vec::with_capacity(live + SPARE);
            rebuilt.extend(entries().map(Reverse));
            self.0 = rebuilt.into();
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|entry| entry.0)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
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
                        let popped = heap.pop_least(u64::MAX, |tag| truth.get(&tag).copied());
                        let key = popped.map(|tag| truth.remove(&tag).unwrap());
                        prop_assert_eq!(key, least);
                    }
                }
                heap.trim(truth.len(), || truth.iter().map(|(tag, key)| (*key, *tag)));
                prop_assert!(heap.0.len() <= truth.len() + truth.len() / 4 + SPARE);
                prop_assert!(heap.0.capacity() <= most(truth.len()));
            }
        }
    }
}
