//! The order of a request's changes: [`ChangeSeq`].

/// A place in the order of a request's changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChangeSeq(u64);

impl ChangeSeq {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
