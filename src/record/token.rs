//! The value of the cookie, and its comparison with a record: [`Token`], [`SessionId`], [`Secret`], [`Verifier`].
//!
//! A token is an id and a secret. The id is public and finds the record. The secret proves that the session
//! is the visitor's. A record keeps only the secret's SHA-256, the verifier. Nobody can guess 128 random bits
//! from a hash, so it needs no salt and no slow hash function.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::{Builder, Uuid};

use crate::{
    error::{Error, ErrorKind},
    record::base64url::{self, CHARS},
};

/// A session's public id: a random UUID, version 4.
///
/// The id opens nothing, so you can use it in logs, lists and URLs. Only the secret beside it in the cookie
/// opens the session, and no API shows that.
///
/// ```
/// use cloakroom::SessionId;
///
/// let id: SessionId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(id.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// # Ok::<(), uuid::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Uuid);

impl SessionId {
    /// The 16 bytes of the UUID, in network order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for SessionId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<SessionId> for Uuid {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl SessionId {
    /// An id that is made from a hash instead of random bytes.
    pub(crate) fn hashed(hash: &[u8; 32]) -> Self {
        let (id, _) = halves(hash);
        Self(Builder::from_random_bytes(id).into_uuid())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

/// 128 random bits that only the visitor has. It has no `Display`, and its `Debug` hides it.
#[derive(Clone, Copy)]
pub(crate) struct Secret([u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// The SHA-256 of a secret, which a record keeps in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Verifier([u8; 32]);

impl Secret {
    /// From the operating system's random bytes.
    pub(crate) fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Verifier {
    pub(crate) fn of(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.0).into())
    }

    /// Whether this is the verifier of `secret`, in constant time.
    pub(crate) fn accepts(&self, secret: &Secret) -> bool {
        self.matches(&Self::of(secret))
    }

    /// Whether both are of the same secret, in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        // All differences in one word, because each `ct_eq` ends in a barrier against the optimiser: 32 of
        // them take as long as the hash itself.
        let theirs = words(&other.0);
        let pairs = words(&self.0).into_iter().zip(theirs);
        let difference = pairs.fold(0, |all, (one, other)| all | (one ^ other));
        difference.ct_eq(&0).into()
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = Vec::with_capacity(CHARS);
        base64url::encode_onto(&self.0, &mut text);
        text.into_iter().map(char::from).collect()
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        base64url::decode(text.as_bytes()).map(Self)
    }
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let (chunks, _) = bytes.as_chunks();
    std::array::from_fn(|index| u64::from_ne_bytes(chunks[index]))
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// The cookie's value: id and secret, 32 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) id: SessionId,
    pub(crate) secret: Secret,
}

/// An id and a secret.
pub(super) const TOKEN_BYTES: usize = 32;

/// 32 bytes as base64url without padding.
pub(super) const TOKEN_CHARS: usize = CHARS;

impl Token {
    /// A new id and a new secret, from one call of the operating system.
    pub(crate) fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        fill(&mut bytes)?;
        let (id, secret) = halves(&bytes);
        Ok(Self {
            id: SessionId(Builder::from_random_bytes(id).into_uuid()),
            secret: Secret(secret),
        })
    }

    /// Parses the cookie's value. `None` unless [`encode`](Self::encode) gives exactly these bytes (rule T2).
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        Self::from_bytes(&base64url::decode(value)?)
    }

    /// What [`to_bytes`](Self::to_bytes) gave. `None` unless the id is a UUID of version 4.
    pub(super) fn from_bytes(bytes: &[u8; TOKEN_BYTES]) -> Option<Self> {
        let (id, secret) = halves(bytes);
        // All bits at once: after a look at single bytes, the compiler copies a token in many small pieces.
        let bits = u128::from_be_bytes(id);
        let (version, variant) = (bits >> 76 & 0xf, bits >> 62 & 0b11);
        (version == 4 && variant == 0b10).then_some(Self {
            id: SessionId(Uuid::from_u128(bits)),
            secret: Secret(secret),
        })
    }

    /// Whether both tokens are the same. Not in constant time: both come from the same request.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.secret.0 == other.secret.0
    }

    pub(super) fn to_bytes(self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..16].copy_from_slice(self.id.as_bytes());
        bytes[16..].copy_from_slice(&self.secret.0);
        bytes
    }

    /// Writes the cookie's value at the end of `text`.
    pub(super) fn encode_onto(&self, text: &mut Vec<u8>) {
        base64url::encode_onto(&self.to_bytes(), text);
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|source| {
        Error::caused(
            ErrorKind::Other,
            "the operating system gave no random bytes",
            source,
        )
    })
}

fn halves(bytes: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    let mut halves = ([0; 16], [0; 16]);
    halves.0.copy_from_slice(&bytes[..16]);
    halves.1.copy_from_slice(&bytes[16..]);
    halves
}
