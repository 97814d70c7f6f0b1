//! What a session remembers of its user's credentials: [`Stamp`].

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::{Error, ErrorKind};

/// A salted SHA-256 of bytes that change when the user's credentials do.
///
/// The salt hides whether two users, or two sessions of one user, have the same credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    salt: [u8; SALT],
    hash: [u8; HASH],
}

const SALT: usize = 16;
const HASH: usize = 32;

impl Stamp {
    /// # Errors
    ///
    /// `Other` where the operating system gives no random bytes.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Error> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| {
            let what = "the operating system gave no random bytes";
            Error::caused(ErrorKind::Other, what, error)
        })?;
        let hash = hash(&salt, bytes);
        Ok(Self { salt, hash })
    }

    /// Whether it was made of these bytes. Takes the same time whatever the answer.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        hash(&self.salt, bytes).ct_eq(&self.hash).into()
    }

    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode([&self.salt[..], &self.hash].concat())
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (salt, hash) = bytes.split_first_chunk()?;
        Some(Self {
            salt: *salt,
            hash: hash.try_into().ok()?,
        })
    }
}

fn hash(salt: &[u8; SALT], bytes: &[u8]) -> [u8; HASH] {
    let mut hash = Sha256::new();
    hash.update(b"cloakroom stamp 1");
    hash.update(salt);
    hash.update(bytes);
    hash.finalize().into()
}
