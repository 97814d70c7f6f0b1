//! The former record of an update, for tests that know only its version: [`former`].

use std::sync::Arc;

use cloakroom::{Activity, Record, Timestamp, Version, store::Former};
use serde_json::json;

/// A record of this version that is not stored. It lives until the process ends.
pub(crate) fn former(version: Version) -> Former<'static> {
    let record = json!({
        "format": 1,
        "version": version.to_string(),
        "verifier": "A".repeat(43),
        "created_at": 0,
        "data": {},
    });
    let record = Record::from_bytes(record.to_string().as_bytes()).unwrap();
    let activity = Activity {
        last_seen_at: Timestamp::EPOCH,
        expires_at: None,
    };
    Former::new(Box::leak(Box::new(Arc::new(record))), activity)
}
