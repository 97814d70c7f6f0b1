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

    /// The ids of a bucket by the time at which their sessions came to them.
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
    /// `None` if this store did not write it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (id, user) = bytes.split_first_chunk::<16>()?;
        Some(Self {
            id: uuid::Uuid::from_bytes(*id).into(),
            user: str::from_utf8(user).ok()?.to_owned(),
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.id.as_bytes(), self.user.as_bytes()].concat()
    }
}
