//! Which write a record stems from: [`Version`], and the [`Recent`] ones before it.

use std::{fmt, num::ParseIntError, str::FromStr};

/// Whether a record stems from a certain commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It is this write, or has it among those before.
    Yes,
    /// Another write has its place.
    No,
    /// More writes came on top than the record remembers.
    Unknown,
}

/// Which write a record comes from: a counter, and a random writer.
///
/// The counter grows by one with each write of a session. The writer is a random number of the commit,
/// the same for all of its retries, by which a commit recognises its own write where the store's reply
/// was lost. Stores compare both together.
///
/// As text it is `counter-writer`, with the writer in 16 hexadecimal digits.
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

/// How many writes can come on top of one whose reply was lost before its
/// commit can no longer tell whether it was saved.
const KEPT: usize = 16;

/// The writers of the versions just before the current one, newest first.
///
/// They answer the question that a compare-and-swap leaves open when its reply
/// is lost and others have written since: was mine among them?
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Box<[u64]>);

impl Recent {
    /// These with `writer` as the newest.
    pub(crate) fn after(earlier: &[u64], writer: u64) -> Self {
        let earlier = &earlier[..earlier.len().min(KEPT - 1)];
        let mut writers = Vec::with_capacity(1 + earlier.len());
        writers.push(writer);
        writers.extend_from_slice(earlier);
        Self(writers.into())
    }

    /// The first of `writers`, as many as are kept.
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
