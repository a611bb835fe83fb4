//! The UUID of an AudioSocket connection. It is all that Asterisk says of a call, so a dialplan writes whom it calls into
//! it.
//!
//! ```text
//! 5ec2e7-0012-34 100 e 4711 ffffffffffff     32 digits, dashes left out
//! └─ key ───────┘└─┬┘ │ └┬─┘ └ to the end
//!          number ─┘  │  └─ who calls; may be left out, with its e
//!                     └─ between them
//! ```
//!
//! A digit of a number is itself, `a` is `*`, `b` is `#`, `c` is `+`. The key is a secret of the switch: with it a
//! connection is let in.

use std::fmt;
use std::str::FromStr;

/// 128 bits that name a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub u128);

/// The text is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UUID has 32 hexadecimal digits, with dashes or without")]
pub struct NoUuid;

/// The key by which UUIDs with a number are known: hexadecimal digits, at most [`KEY_DIGITS_MAX`]. It may be empty: then
/// every connection is let in whose UUID has a number.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has {KEY_DIGITS_MIN} to {KEY_DIGITS_MAX} hexadecimal digits, an even number of them")]
pub struct NoKey;

/// Digits of a key, at least: 48 bits.
pub const KEY_DIGITS_MIN: usize = 12;
/// Digits of a key, at most: as many again are left for numbers.
pub const KEY_DIGITS_MAX: usize = 16;

/// Whom a UUID calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The number.
    pub to: String,
    /// Who calls.
    pub from: Option<String>,
}

impl Uuid {
    /// Whom it calls, if it begins with the key.
    pub fn called(self, key: &Key) -> Option<Called> {
        let digits = self.digits();
        let (own, rest) = digits.split_at_checked(key.0.len())?;
        // Each is looked at, so that how long it takes says nothing of where the first difference is.
        let difference = own.iter().zip(&key.0).fold(0, |all, (one, other)| all | (one ^ other));
        if difference != 0 {
            return None;
        }
        let end = rest.iter().position(|digit| *digit == END).unwrap_or(rest.len());
        let (said, filling) = rest.split_at(end);
        if filling.iter().any(|digit| *digit != END) {
            return None;
        }
        let mut numbers = said.split(|digit| *digit == BETWEEN);
        let to = number(numbers.next()?)?;
        let from = match numbers.next() {
            // Who hides has no number in a dialplan, and what is before it stays.
            None | Some([]) => None,
            Some(from) => Some(number(from)?),
        };
        numbers.next().is_none().then_some(Called { to, from })
    }

    /// One that calls a number. `None`: there is no room for it, or it has characters that no telephone has.
    pub fn calling(key: &Key, to: &str, from: Option<&str>) -> Option<Self> {
        let mut digits = key.0.clone();
        for character in to.chars() {
            digits.push(digit(character)?);
        }
        if let Some(from) = from {
            digits.push(BETWEEN);
            for character in from.chars() {
                digits.push(digit(character)?);
            }
        }
        if digits.len() > DIGITS {
            return None;
        }
        digits.resize(DIGITS, END);
        let bits = digits.iter().fold(0, |bits, digit| bits << 4 | u128::from(*digit));
        Some(Self(bits))
    }

    fn digits(self) -> [u8; DIGITS] {
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair.copy_from_slice(&[byte >> 4, byte & 0xf]);
        }
        digits
    }
}

impl FromStr for Uuid {
    type Err = NoUuid;

    fn from_str(text: &str) -> Result<Self, NoUuid> {
        let plain = match text.len() {
            32 => text.to_owned(),
            36 => {
                let dashes = [8, 13, 18, 23];
                let is_dashed = dashes.iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
                let plain: String = text.chars().filter(|character| *character != '-').collect();
                if !is_dashed {
                    return Err(NoUuid);
                }
                plain
            }
            _ => return Err(NoUuid),
        };
        if plain.len() != DIGITS || !plain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoUuid);
        }
        u128::from_str_radix(&plain, 16).map(Self).map_err(|_| NoUuid)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:032x}", self.0);
        let mut parts = [0..8, 8..12, 12..16, 16..20, 20..32]
            .into_iter()
            .filter_map(|range| text.get(range));
        if let Some(first) = parts.next() {
            formatter.write_str(first)?;
        }
        parts.try_for_each(|part| write!(formatter, "-{part}"))
    }
}

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let is_length = (KEY_DIGITS_MIN..=KEY_DIGITS_MAX).contains(&text.len()) && text.len().is_multiple_of(2);
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|character| u8::try_from(character.to_digit(16)?).ok())
            .collect();
        digits.filter(|_| is_length).map(Self).ok_or(NoKey)
    }
}

impl Key {
    /// Is it this text? In the same time whatever the text is, but for its length.
    pub fn is(&self, text: &str) -> bool {
        let digits = text.chars().map(|character| character.to_digit(16).unwrap_or(16));
        let is_as_long = text.chars().count() == self.0.len();
        let differs = digits
            .zip(&self.0)
            .fold(0, |all, (digit, own)| all | (digit ^ u32::from(*own)));
        is_as_long && differs == 0
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({} digits)", self.0.len())
    }
}

fn number(digits: &[u8]) -> Option<String> {
    let text: Option<String> = digits
        .iter()
        .map(|digit| CHARACTERS.get(usize::from(*digit)).copied().map(char::from))
        .collect();
    text.filter(|text| !text.is_empty())
}

fn digit(character: char) -> Option<u8> {
    let index = CHARACTERS.iter().position(|other| char::from(*other) == character)?;
    u8::try_from(index).ok()
}

const CHARACTERS: &[u8] = b"0123456789*#+";
const BETWEEN: u8 = 0xe;
const END: u8 = 0xf;
const DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_asterisk_writes_it() {
        let text = "40325ec2-5efd-4bd3-805f-53576e581d13";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid, Uuid(0x4032_5ec2_5efd_4bd3_805f_5357_6e58_1d13));
        assert_eq!(uuid.to_string(), text);
        assert_eq!("40325EC25efd4bd3805f53576e581d13".parse(), Ok(uuid));
        for wrong in [
            "",
            "40325ec2-5efd-4bd3-805f-53576e581d1",
            "40325ec2-5efd-4bd3-805f-53576e581d1g",
            "40325ec2-5efd-4bd3-805f053576e581d13",
            "+0325ec25efd4bd3805f53576e581d13",
            "40325ec2-5efd-4bd3-805f-53576e58-d13",
        ] {
            assert_eq!(wrong.parse::<Uuid>(), Err(NoUuid), "{wrong}");
        }
    }

    #[test]
    fn a_number_is_in_a_uuid_as_a_dialplan_writes_it() {
        let key: Key = "5ec2e7001234".parse().unwrap();
        let uuid: Uuid = "5ec2e700-1234-100e-4711-ffffffffffff".parse().unwrap();
        let called = uuid.called(&key).unwrap();
        assert_eq!((called.to.as_str(), called.from.as_deref()), ("100", Some("4711")));
        assert_eq!(Uuid::calling(&key, "100", Some("4711")), Some(uuid));
        let hidden: Uuid = "5ec2e700-1234-100e-ffff-ffffffffffff".parse().unwrap();
        assert_eq!(hidden.called(&key).map(|called| called.from), Some(None));
        let plain: Uuid = "5ec2e700-1234-c491-2345-67fffffffff1".parse().unwrap();
        assert_eq!(plain.called(&key), None, "something is behind the end");
        let feature = Uuid::calling(&key, "*21#", None).unwrap();
        assert_eq!(feature.to_string(), "5ec2e700-1234-a21b-ffff-ffffffffffff");
        assert_eq!(feature.called(&key).unwrap().to, "*21#");
        let longest = Uuid::calling(&key, "01234567890123456789", None).unwrap();
        assert_eq!(longest.called(&key).unwrap().to, "01234567890123456789");
        assert_eq!(Uuid::calling(&key, "012345678901234567890", None), None);
        assert_eq!(Uuid::calling(&key, "alice", None), None);
    }

    #[test]
    fn without_the_key_and_without_a_number_nobody_is_called() {
        let key: Key = "5ec2e7001234".parse().unwrap();
        for wrong in [
            "5ec2e700-1235-100f-ffff-ffffffffffff",
            "5ec2e700-1234-ffff-ffff-ffffffffffff",
            "5ec2e700-1234-e100-ffff-ffffffffffff",
            "5ec2e700-1234-100e-1e1f-ffffffffffff",
            "5ec2e700-1234-1d0f-ffff-ffffffffffff",
            "5ec2e700-1234-10f0-ffff-ffffffffffff",
        ] {
            assert_eq!(wrong.parse::<Uuid>().unwrap().called(&key), None, "{wrong}");
        }
        let open = Uuid::calling(&Key::default(), "100", None).unwrap();
        assert_eq!(open.called(&Key::default()).unwrap().to, "100");
    }

    #[test]
    fn keys_are_long_enough_and_are_not_shown() {
        for wrong in [
            "",
            "5ec2e70012",
            "5ec2e7001234567",
            "5ec2e700123456789a",
            "5ec2e700123g",
        ] {
            assert_eq!(wrong.parse::<Key>(), Err(NoKey), "{wrong}");
        }
        let key: Key = "5ec2e7001234".parse().unwrap();
        assert!(key.is("5ec2e7001234") && key.is("5EC2E7001234"));
        assert!(!key.is("5ec2e7001235") && !key.is("5ec2e70012345") && !key.is(""));
        assert_eq!(format!("{key:?}"), "Key(12 digits)");
    }
}
