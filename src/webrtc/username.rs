//! Whose a check of ICE is, by the name that it carries (RFC 8489, sections 5 and 14.3).
//!
//! ```text
//! 0x0001 | length | 0x2112a442 | transaction, 12 bytes | attributes: type | length | value, filled up to 4 bytes
//! ```

/// Whether a datagram is of STUN, as its first byte says (RFC 7983).
pub fn is_check(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_BYTES && datagram[0] < 4 && datagram[4..8] == MAGIC
}

/// What a request of STUN names as this side: what is before the colon of its username.
pub fn username_of(datagram: &[u8]) -> Option<&str> {
    if !is_check(datagram) || datagram[..2] != BINDING_REQUEST {
        return None;
    }
    let mut rest = &datagram[HEADER_BYTES..];
    loop {
        let (header, behind) = rest.split_first_chunk::<4>()?;
        let [kind_high, kind_low, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = behind.get(..length)?;
        if [kind_high, kind_low] == USERNAME {
            let (name, _) = std::str::from_utf8(value).ok()?.split_once(':')?;
            return Some(name);
        }
        rest = behind.get(length.next_multiple_of(4)..)?;
    }
}

const HEADER_BYTES: usize = 20;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const USERNAME: [u8; 2] = [0, 6];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_whose_it_is_and_nothing_else_does() {
        let mut check = vec![0, 1, 0, 20];
        check.extend(MAGIC);
        check.extend([7; 12]);
        check.extend([0x80, 0x22, 0, 1, 9, 0, 0, 0]);
        check.extend([0, 6, 0, 7]);
        check.extend(b"ours:it\0");
        assert_eq!(username_of(&check), Some("ours"));
        for length in 0..check.len() - 1 {
            assert_eq!(username_of(&check[..length]), None, "{length}");
        }
        check[1] = 2;
        assert_eq!(username_of(&check), None);
        assert_eq!(username_of(&[0; 64]), None);
        assert!(!is_check(b"SIP/2.0 200 OK and so on and so forth"));
    }
}
