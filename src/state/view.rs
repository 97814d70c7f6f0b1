//! A session's values at one moment, readable without the lock: [`View`] of all, [`Value`] of one.

use std::sync::Arc;

use crate::{
    record::{Record, data::Data, value::Json},
    state::{State, Strong, changes::Changes},
};

/// The record's data and the pending changes at one moment.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) changes: Option<Strong<Changes>>,
}

/// The value of a key at one moment.
pub(crate) enum Value {
    None,
    Short(Json),
    Long(View),
}

impl Value {
    /// `key` is the one that it is the value of.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::Short(value) => Some(value),
            Self::Long(view) => view.get(key),
        }
    }

    /// Whether this is still the value of `key`.
    pub(crate) fn is_current(&self, key: &str, state: &State) -> bool {
        matches!(self, Self::Long(view) if view.is_of(state)) || self.get(key) == state.get(key)
    }

    /// What must be dropped without the lock. Anything else is dropped here, so that the state's changes are altered in
    /// place.
    pub(crate) fn into_outlived(self, state: &State) -> Option<View> {
        match self {
            Self::Long(view) if !view.has(state.changes.as_ref()) => Some(view),
            _ => None,
        }
    }
}

impl View {
    /// Whether `changes` are still the ones of this view.
    fn has(&self, changes: Option<&Strong<Changes>>) -> bool {
        match (&self.changes, changes) {
            (Some(seen), Some(there)) => Strong::ptr_eq(seen, there),
            (seen, _) => seen.is_none(),
        }
    }

    /// Whether this view is still current. It compares pointers, not values, so it may return `false` for equal values.
    fn is_of(&self, state: &State) -> bool {
        let record = state
            .stored
            .as_ref()
            .map(|stored| Arc::as_ptr(&stored.record));
        let changes = state.changes.as_ref().map(Strong::as_ptr);
        self.record.as_ref().map(Arc::as_ptr) == record
            && self.changes.as_ref().map(Strong::as_ptr) == changes
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
