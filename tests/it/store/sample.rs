//! Sessions for the tests of stores: records that follow from their version.

use std::{sync::Arc, time::Duration};

use cloakroom::{Activity, Record, SessionId, Timestamp, Version};
use uuid::Uuid;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

pub(super) fn id(number: u64) -> SessionId {
    let spread = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Uuid::from_u128(spread).into()
}

pub(super) fn version(counter: u64) -> Version {
    Version {
        counter,
        writer: counter + 100,
    }
}

/// A record whose data follow from its version.
pub(super) fn record(counter: u64, user: &str) -> Arc<Record> {
    let user = serde_json::to_string(user).unwrap();
    let user = if user == r#""""# {
        String::new()
    } else {
        format!(r#""user":{user},"#)
    };
    let length = usize::try_from(counter % 97).unwrap() * 50;
    let json = format!(
        r#"{{"format":1,"version":"{}","verifier":"{}","created_at":7,{user}"data":{{"k":"{}"}}}}"#,
        version(counter),
        "A".repeat(43),
        counter.to_string().repeat(length),
    );
    Arc::new(Record::from_bytes(json.as_bytes()).unwrap())
}

pub(super) fn seen(after: Duration) -> Activity {
    Activity {
        last_seen_at: NOW.saturating_add(after),
        expires_at: Some(NOW.saturating_add(HOUR + after)),
    }
}
