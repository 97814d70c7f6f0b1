//! 32 bytes as text: [`encode_onto`] and [`decode`], base64url without padding (RFC 4648, section 5), of this length alone.
//!
//! Every request that brings a token decodes it. With a fixed length the loops have no ends to look for.

/// So many characters are 32 bytes.
pub(crate) const CHARS: usize = 43;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// For a byte that is no character of the alphabet. Its sign stays whatever is put behind it.
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
    let start = text.len();
    text.resize(start + CHARS, 0);
    let text = &mut text[start..];
    let char = |value: u32| ALPHABET[(value & 63) as usize];
    let (whole, rest) = bytes.as_chunks::<3>();
    let (groups, last) = text.as_chunks_mut::<4>();
    for ([a, b, c], group) in whole.iter().zip(groups) {
        let word = u32::from_be_bytes([0, *a, *b, *c]);
        *group = [word >> 18, word >> 12, word >> 6, word].map(char);
    }
    if let [a, b] = rest {
        let word = u32::from_be_bytes([0, *a, *b, 0]);
        last.copy_from_slice(&[word >> 18, word >> 12, word >> 6].map(char));
    }
}

/// `None` unless `text` is exactly what [`encode_onto`] writes for some bytes.
pub(crate) fn decode(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; CHARS] = text.try_into().ok()?;
    let mut bytes = [0; 32];
    let (groups, last) = text.as_chunks::<4>();
    let (whole, rest) = bytes.as_chunks_mut::<3>();
    let mut seen = 0;
    for (group, three) in groups.iter().zip(whole) {
        let word = word(group);
        seen |= word;
        let [_, a, b, c] = word.to_be_bytes();
        *three = [a, b, c];
    }
    let word = word(last) << 6;
    seen |= word;
    let [_, a, b, unused] = word.to_be_bytes();
    rest.copy_from_slice(&[a, b]);
    (seen >= 0 && unused == 0).then_some(bytes)
}

/// The bits of these characters, the first one's on top; negative where one is invalid.
fn word(text: &[u8]) -> i32 {
    let values = text
        .iter()
        .map(|char| i32::from(VALUES[usize::from(*char)]));
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
