//! The layout of a session in Redis: one string, with a head and the record.
//!
//! ```text
//! 1 00000000000000000007-53cf1b0a9f2e4d68 5f1dae…32 digits or hyphens 001763712345678 001763798745678
//! {"format":1,…
//! ```
//!
//! The head has the number of the layout, the version, the user's hash, the last use, the expiry and a line feed, each
//! of fixed width. So a script reads and replaces them by their position, and times compare as text. Reading a string
//! costs less than reading a hash with a field for each.

use std::{str, sync::Arc};

use ::redis::Value;

use super::{
    failure::{corrupt, unexpected},
    keys::UserHash,
};
use crate::{
    clock::Timestamp,
    error::store::{StoreError, StoreErrorKind},
    record::{Activity, Kept, Record, version::Version},
};

/// The length of the head, including the line feed.
const LENGTH: usize = 105;

/// Where the times begin.
const TIMES: usize = 73;

/// The expiry of a session that never expires: later than [`Timestamp::MAX`], with as many digits.
const NEVER: u64 = 999_999_999_999_999;

/// How long a session stays after its deadline, because the clocks of machines may differ.
const GRACE_MILLIS: u64 = 5 * 60 * 1000;

/// When Redis may delete it, in milliseconds since the epoch.
pub(super) fn native_expiry(activity: Activity) -> Option<u64> {
    let at = activity.expires_at?;
    Some(at.as_millis().saturating_add(GRACE_MILLIS))
}

/// Layout and version, which a touch compares.
pub(super) fn identity(version: Version) -> String {
    format!("1 {:020}-{:016x}", version.counter, version.writer)
}

/// The head up to the user, which an update compares.
pub(super) fn begin(version: Version, user: &UserHash) -> String {
    format!("{} {}", identity(version), padded(user))
}

/// A user's hash as the head has it.
pub(super) fn padded(user: &UserHash) -> String {
    format!("{user:-<32}")
}

/// The last use and the expiry.
pub(super) fn times(activity: Activity) -> [String; 2] {
    let expiry = activity.expires_at.map_or(NEVER, Timestamp::as_millis);
    [activity.last_seen_at.as_millis(), expiry].map(|millis| format!("{millis:015}"))
}

/// The whole string.
pub(super) fn whole(record: &Record, activity: Activity, user: &UserHash) -> Vec<u8> {
    let [seen, expiry] = times(activity);
    let head = format!("{} {seen} {expiry}\n", begin(record.version(), user));
    [head.as_bytes(), &record.to_bytes()].concat()
}

/// The string `whole` with another activity.
pub(super) fn with_times(whole: &[u8], activity: Activity) -> Vec<u8> {
    let times = times(activity).join(" ");
    [
        &whole[..TIMES],
        times.as_bytes(),
        &whole[TIMES + times.len()..],
    ]
    .concat()
}

/// A session as it was read.
pub(super) struct Stored {
    pub(super) user: UserHash,
    activity: Activity,
    bytes: Vec<u8>,
}

impl Stored {
    pub(super) fn read(reply: Value) -> Result<Option<Self>, StoreError> {
        let bytes = match reply {
            Value::Nil => return Ok(None),
            Value::BulkString(bytes) => bytes,
            other => return Err(unexpected(&other)),
        };
        match bytes.split_first_chunk() {
            Some((b"1 ", _)) => {}
            Some(([b'0'..=b'9', b' ' | b'0'..=b'9'], _)) => {
                let what = "the session is of a layout this version of cloakroom does not know";
                return Err(StoreError::new(StoreErrorKind::Incompatible, what));
            }
            _ => return Err(corrupt("no session of this store")),
        }
        let (user, activity) = parse(&bytes).ok_or_else(|| corrupt("a session's head"))?;
        Ok(Some(Self {
            user,
            activity,
            bytes,
        }))
    }

    pub(super) fn decode(self) -> Result<Kept, StoreError> {
        let record = Record::from_bytes(&self.bytes[LENGTH..])?;
        Ok((Arc::new(record), self.activity))
    }
}

fn parse(bytes: &[u8]) -> Option<(UserHash, Activity)> {
    let head = str::from_utf8(bytes.get(..LENGTH)?).ok()?;
    let time = |from: usize| head.get(from..from + 15)?.parse::<u64>().ok();
    let expiry = time(89)?;
    let activity = Activity {
        last_seen_at: Timestamp::from_millis(time(73)?),
        expires_at: (expiry != NEVER).then(|| Timestamp::from_millis(expiry)),
    };
    Some((head.get(40..72)?.trim_end_matches('-').to_owned(), activity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_the_width_that_scripts_count_on() {
        let user = "0123456789abcdef0123456789abcdef".to_owned();
        let last = Version {
            counter: u64::MAX,
            writer: u64::MAX,
        };
        for (version, user, expires_at) in [
            (last, user, Some(Timestamp::MAX)),
            (Version::first(0), String::new(), None),
        ] {
            let activity = Activity {
                last_seen_at: Timestamp::MAX,
                expires_at,
            };
            let [seen, expiry] = times(activity);
            let head = format!("{} {seen} {expiry}\n", begin(version, &user));
            assert_eq!(head.len(), LENGTH);
            assert_eq!(identity(version).len(), 39);
            assert_eq!(parse(head.as_bytes()), Some((user, activity)));
            let epoch = Activity {
                last_seen_at: Timestamp::EPOCH,
                expires_at: Some(Timestamp::EPOCH),
            };
            let touched = with_times(head.as_bytes(), epoch);
            assert_eq!(touched.len(), LENGTH);
            assert_eq!(with_times(&touched, activity), head.as_bytes());
        }
    }
}
