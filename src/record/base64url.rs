//! 32 bytes as text: [`encode_onto`] and [`decode`], base64url without padding (RFC 4648, section 5).
//!
//! Every request with a token decodes it. Because the length is fixed, the loops have constant bounds. Their bodies are
//! functions that are not inlined: unrolled, they would take a twentieth of the processor's cache for instructions.

/// The number of characters for 32 bytes.
pub(crate) const CHARS: usize = 43;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of a byte that is not in the alphabet. It is negative, and stays negative when other bits are added.
const INVALID: i8 = -1;

/// The value of each character.
const VALUES: [i8; 256] = {
    let mut values = [INVALID; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as i8;
        value += 1;
    }
    values
};

/// Writes `bytes` at the end of `text`.
pub(crate) fn encode_onto(bytes: &[u8; 32], text: &mut Vec<u8>) {
    let mut chars = [0; CHARS];
    let (whole, rest) = bytes.as_chunks::<6>();
    let (groups, last) = chars.as_chunks_mut::<8>();
    for ([a, b, c, d, e, f], group) in whole.iter().zip(groups) {
        *group = chars_of(u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]));
    }
    if let [a, b] = rest {
        let word = u64::from_be_bytes([0, 0, 0, 0, 0, *a, *b, 0]);
        last.copy_from_slice(&[18, 12, 6].map(|shift| char(word >> shift)));
    }
    text.extend_from_slice(&chars);
}

/// The characters of the 48 lowest bits, that of the upper ones first.
#[inline(never)]
fn chars_of(word: u64) -> [u8; 8] {
    [42, 36, 30, 24, 18, 12, 6, 0].map(|shift| char(word >> shift))
}

/// The character of the six lowest bits.
fn char(value: u64) -> u8 {
    ALPHABET[(value & 63) as usize]
}

/// `None` unless `text` is exactly what [`encode_onto`] writes for some bytes.
pub(crate) fn decode(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; CHARS] = text.try_into().ok()?;
    let mut bytes = [0; 32];
    let (groups, last) = text.as_chunks::<8>();
    let (whole, rest) = bytes.as_chunks_mut::<6>();
    let mut seen = 0;
    for (group, six) in groups.iter().zip(whole) {
        let word = eight(group);
        seen |= word;
        let [_, _, bytes @ ..] = word.to_be_bytes();
        *six = bytes;
    }
    let word = word(last) << 6;
    seen |= word;
    let [.., a, b, unused] = word.to_be_bytes();
    rest.copy_from_slice(&[a, b]);
    (seen >= 0 && unused == 0).then_some(bytes)
}

/// As [`word`], of eight characters.
#[inline(never)]
fn eight(text: &[u8; 8]) -> i64 {
    word(text)
}

/// The bits of these characters, the first one's on top; negative where one is invalid.
fn word(text: &[u8]) -> i64 {
    let values = text
        .iter()
        .map(|char| i64::from(VALUES[usize::from(*char)]));
    values.fold(0, |word, value| word << 6 | value)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn encode(bytes: &[u8; 32]) -> Vec<u8> {
        let mut text = Vec::new();
        encode_onto(bytes, &mut text);
        text
    }

    proptest! {
        #[test]
        fn it_writes_what_others_write(bytes: [u8; 32]) {
            let text = encode(&bytes);
            let theirs = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(&text[..], theirs.as_bytes());
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn it_reads_what_others_read(
            bytes: [u8; 32],
            position in 0..CHARS,
            character: u8,
        ) {
            let mut text = encode(&bytes);
            text[position] = character;
            let theirs = URL_SAFE_NO_PAD.decode(&text).ok();
            prop_assert_eq!(decode(&text).map(Vec::from), theirs);
        }

        #[test]
        fn text_of_another_length_is_nothing(text in "[A-Za-z0-9_-]{0,42}|[A-Za-z0-9_-]{44,50}") {
            prop_assert_eq!(decode(text.as_bytes()), None);
        }
    }
}
