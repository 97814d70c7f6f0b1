//! Short texts that tell sessions apart in lists: [`Labels`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// How many labels a session has at most.
pub(crate) const MAX_LABELS: usize = 8;
/// How many bytes a name has at most.
const MAX_NAME: usize = 32;
/// How many bytes a value has at most.
const MAX_VALUE: usize = 256;

/// A few short texts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels(BTreeMap<Box<str>, Box<str>>);

impl Labels {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    pub(crate) const NONE: &'static Self = &Self(BTreeMap::new());

    /// These with some set, or removed.
    pub(crate) fn with<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Self {
        let mut labels = self.clone();
        changes.for_each(|(name, value)| labels.set(name, value));
        labels
    }

    /// Sets or removes a label. If there are [`MAX_LABELS`] already, which happens only after a merge, a further one is left
    /// out.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        match value {
            None => drop(self.0.remove(name)),
            Some(value) => {
                if self.0.len() < MAX_LABELS || self.0.contains_key(name) {
                    self.0.insert(name.into(), value.into());
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About what they take in memory, with what the map and an allocator add.
    pub(crate) fn memory_bytes(&self) -> usize {
        const MAP: usize = 512;
        const BLOCKS: usize = 4 * size_of::<usize>();
        let text = |(name, value): (&str, &str)| name.len() + value.len() + BLOCKS;
        MAP + self.iter().map(text).sum::<usize>()
    }
}

/// # Errors
///
/// `TooLarge` where a label could not have this name or this value.
pub(crate) fn check(name: &str, value: &str) -> Result<(), Error> {
    let too_large = |what: String| Err(Error::new(ErrorKind::TooLarge, what));
    match (name.len(), value.len()) {
        (0, _) => too_large("a label needs a name".to_owned()),
        (1..=MAX_NAME, ..=MAX_VALUE) => Ok(()),
        (1..=MAX_NAME, bytes) => too_large(format!(
            "the label `{name}` would have {bytes} bytes, the limit is {MAX_VALUE}"
        )),
        (bytes, _) => too_large(format!(
            "a label's name would have {bytes} bytes, the limit is {MAX_NAME}"
        )),
    }
}

/// # Errors
///
/// `TooLarge` where a session would have so many labels.
pub(crate) fn check_number(labels: usize) -> Result<(), Error> {
    if labels <= MAX_LABELS {
        return Ok(());
    }
    let what = format!("the session would have {labels} labels, the limit is {MAX_LABELS}");
    Err(Error::new(ErrorKind::TooLarge, what))
}

/// The beginning of a value that a client may have chosen, as long as a label may be.
pub(crate) fn shortened(value: &str) -> &str {
    let mut end = value.len().min(MAX_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}
