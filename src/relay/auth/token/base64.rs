//! base64url without padding (RFC 4648, section 5), strictly: one text for one value.

/// `None`: a character of another alphabet, padding, a length that cannot be, or bits that are set behind the end.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    for character in text.bytes() {
        bits = bits << 6 | u32::from(value_of(character)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(low_byte(bits >> held));
            bits &= (1 << held) - 1;
        }
    }
    // Six bits that are left are a character that says nothing.
    (held < 6 && bits == 0).then_some(bytes)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 6 {
            held -= 6;
            text.push(character_of(bits >> held));
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        text.push(character_of(bits << (6 - held)));
    }
    text
}

fn value_of(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

fn character_of(bits: u32) -> char {
    char::from(ALPHABET[usize::from(low_byte(bits) & 63)])
}

fn low_byte(bits: u32) -> u8 {
    bits.to_le_bytes()[0]
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..bytes.len() {
            let text = encode(&bytes[..length]);
            assert_eq!(decode(&text).as_deref(), Some(&bytes[..length]), "{text}");
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn there_is_one_text_for_a_value() {
        for text in ["A", "AAAAA", "AB", "AAB", "AA==", "+/8", "A A", "AA\n", "ä"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
