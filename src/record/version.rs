//! Which write a record comes from: its [`Version`], and the [`Recent`] ones before it.

use std::{fmt, num::ParseIntError, str::FromStr};

/// Whether a certain write is in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The write made the record, or an earlier version of it.
    Yes,
    /// Another write made the version with this counter.
    No,
    /// The record does not remember that far back.
    Unknown,
}

/// Which write a record comes from: a counter, and a random writer.
///
/// The counter grows by one with each write of a session. The writer is a random number that each commit
/// draws and keeps for all its retries. If the store's reply is lost, the commit recognises its own write by
/// it. Stores compare both numbers.
///
/// As text it is `counter-writer`, with the writer as 16 hexadecimal digits.
///
/// ```
/// use cloakroom::Version;
///
/// let version: Version = "7-00000000000000ff".parse()?;
/// assert_eq!(version, Version { counter: 7, writer: 255 });
/// assert_eq!(version.to_string(), "7-00000000000000ff");
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// How many times the session was written, this write included.
    pub counter: u64,
    /// The random number of the commit that wrote it.
    pub writer: u64,
}

impl Version {
    pub(crate) const fn first(writer: u64) -> Self {
        Self { counter: 1, writer }
    }

    pub(crate) const fn next(self, writer: u64) -> Self {
        Self {
            counter: self.counter.saturating_add(1),
            writer,
        }
    }

    /// Whether this is the `latest` write of a record, or among the `recent` ones before it, newest first.
    #[must_use]
    #[doc(hidden)]
    pub fn is_among(self, latest: Self, recent: &[u64]) -> Wrote {
        let Some(age) = latest.counter.checked_sub(self.counter) else {
            return Wrote::No;
        };
        let writer = match age.checked_sub(1) {
            None => Some(&latest.writer),
            Some(index) => usize::try_from(index)
                .ok()
                .and_then(|index| recent.get(index)),
        };
        match writer {
            Some(writer) if *writer == self.writer => Wrote::Yes,
            Some(_) => Wrote::No,
            None => Wrote::Unknown,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.counter, self.writer)
    }
}

impl FromStr for Version {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (counter, writer) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self {
            counter: counter.parse()?,
            writer: u64::from_str_radix(writer, 16)?,
        })
    }
}

/// How many earlier writers a record remembers. If a commit's reply was lost and more writes followed, the
/// commit cannot tell whether it was applied.
const KEPT: usize = 16;

/// The writers of the versions just before the current one, newest first.
///
/// They tell a commit whose reply was lost whether its write was applied, also if others have written since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Box<[u64]>);

impl Recent {
    /// The list with `writer` as the newest.
    pub(crate) fn after(earlier: &[u64], writer: u64) -> Self {
        let earlier = &earlier[..earlier.len().min(KEPT - 1)];
        let mut writers = Vec::with_capacity(1 + earlier.len());
        writers.push(writer);
        writers.extend_from_slice(earlier);
        Self(writers.into())
    }

    /// The first [`KEPT`] of `writers`.
    pub(crate) fn from_newest(writers: impl Iterator<Item = u64>) -> Self {
        Self(writers.take(KEPT).collect())
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_writers_are_kept_and_the_oldest_forgotten() {
        let mut recent = Recent::default();
        for writer in 0..100 {
            let next = Recent::after(recent.as_slice(), writer);
            let kept = u64::try_from(KEPT).unwrap().min(writer + 1);
            let expected: Vec<u64> = (0..kept).map(|age| writer - age).collect();
            assert_eq!(next.as_slice(), expected);
            recent = next;
        }
    }

    #[test]
    fn the_counter_stops_at_its_end() {
        let last = Version {
            counter: u64::MAX,
            writer: 1,
        };
        assert_eq!(last.next(2), Version { writer: 2, ..last });
    }
}
