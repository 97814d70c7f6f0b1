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

use std::{ops::Range, str, sync::Arc};

use ::redis::{Cmd, Value};

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

/// Where the parts of the head are.
const COUNTER: Range<usize> = 2..22;
const WRITER: Range<usize> = 23..39;
const USER: Range<usize> = 40..72;
const LAST_SEEN: Range<usize> = 73..88;
const EXPIRY: Range<usize> = 89..104;

/// The expiry of a session that never expires: later than [`Timestamp::MAX`], with as many digits.
const NEVER: u64 = 999_999_999_999_999;

/// How long a session stays after its deadline, because the clocks of machines may differ.
const GRACE_MILLIS: u64 = 5 * 60 * 1000;

/// When Redis may delete it, in milliseconds since the epoch.
pub(super) fn native_expiry(activity: Activity) -> Option<u64> {
    let at = activity.expires_at?;
    Some(at.as_millis().saturating_add(GRACE_MILLIS))
}

/// `SET` of a session with this condition, such as `NX`.
pub(super) fn set(key: &[u8], session: &[u8], condition: &[&[u8]], activity: Activity) -> Cmd {
    let arguments = [key, session].into_iter().chain(condition.iter().copied());
    // A command that grows is copied several times. The arguments besides these have up to 22 bytes.
    let length: usize = arguments.map(<[u8]>::len).sum();
    let mut set = Cmd::with_capacity(7, length + 22);
    set.arg("SET").arg(key).arg(session);
    for word in condition {
        set.arg(*word);
    }
    if let Some(at) = native_expiry(activity) {
        set.arg("PXAT").arg(at);
    }
    set
}

/// Layout and version, which a touch compares.
pub(super) fn identity(version: Version) -> Vec<u8> {
    begin(version, "")[..WRITER.end].to_vec()
}

/// The head up to the user, which an update compares.
pub(super) fn begin(version: Version, user: &str) -> Vec<u8> {
    let mut head = [b' '; USER.end];
    head[0] = b'1';
    digits(&mut head[COUNTER], version.counter, 10);
    head[COUNTER.end] = b'-';
    digits(&mut head[WRITER], version.writer, 16);
    head[USER].copy_from_slice(&padded(user));
    head.to_vec()
}

/// A user's hash as the head has it.
pub(super) fn padded(user: &str) -> [u8; USER.end - USER.start] {
    let mut padded = [b'-'; USER.end - USER.start];
    padded[..user.len()].copy_from_slice(user.as_bytes());
    padded
}

/// The last use and the expiry.
pub(super) fn times(activity: Activity) -> [[u8; 15]; 2] {
    let expiry = activity.expires_at.map_or(NEVER, Timestamp::as_millis);
    [activity.last_seen_at.as_millis(), expiry].map(|millis| {
        let mut time = [0; 15];
        digits(&mut time, millis, 10);
        time
    })
}

/// Fills `into` with a number, with zeros in front.
fn digits(into: &mut [u8], mut number: u64, base: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % base) as usize];
        number /= base;
    }
}

fn head(version: Version, user: &str, activity: Activity) -> Vec<u8> {
    let mut head = begin(version, user);
    for time in times(activity) {
        head.push(b' ');
        head.extend_from_slice(&time);
    }
    head.push(b'\n');
    head
}

/// The whole string.
pub(super) fn whole(record: &Record, activity: Activity, user: &str) -> Vec<u8> {
    record.encode_onto(head(record.version(), user, activity))
}

/// The string `whole` with another activity.
pub(super) fn with_times(whole: &[u8], activity: Activity) -> Vec<u8> {
    let [seen, expiry] = times(activity);
    let mut whole = whole.to_vec();
    whole[LAST_SEEN].copy_from_slice(&seen);
    whole[EXPIRY].copy_from_slice(&expiry);
    whole
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
    let time = |at: Range<usize>| head.get(at)?.parse::<u64>().ok();
    let expiry = time(EXPIRY)?;
    let activity = Activity {
        last_seen_at: Timestamp::from_millis(time(LAST_SEEN)?),
        expires_at: (expiry != NEVER).then(|| Timestamp::from_millis(expiry)),
    };
    Some((head.get(USER)?.trim_end_matches('-').to_owned(), activity))
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
            let expiry = expires_at.map_or(NEVER, Timestamp::as_millis);
            let expected = format!(
                "1 {:020}-{:016x} {user:-<32} {:015} {expiry:015}\n",
                version.counter,
                version.writer,
                Timestamp::MAX.as_millis()
            );
            let head = head(version, &user, activity);
            assert_eq!(str::from_utf8(&head), Ok(&*expected));
            assert_eq!(head.len(), LENGTH);
            assert_eq!(identity(version).len(), 39);
            assert_eq!(parse(&head), Some((user, activity)));
            let epoch = Activity {
                last_seen_at: Timestamp::EPOCH,
                expires_at: Some(Timestamp::EPOCH),
            };
            let touched = with_times(&head, epoch);
            assert_eq!(touched.len(), LENGTH);
            assert_eq!(with_times(&touched, activity), head);
        }
    }
}
