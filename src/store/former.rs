//! The record that an update or a touch replaces: [`Former`].

use std::sync::Arc;

use crate::record::{Activity, Record, version::Version};

/// The record that an update or a touch replaces, as the caller last read it.
///
/// The stored activity may be later, because a touch changes the activity, but not the version.
///
/// ```
/// use cloakroom::{Record, store::{Former, Updated}};
///
/// /// The comparison of a store in memory.
/// fn may_replace(stored: &Record, former: Former<'_>) -> Updated {
///     if stored.version() == former.version() { Updated::Saved } else { Updated::Conflict }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Former<'a> {
    record: &'a Arc<Record>,
    activity: Activity,
}

impl<'a> Former<'a> {
    /// A record and its activity, as a load or a list returned them.
    #[must_use]
    pub fn new(record: &'a Arc<Record>, activity: Activity) -> Self {
        Self { record, activity }
    }

    /// The version that the stored record must have.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record.version()
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &'a Arc<Record> {
        self.record
    }

    /// The activity that was stored with it.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }
}
