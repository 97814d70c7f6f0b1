//! The format of a token, written independently of the library.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cloakroom::SessionId;
use uuid::Uuid;

/// A version 4 id that was never issued.
pub(crate) const NEVER_ISSUED: Uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);

/// The 43 characters for this id and secret.
pub(crate) fn join(id: impl Into<Uuid>, secret: [u8; 16]) -> String {
    let mut bytes = id.into().into_bytes().to_vec();
    bytes.extend_from_slice(&secret);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The id and the secret in a token.
pub(crate) fn split(token: &str) -> (SessionId, [u8; 16]) {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let id = Uuid::from_slice(&bytes[..16]).unwrap();
    (id.into(), bytes[16..].try_into().unwrap())
}

/// Whether these characters are a token: canonical base64url of a version 4 UUID and 16 bytes.
pub(crate) fn is_well_formed(text: &str) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else {
        return false;
    };
    bytes.len() == 32
        && URL_SAFE_NO_PAD.encode(&bytes) == text
        && bytes[6] >> 4 == 4
        && bytes[8] >> 6 == 0b10
}
