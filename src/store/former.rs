//! What an update replaces: [`Former`].

use std::sync::Arc;

use crate::record::{Activity, Record, version::Version};

/// The record that an update replaces, as the caller last saw it.
///
/// The stored activity may be a later one: a touch moves it, and leaves the
/// version as it is.
#[derive(Clone, Copy, Debug)]
pub struct Former<'a> {
    record: &'a Arc<Record>,
    activity: Activity,
}

impl<'a> Former<'a> {
    /// What a load or a list gave.
    #[must_use]
    pub fn new(record: &'a Arc<Record>, activity: Activity) -> Self {
        Self { record, activity }
    }

    /// The version that must be stored for the update to act.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record.version()
    }

    /// The record of that version.
    #[must_use]
    pub fn record(&self) -> &'a Arc<Record> {
        self.record
    }

    /// The activity that was stored beside it when it was read.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }
}
