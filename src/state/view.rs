//! A session's values at one moment, readable without the lock: [`View`].

use std::sync::Arc;

use crate::{
    record::{Record, data::Data},
    state::{State, changes::Changes},
};

/// The record's data and the pending changes at one moment.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) changes: Option<Arc<Changes>>,
}

impl View {
    /// Whether `changes` are still the ones of this view.
    pub(crate) fn has(&self, changes: Option<&Arc<Changes>>) -> bool {
        match (&self.changes, changes) {
            (Some(seen), Some(there)) => Arc::ptr_eq(seen, there),
            (seen, _) => seen.is_none(),
        }
    }

    /// Whether this is what there is now, as far as that can be told without comparing it.
    pub(crate) fn is_of(&self, state: &State) -> bool {
        let record = state
            .stored
            .as_ref()
            .map(|stored| Arc::as_ptr(&stored.record));
        let changes = state.changes.as_ref().map(Arc::as_ptr);
        self.record.as_ref().map(Arc::as_ptr) == record
            && self.changes.as_ref().map(Arc::as_ptr) == changes
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        match &self.changes {
            Some(changes) => changes.get(self.base(), key),
            None => self.base().get(key),
        }
    }

    /// Whether the stored record has a value for `key`. Pending changes do not count.
    pub(crate) fn is_stored(&self, key: &str) -> bool {
        self.base().get(key).is_some()
    }

    pub(crate) fn data(&self) -> Data {
        match &self.changes {
            Some(changes) => changes.apply(self.base()),
            None => self.base().clone(),
        }
    }

    fn base(&self) -> &Data {
        self.record
            .as_ref()
            .map_or(Data::none(), |record| record.data())
    }
}
