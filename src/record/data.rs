//! A session's values by their keys: [`Data`].
//!
//! One immutable buffer: an index of offsets, then the entries sorted by key. An entry is the key's
//! length, the key, and the value as JSON text. A session with one integer takes 10 bytes, and a look-up
//! reads one allocation. A map of strings takes several hundred bytes.

use std::{cmp::Ordering, fmt, sync::LazyLock};

use smallvec::SmallVec;

use crate::record::value;

/// Every offset and length is a `u32`.
const WORD: usize = size_of::<u32>();

/// The most that the offsets can address. The layer's limit is clamped to it.
pub(crate) const MAX_BYTES: usize = (u32::MAX / 4) as usize;

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Data(Box<[u8]>);

/// A key and its value, as JSON text.
pub(crate) type KeyValue<'a> = (&'a str, &'a [u8]);

/// The same as bytes, which have the order of their strings.
type RawKeyValue<'a> = (&'a [u8], &'a [u8]);

/// Most sessions have few values: these need no allocation.
type Entries<'a> = SmallVec<[RawKeyValue<'a>; 8]>;

impl Data {
    /// The data of a new session.
    pub(crate) fn none() -> &'static Self {
        static NONE: LazyLock<Data> = LazyLock::new(Data::default);
        &NONE
    }

    /// From entries that are sorted by key, each key once.
    pub(crate) fn from_sorted<'a>(entries: impl Iterator<Item = KeyValue<'a>>) -> Self {
        let entries: Entries<'_> = entries
            .map(|(key, value)| (key.as_bytes(), value))
            .collect();
        Self::build(&entries)
    }

    fn build(entries: &[RawKeyValue<'_>]) -> Self {
        if entries.is_empty() {
            return Self::default();
        }
        let bytes = entries
            .iter()
            .map(|(key, value)| 2 * WORD + key.len() + value.len());
        let mut buffer = Vec::with_capacity(bytes.sum());
        let mut start = entries.len() * WORD;
        for (key, value) in entries {
            buffer.extend_from_slice(&word(start));
            start += WORD + key.len() + value.len();
        }
        for (key, value) in entries {
            buffer.extend_from_slice(&word(key.len()));
            buffer.extend_from_slice(key);
            buffer.extend_from_slice(value);
        }
        Self(buffer.into_boxed_slice())
    }

    pub(crate) fn get(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let (found, value) = self.entry(middle);
            match found.cmp(key.as_ref()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(value),
            }
        }
        None
    }

    /// The entries, sorted by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = KeyValue<'_>> + Clone {
        // All keys were written from a `str`.
        self.raw()
            .map(|(key, value)| (str::from_utf8(key).unwrap_or_default(), value))
    }

    fn raw(&self) -> impl Iterator<Item = RawKeyValue<'_>> + Clone {
        (0..self.len()).map(|index| self.entry(index))
    }

    pub(crate) fn len(&self) -> usize {
        if self.0.is_empty() {
            0
        } else {
            self.word_at(0) / WORD
        }
    }

    /// Bytes of all keys and values, which `max_data_bytes` limits.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() - 2 * WORD * self.len()
    }

    /// Bytes of the allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.0.len()
    }

    /// This data with `changes`, which are sorted by key. `None` removes a value.
    pub(crate) fn with<'a>(
        &'a self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Self {
        let mut entries = Entries::new();
        let mut kept = self.raw();
        let mut next = kept.next();
        for (key, value) in changes {
            while let Some(entry) = next {
                match entry.0.cmp(key) {
                    Ordering::Less => entries.push(entry),
                    Ordering::Equal => {}
                    Ordering::Greater => break,
                }
                next = kept.next();
            }
            if let Some(value) = value {
                entries.push((key, value));
            }
        }
        while let Some(entry) = next {
            entries.push(entry);
            next = kept.next();
        }
        Self::build(&entries)
    }

    /// Whether both have the same keys with the [same](value::is_same) values.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        let mut pairs = self.raw().zip(other.raw());
        self.len() == other.len()
            && pairs.all(|((key, value), (other, theirs))| {
                key == other && value::is_same(value, theirs)
            })
    }

    /// The keys whose values are not the [same](value::is_same) in both, sorted.
    pub(crate) fn keys_that_differ(&self, other: &Self) -> Vec<String> {
        let changed = self.iter().filter(|(key, value)| {
            let theirs = other.get(key);
            !theirs.is_some_and(|theirs| value::is_same(value, theirs))
        });
        let added = other.iter().filter(|(key, _)| self.get(key).is_none());
        let mut keys: Vec<_> = changed
            .chain(added)
            .map(|(key, _)| key.to_owned())
            .collect();
        keys.sort_unstable();
        keys
    }

    fn entry(&self, index: usize) -> RawKeyValue<'_> {
        let start = self.word_at(index * WORD);
        let next = (index + 1) * WORD;
        let end = if next < self.word_at(0) {
            self.word_at(next)
        } else {
            self.0.len()
        };
        let key_len = self.word_at(start);
        self.0[start + WORD..end].split_at(key_len)
    }

    fn word_at(&self, position: usize) -> usize {
        let (word, _) = self.0[position..].split_first_chunk().expect("a word");
        u32::from_le_bytes(*word) as usize
    }
}

/// Shows the size, not the content.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values in {} bytes", self.len(), self.bytes())
    }
}

fn word(number: usize) -> [u8; WORD] {
    u32::try_from(number)
        .expect("data is limited to MAX_BYTES before it is built")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<String, Vec<u8>>;

    fn from_model(model: &Model) -> Data {
        Data::from_sorted(
            model
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice())),
        )
    }

    /// Few keys that meet often, prefixes of each other among them, and any others.
    fn key() -> impl Strategy<Value = String> {
        prop_oneof![3 => "[ab]{0,3}", 1 => any::<String>()]
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..20)
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map_after_any_history(
            first in prop::collection::btree_map(key(), value(), 0..20),
            batches in prop::collection::vec(
                prop::collection::btree_map(key(), prop::option::of(value()), 0..8),
                0..6,
            ),
            asked in prop::collection::vec(key(), 8),
        ) {
            let mut model: Model = first;
            let mut data = from_model(&model);
            for changes in batches {
                let before = data.clone();
                data = before.with(
                    changes
                        .iter()
                        .map(|(key, value)| (key.as_bytes(), value.as_deref())),
                );
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(model.insert(key, value)),
                        None => drop(model.remove(&key)),
                    }
                }
                // One content has one representation.
                prop_assert_eq!(&data, &from_model(&model));
                prop_assert_eq!(before == data, before.iter().eq(data.iter()));
            }
            let entries = model
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()));
            prop_assert!(data.iter().eq(entries));
            prop_assert_eq!(data.len(), model.len());
            let bytes = model.iter().map(|(key, value)| key.len() + value.len());
            prop_assert_eq!(data.bytes(), bytes.sum::<usize>());
            for key in model.keys().chain(&asked) {
                prop_assert_eq!(data.get(key), model.get(key).map(Vec::as_slice));
            }
        }
    }

    #[test]
    fn empty_data_allocates_nothing() {
        let empty = Data::default();
        assert_eq!((empty.len(), empty.bytes(), empty.allocated()), (0, 0, 0));
        assert_eq!(empty.get(""), None);
        let one = empty.with([(&b"k"[..], Some(&b"1"[..]))].into_iter());
        assert_eq!(one.allocated(), 10);
        assert_eq!(one.with([(&b"k"[..], None)].into_iter()).allocated(), 0);
    }

    #[test]
    fn debug_shows_no_content() {
        let data = Data::default().with([(&b"swordfish"[..], Some(&b"\"trout\""[..]))].into_iter());
        assert_eq!(format!("{data:?}"), "1 values in 16 bytes");
    }
}
