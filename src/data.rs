//! What a session remembers: [`Data`], key → JSON value.
//!
//! One buffer, never changed: an index of entry offsets, then the entries in
//! the order of their keys, each the key's length, the key and the value as
//! JSON text. A session with one integer takes 10 bytes, where a map of
//! strings takes several hundred, and a look-up touches one allocation.

use std::{cmp::Ordering, fmt, iter};

/// Every offset and length is a `u32`.
const WORD: usize = size_of::<u32>();

/// The most that the offsets can address; the layer's limit is clamped to it.
pub(crate) const MAX_BYTES: usize = (u32::MAX / 4) as usize;

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Data(Box<[u8]>);

/// A key and its value, as JSON text.
pub(crate) type Entry<'a> = (&'a str, &'a [u8]);

impl Data {
    /// From entries in the order of their keys, each key once. The iterator is run twice: to measure and to copy.
    pub(crate) fn from_sorted<'a>(entries: impl Iterator<Item = Entry<'a>> + Clone) -> Self {
        let (mut count, mut bytes) = (0, 0);
        for (key, value) in entries.clone() {
            count += 1;
            bytes += WORD + key.len() + value.len();
        }
        if count == 0 {
            return Self::default();
        }
        let mut buffer = Vec::with_capacity(count * WORD + bytes);
        buffer.resize(count * WORD, 0);
        for (index, (key, value)) in entries.enumerate() {
            let start = word(buffer.len());
            buffer[index * WORD..][..WORD].copy_from_slice(&start);
            buffer.extend_from_slice(&word(key.len()));
            buffer.extend_from_slice(key.as_bytes());
            buffer.extend_from_slice(value);
        }
        Self(buffer.into_boxed_slice())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let (found, value) = self.entry(middle);
            match found.cmp(key.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(value),
            }
        }
        None
    }

    /// In the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> + Clone {
        (0..self.len()).map(|index| {
            let (key, value) = self.entry(index);
            // Only `str`s are ever written as keys.
            (str::from_utf8(key).unwrap_or_default(), value)
        })
    }

    pub(crate) fn len(&self) -> usize {
        if self.0.is_empty() {
            0
        } else {
            self.word_at(0) / WORD
        }
    }

    /// Bytes of all keys and values, without the index: what `max_data_bytes` limits.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() - 2 * WORD * self.len()
    }

    /// Bytes of the allocation.
    pub(crate) fn allocated(&self) -> usize {
        self.0.len()
    }

    /// This with `changes` on top, which are in the order of their keys: `None` removes.
    pub(crate) fn with<'a>(
        &'a self,
        changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    ) -> Self {
        Self::from_sorted(merge(self.iter(), changes))
    }

    fn entry(&self, index: usize) -> (&[u8], &[u8]) {
        let start = self.word_at(index * WORD);
        let end = if index + 1 < self.len() {
            self.word_at((index + 1) * WORD)
        } else {
            self.0.len()
        };
        let key_len = self.word_at(start);
        self.0[start + WORD..end].split_at(key_len)
    }

    fn word_at(&self, position: usize) -> usize {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(&self.0[position..position + WORD]);
        u32::from_le_bytes(bytes) as usize
    }
}

/// Shows how much there is, not what.
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

fn merge<'a>(
    base: impl Iterator<Item = Entry<'a>> + Clone,
    changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
) -> impl Iterator<Item = Entry<'a>> + Clone {
    let mut base = base.peekable();
    let mut changes = changes.peekable();
    iter::from_fn(move || {
        loop {
            let order = match (base.peek(), changes.peek()) {
                (Some((kept, _)), Some((changed, _))) => kept.cmp(changed),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order == Ordering::Less {
                return base.next();
            }
            if order == Ordering::Equal {
                base.next();
            }
            if let (key, Some(value)) = changes.next()? {
                return Some((key, value));
            }
        }
    })
}
