//! Tokens that carry a MAC: [`TokenKeys`], and [how a token is written](write) and [read] with or without them.

use std::{fmt, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    clock::Timestamp,
    error::ConfigError,
    record::token::{TOKEN_BYTES, TOKEN_CHARS, Token},
};

/// One in 2^80 forged tokens has a valid MAC.
const MAC_BYTES: usize = 10;
const KEYED_BYTES: usize = TOKEN_BYTES + MAC_BYTES;

/// 42 bytes as base64url.
const KEYED_CHARS: usize = 56;

/// The shortest key, in bytes.
const MIN_KEY: usize = 32;

/// Keys that let a layer recognise its own tokens without asking the store, for
/// [`SessionLayer::token_keys`](crate::SessionLayer::token_keys).
///
/// With keys, each token carries a message authentication code (HMAC-SHA-256, cut to 80 bits). The layer
/// rejects forged tokens before it calls the store, so each of them costs a hash instead of a query. The
/// keys protect the store, not the sessions: a token also needs the session's secret, so nobody can open a
/// session with a key alone.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cloakroom::{ConfigError, SessionLayer, TokenKeys};
///
/// /// `key` is 32 random bytes or more, the same on every node.
/// fn layer(key: &[u8], former: &[u8], turned_on: SystemTime) -> Result<SessionLayer, ConfigError> {
///     let keys = TokenKeys::new(key)?
///         // Rotation: tokens with the former key are accepted, and issued again with the new one.
///         .also_accept(former)?
///         // Sessions from before the first key live a day at most.
///         .accept_without_until(turned_on + Duration::from_secs(24 * 60 * 60));
///     Ok(SessionLayer::default().token_keys(keys))
/// }
/// # assert!(layer(&[1; 32], &[2; 32], SystemTime::now()).is_ok());
/// # assert!(layer(&[1; 31], &[2; 32], SystemTime::now()).is_err());
/// ```
///
/// # Turning it on, and rotating
///
/// To turn it on, deploy the key with a date in
/// [`accept_without_until`](Self::accept_without_until). Visitors get a new cookie at their next
/// request that loads the session. A layer without keys accepts tokens with a MAC, and ignores the MAC. So
/// nodes with and without keys can share sessions, and you can remove the keys again.
///
/// To rotate on several nodes, first deploy the new key in [`also_accept`](Self::also_accept)
/// everywhere. Then pass it to `new`, with the former key in `also_accept`. Remove the former key after the
/// absolute timeout.
#[derive(Clone)]
pub struct TokenKeys {
    issuing: Key,
    former: Vec<Key>,
    /// Tokens without a MAC are accepted before this time. `None`: never.
    unkeyed_until: Option<Timestamp>,
}

/// The state of the MAC after the key, which is the same for every token.
#[derive(Clone)]
struct Key(Hmac<Sha256>);

impl TokenKeys {
    /// Issues tokens with this key, and accepts tokens with this key.
    ///
    /// # Errors
    ///
    /// If the key is shorter than 32 bytes.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        Ok(Self {
            issuing: Key::new(key.as_ref())?,
            former: Vec::new(),
            unkeyed_until: None,
        })
    }

    /// Accepts tokens with this key too. Call it once for each key. Default: none.
    ///
    /// Each key adds a hash to the check of a forged token.
    ///
    /// # Errors
    ///
    /// If the key is shorter than 32 bytes.
    pub fn also_accept(mut self, key: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        self.former.push(Key::new(key.as_ref())?);
        Ok(self)
    }

    /// Accepts tokens without a MAC before this time, by the layer's clock. Default: never.
    ///
    /// Until then, forged tokens without a MAC reach the store.
    #[must_use]
    pub fn accept_without_until(mut self, time: SystemTime) -> Self {
        self.unkeyed_until = Some(time.into());
        self
    }

    fn verify(&self, token: &[u8], mac: &[u8]) -> Option<Freshness> {
        if self.issuing.verify(token, mac) {
            return Some(Freshness::Current);
        }
        let is_former = self.former.iter().any(|key| key.verify(token, mac));
        is_former.then_some(Freshness::Former)
    }
}

/// Shows no key.
impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys")
            .field("former", &self.former.len())
            .field("unkeyed_until", &self.unkeyed_until)
            .finish_non_exhaustive()
    }
}

impl Key {
    fn new(key: &[u8]) -> Result<Self, ConfigError> {
        if key.len() < MIN_KEY {
            return Err(ConfigError::new(format!(
                "a token key has {} bytes and needs {MIN_KEY}: use as many random bytes",
                key.len()
            )));
        }
        let state = Hmac::new_from_slice(key);
        state
            .map(Self)
            .map_err(|_| ConfigError::new("the token key has no length that a MAC takes"))
    }

    fn of(&self, token: &[u8]) -> [u8; MAC_BYTES] {
        let mac = self.0.clone().chain_update(token).finalize().into_bytes();
        std::array::from_fn(|index| mac[index])
    }

    /// In constant time.
    fn verify(&self, token: &[u8], mac: &[u8]) -> bool {
        let state = self.0.clone().chain_update(token);
        state.verify_truncated_left(mac).is_ok()
    }
}

/// Whether a token has the current key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// As the layer would issue it.
    Current,
    /// With a former key, or without one: the layer issues it again.
    Former,
}

/// Why a value is not a token of this layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    /// It has the form of a token, but no valid MAC.
    Forged,
}

/// Reads a token. An error unless [`write`] gives exactly these bytes (rules T2, T8).
#[inline]
pub(crate) fn read(
    value: &[u8],
    keys: Option<&TokenKeys>,
    now: Timestamp,
) -> Result<(Token, Freshness), Unreadable> {
    if value.len() == TOKEN_CHARS {
        let token = Token::parse(value).ok_or(Unreadable::Malformed)?;
        return match keys {
            None => Ok((token, Freshness::Current)),
            Some(keys) if keys.unkeyed_until.is_some_and(|until| now < until) => {
                Ok((token, Freshness::Former))
            }
            Some(_) => Err(Unreadable::Forged),
        };
    }
    read_keyed(value, keys)
}

#[cold]
fn read_keyed(value: &[u8], keys: Option<&TokenKeys>) -> Result<(Token, Freshness), Unreadable> {
    let malformed = Unreadable::Malformed;
    if value.len() != KEYED_CHARS {
        return Err(malformed);
    }
    let mut bytes = [0; KEYED_BYTES];
    let decoded = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes);
    decoded.map_err(|_| malformed)?;
    let (token, mac) = bytes.split_first_chunk().ok_or(malformed)?;
    let parsed = Token::from_bytes(token).ok_or(malformed)?;
    let Some(keys) = keys else {
        return Ok((parsed, Freshness::Current));
    };
    let freshness = keys.verify(token, mac).ok_or(Unreadable::Forged)?;
    Ok((parsed, freshness))
}

/// How many characters a token has.
pub(crate) fn length(keys: Option<&TokenKeys>) -> usize {
    keys.map_or(TOKEN_CHARS, |_| KEYED_CHARS)
}

/// Writes the token, as the layer issues it, at the end of `text`.
pub(crate) fn write_onto(token: &Token, keys: Option<&TokenKeys>, text: &mut Vec<u8>) {
    let Some(keys) = keys else {
        return token.encode_onto(text);
    };
    let bytes = token.to_bytes();
    let mut keyed = [0; KEYED_BYTES];
    keyed[..TOKEN_BYTES].copy_from_slice(&bytes);
    keyed[TOKEN_BYTES..].copy_from_slice(&keys.issuing.of(&bytes));
    let mut chars = [0; KEYED_CHARS];
    URL_SAFE_NO_PAD
        .encode_slice(keyed, &mut chars)
        .expect("42 bytes are so many characters");
    text.extend_from_slice(&chars);
}

/// The token as the layer issues it.
pub(crate) fn write(token: &Token, keys: Option<&TokenKeys>) -> Vec<u8> {
    let mut text = Vec::with_capacity(length(keys));
    write_onto(token, keys, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: u8) -> TokenKeys {
        TokenKeys::new([key; 32]).unwrap()
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn a_token_reads_back_with_the_key_it_was_written_with() {
        let token = Token::generate().unwrap();
        let text = write(&token, Some(&keys(1)));
        assert_eq!(text.len(), KEYED_CHARS);
        let (same, freshness) = read(&text, Some(&keys(1)), NOW).unwrap();
        assert!(same.is_same(&token));
        assert_eq!(freshness, Freshness::Current);
        let rotated = keys(2).also_accept([1; 32]).unwrap();
        let (_, freshness) = read(&text, Some(&rotated), NOW).unwrap();
        assert_eq!(freshness, Freshness::Former);
        let other = read(&text, Some(&keys(2)), NOW);
        assert_eq!(other.unwrap_err(), Unreadable::Forged);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let text = write(&Token::generate().unwrap(), Some(&keys(1)));
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..KEYED_BYTES * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = URL_SAFE_NO_PAD.encode(forged);
            assert!(
                read(forged.as_bytes(), Some(&keys(1)), NOW).is_err(),
                "{bit}"
            );
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!(
            "{:?}",
            TokenKeys::new(b"swordfish-swordfish-swordfish-sw").unwrap()
        );
        assert!(
            !shown.contains("swordfish") && !shown.contains("115"),
            "{shown}"
        );
    }
}
