//! The names of keys in Redis: [`Keys`], and the [`Entry`] of a session in an index.

use std::{fmt::Write as _, str};

use sha2::{Digest as _, Sha256};

use crate::record::token::SessionId;

/// The first 16 bytes of the SHA-256 of a user's name, as hexadecimal digits. Empty without a user.
pub(super) type UserHash = String;

pub(super) fn user_hash(user: Option<&str>) -> UserHash {
    let mut hash = String::new();
    for byte in user
        .iter()
        .flat_map(|user| Sha256::digest(user).into_iter().take(16))
    {
        // Writing to a string does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// The id that these bytes are.
pub(super) fn read_id(bytes: &[u8]) -> Option<SessionId> {
    Some(uuid::Uuid::from_bytes(bytes.try_into().ok()?).into())
}

/// Names of keys, all with one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
}

impl Keys {
    /// The ids that begin with `first`. The part in braces decides the cluster's slot, so that a session and its bucket
    /// share one.
    pub(super) fn bucket(&self, first: u8) -> Vec<u8> {
        format!("{}{{{first:02x}}}", self.prefix).into_bytes()
    }

    /// The ids of a bucket by the time when sessions got them.
    pub(super) fn begun(&self, first: u8) -> Vec<u8> {
        format!("{}{{{first:02x}}}begun", self.prefix).into_bytes()
    }

    pub(super) fn session(&self, id: SessionId) -> Vec<u8> {
        let first = id.as_bytes()[0];
        format!("{}{{{first:02x}}}{id}", self.prefix).into_bytes()
    }

    /// The ids of one user.
    pub(super) fn user(&self, user: &UserHash) -> Vec<u8> {
        format!("{}user:{user}", self.prefix).into_bytes()
    }
}

/// An entry of a bucket: a session's id, and its user when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: SessionId,
    pub(super) user: UserHash,
}

impl Entry {
    /// Reads a member of the bucket of ids that begin with `first`. `None` if this store did not write it.
    pub(super) fn parse(bytes: &[u8], first: u8) -> Option<Self> {
        let (id, user) = bytes.split_first_chunk::<16>()?;
        let is_hash = matches!(user.len(), 0 | 32)
            && user
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let user = str::from_utf8(user).ok()?;
        (id[0] == first && is_hash).then(|| Self {
            id: uuid::Uuid::from_bytes(*id).into(),
            user: user.to_owned(),
        })
    }

    /// Reads a member of this user's index. `None` if this store did not write it.
    pub(super) fn of_user(bytes: &[u8], user: &UserHash) -> Option<Self> {
        Some(Self {
            id: read_id(bytes)?,
            user: user.clone(),
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.id.as_bytes(), self.user.as_bytes()].concat()
    }
}
