//! The header of a session's file: [`Header`]. Pure: bytes in, bytes out.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..8 | `CLKR`, and the format's number |
//! | 8..24 | version: counter and writer |
//! | 24..32 | length of the record |
//! | 32..64 | SHA-256 of the user, or zeros; [`UserKey::MARKERS`] if the record was created as a marker |
//! | 64..72 | checksum of the record |
//! | 72..80 | checksum of all before; here in every format |
//! | 80..112, 112..144 | two slots for the activity: sequence, last seen, expiry, checksum |
//! | 144.. | the record, as [`Record::to_bytes`] gives it |
//!
//! Numbers are little-endian. A checksum is the first 8 bytes of the SHA-256.
//!
//! If both slots are intact, the one with the higher sequence is current, and a touch writes the other one. So if a touch
//! is interrupted, or another process reads during it, the former activity is still intact. On ext4 such a touch takes
//! 34 µs. A new file, synced and renamed, takes 900 µs.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::{error::FileError, users::UserKey};
use crate::{
    clock::Timestamp,
    record::{Activity, Record, version::Version},
};

pub(super) const HEADER_BYTES: usize = HEAD_BYTES + 2 * SLOT_BYTES;
const HEAD_BYTES: usize = 80;
const SLOT_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"CLKR";
const FORMAT: u32 = 1;
/// The expiry of a session that never expires.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: Version,
    pub(super) user: Option<UserKey>,
    length: u64,
    record: [u8; CHECKSUM_BYTES],
    /// The current slot.
    slot: usize,
    sequence: u64,
    pub(super) activity: Activity,
}

/// A whole file with this record and activity, and `user` as its place in the index.
pub(super) fn contents(record: &Record, activity: Activity, user: Option<UserKey>) -> Vec<u8> {
    let encoded = record.to_bytes();
    let mut file = Vec::with_capacity(HEADER_BYTES + encoded.len());
    file.extend(MAGIC);
    file.extend(FORMAT.to_le_bytes());
    file.extend(record.version().counter.to_le_bytes());
    file.extend(record.version().writer.to_le_bytes());
    file.extend((encoded.len() as u64).to_le_bytes());
    file.extend(user.map_or([0; 32], |user| user.0));
    file.extend(checksum(&encoded));
    file.extend(checksum(&file));
    file.extend(slot(1, activity));
    file.extend([0; SLOT_BYTES]);
    file.extend(encoded);
    file
}

fn slot(sequence: u64, activity: Activity) -> [u8; SLOT_BYTES] {
    let expires_at = activity.expires_at.map_or(NEVER, Timestamp::as_millis);
    let numbers = [sequence, activity.last_seen_at.as_millis(), expires_at];
    let mut slot = [0; SLOT_BYTES];
    for (place, number) in slot.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
    let sum = checksum(&slot[..SLOT_BYTES - CHECKSUM_BYTES]);
    slot[SLOT_BYTES - CHECKSUM_BYTES..].copy_from_slice(&sum);
    slot
}

fn read_slot(slot: &[u8]) -> Option<(u64, Activity)> {
    let (numbers, sum) = slot.split_at(SLOT_BYTES - CHECKSUM_BYTES);
    if checksum(numbers) != *sum {
        return None;
    }
    let expires_at = number(numbers, 16);
    let activity = Activity {
        last_seen_at: Timestamp::from_millis(number(numbers, 8)),
        expires_at: (expires_at != NEVER).then(|| Timestamp::from_millis(expires_at)),
    };
    Some((number(numbers, 0), activity))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    array(&Sha256::digest(bytes), 0)
}

impl Header {
    /// Reads the header from the beginning of a file.
    pub(super) fn read(file: &mut impl Read) -> Result<Self, FileError> {
        let mut header = [0; HEADER_BYTES];
        read_exact(file, &mut header)?;
        Self::decode(&header)
    }

    fn decode(header: &[u8; HEADER_BYTES]) -> Result<Self, FileError> {
        let (head, slots) = header.split_at(HEAD_BYTES);
        let (head, sum) = head.split_at(HEAD_BYTES - CHECKSUM_BYTES);
        if head[..4] != MAGIC || checksum(head) != *sum {
            return Err(FileError::Damaged);
        }
        match u32::from_le_bytes(array(head, 4)) {
            FORMAT => {}
            format => return Err(FileError::Newer(format)),
        }
        let (slot, (sequence, activity)) = slots
            .chunks(SLOT_BYTES)
            .enumerate()
            .filter_map(|(index, slot)| Some((index, read_slot(slot)?)))
            .max_by_key(|(_, (sequence, _))| *sequence)
            .ok_or(FileError::Damaged)?;
        let user: [u8; 32] = array(head, 32);
        Ok(Self {
            version: Version {
                counter: number(head, 8),
                writer: number(head, 16),
            },
            user: (user != [0; 32]).then_some(UserKey(user)),
            length: number(head, 24),
            record: array(head, 64),
            slot,
            sequence,
            activity,
        })
    }

    /// Reads the record that follows the header in a file of `file_bytes`.
    pub(super) fn read_record(
        &self,
        file: &mut impl Read,
        file_bytes: u64,
    ) -> Result<Record, FileError> {
        // Compared first, so that a damaged length allocates nothing.
        if file_bytes.checked_sub(HEADER_BYTES as u64) != Some(self.length) {
            return Err(FileError::Damaged);
        }
        let length = usize::try_from(self.length).map_err(|_| FileError::Damaged)?;
        let mut encoded = vec![0; length];
        read_exact(file, &mut encoded)?;
        if checksum(&encoded) != self.record {
            return Err(FileError::Damaged);
        }
        Ok(Record::from_bytes(&encoded)?)
    }

    /// The position and bytes that a touch writes. `None` if the stored activity is as late already.
    pub(super) fn touched(&self, activity: Activity) -> Option<(u64, [u8; SLOT_BYTES])> {
        let former = self.activity;
        let later = Activity {
            last_seen_at: former.last_seen_at.max(activity.last_seen_at),
            // `None` means never, which is later than any time.
            expires_at: (former.expires_at.zip(activity.expires_at)).map(|(a, b)| a.max(b)),
        };
        let other = 1 - self.slot;
        let place = (HEAD_BYTES + other * SLOT_BYTES) as u64;
        (later != former).then(|| (place, slot(self.sequence + 1, later)))
    }
}

/// A file that ends too early is damaged.
fn read_exact(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), FileError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FileError::Damaged,
        _ => error.into(),
    })
}
