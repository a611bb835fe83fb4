//! What a line `a=crypto` has for a key: `inline:` and base64 of key and salt, perhaps with a lifetime and a name of the key
//! (RFC 4568, section 6.1). Lines whose key is none of this are as if they were not there.

use std::fmt;

use base64ct::{Base64, Base64Unpadded, Encoding};
use zeroize::Zeroizing;

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// RFC 4568, section 6.2.1.
    AesCm80,
    /// RFC 4568, section 6.2.2.
    AesCm32,
    /// RFC 7714, section 14.2.
    AesGcm128,
    /// RFC 7714, section 14.2.
    AesGcm256,
}

/// A key as it is used. It is wiped when it goes, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    suite: Suite,
    key_and_salt: Zeroizing<Vec<u8>>,
    mki: Vec<u8>,
}

impl Suite {
    /// All of them, the dearest to those who offer first. The one with short tags is the last: nobody is asked to take less.
    pub const ALL: [Self; 4] = [Self::AesGcm128, Self::AesGcm256, Self::AesCm80, Self::AesCm32];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesGcm128 => "AEAD_AES_128_GCM",
            Self::AesGcm256 => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of a key with its salt.
    pub const fn bytes(self) -> usize {
        match self {
            Self::AesCm80 | Self::AesCm32 => 16 + 14,
            Self::AesGcm128 => 16 + 12,
            Self::AesGcm256 => 32 + 12,
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))
    }
}

impl Material {
    /// A key with the salt behind it. `None`: they are not as long as the suite says.
    pub fn new(suite: Suite, key_and_salt: Zeroizing<Vec<u8>>) -> Option<Self> {
        (key_and_salt.len() == suite.bytes()).then(|| Self {
            suite,
            key_and_salt,
            mki: Vec::new(),
        })
    }

    /// What it is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The key with the salt behind it, as long as the suite says.
    pub fn key_and_salt(&self) -> &[u8] {
        &self.key_and_salt
    }

    /// What names the key in packets; empty: nothing does.
    pub fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// What stands in the place of the key. `None`: it is no key of the suite, or there are several.
    ///
    /// How many packets the key is for is left to who sends them. A key may have a name of up to [`MKI_BYTES_MAX`] bytes.
    pub(super) fn parse(suite: Suite, text: &str) -> Option<Self> {
        let (method, text) = text.split_once(':')?;
        if !method.eq_ignore_ascii_case("inline") {
            return None;
        }
        let mut parts = text.split('|');
        let key_and_salt = decode(parts.next()?, suite.bytes())?;
        let (first, second) = (parts.next(), parts.next());
        let mki = match (first, second) {
            (None, _) => Vec::new(),
            (Some(part), None) if part.contains(':') => name(part)?,
            (Some(lifetime), None) => is_lifetime(lifetime).then(Vec::new)?,
            (Some(lifetime), Some(part)) => is_lifetime(lifetime).then(|| name(part))??,
        };
        parts.next().is_none().then_some(Self {
            suite,
            key_and_salt,
            mki,
        })
    }

    /// As it is written, without a lifetime and a name.
    pub(super) fn write(&self) -> String {
        format!("inline:{}", Base64::encode_string(&self.key_and_salt))
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Material")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

/// Some leave out the signs that fill it up.
fn decode(text: &str, bytes: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(vec![0; bytes]);
    let decoded = match text.ends_with('=') {
        true => Base64::decode(text, &mut out),
        false => Base64Unpadded::decode(text, &mut out),
    };
    (decoded.ok()?.len() == bytes).then_some(out)
}

/// `2^31`, or a number.
fn is_lifetime(text: &str) -> bool {
    let digits = text.strip_prefix("2^").unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `1:4`: a number, in so many bytes.
fn name(text: &str) -> Option<Vec<u8>> {
    let (value, bytes) = text.split_once(':')?;
    let (value, bytes): (u128, usize) = (value.parse().ok()?, bytes.parse().ok()?);
    if !(1..=MKI_BYTES_MAX).contains(&bytes) {
        return None;
    }
    let value = value.to_be_bytes();
    let (above, name) = value.split_at(MKI_BYTES_MAX - bytes);
    above.iter().all(|byte| *byte == 0).then(|| name.to_vec())
}

/// Bytes of a key's name. RFC 4568 has 128, and nobody more than four.
pub const MKI_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn parse(text: &str) -> Option<Material> {
        Material::parse(Suite::AesCm80, text)
    }

    #[test]
    fn a_key_may_have_a_lifetime_and_a_name() {
        let key = parse(&format!("inline:{KEY}")).unwrap();
        assert_eq!(&key.key_and_salt[..4], b"YS__");
        assert_eq!(key.write(), format!("inline:{KEY}"));
        assert_eq!(key.key_and_salt.len(), 30);
        assert_eq!(parse(&format!("INLINE:{KEY}|2^31")), Some(key.clone()));
        assert_eq!(parse(&format!("inline:{KEY}|1048576")), Some(key.clone()));
        for (text, mki) in [
            ("|2^20|1:4", vec![0, 0, 0, 1]),
            ("|1:1", vec![1]),
            ("|2^31|66051:3", vec![1, 2, 3]),
        ] {
            assert_eq!(parse(&format!("inline:{KEY}{text}")).unwrap().mki, mki, "{text}");
        }
        assert!(!format!("{key:?}").contains("89"), "{key:?}");
    }

    #[test]
    fn what_is_no_key_of_the_suite_is_none() {
        for text in [
            "",
            "inline",
            "inline:",
            "uri:https://example.com",
            &format!("inline:{KEY}A"),
            &format!("inline:{}", &KEY[..39]),
            &format!("inline:{}", &KEY[..36]),
            &format!("inline:{}*", &KEY[..39]),
            &format!("inline:{KEY}|"),
            &format!("inline:{KEY}|2^"),
            &format!("inline:{KEY}|2^31|"),
            &format!("inline:{KEY}|2^31|1"),
            &format!("inline:{KEY}|2^31|1:0"),
            &format!("inline:{KEY}|2^31|1:17"),
            &format!("inline:{KEY}|2^31|256:1"),
            &format!("inline:{KEY}|2^31|1:4|1"),
            &format!("inline:{KEY}|1:4|2^31"),
            &format!("inline:{KEY};inline:{KEY}"),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_length_is_that_of_the_suite_filled_up_or_not() {
        for suite in Suite::ALL {
            assert_eq!(Suite::parse(suite.name()), Some(suite));
            for bytes in 0..60 {
                let material = Material {
                    suite,
                    key_and_salt: Zeroizing::new(vec![7; bytes]),
                    mki: Vec::new(),
                };
                let text = material.write();
                let wanted = (bytes == suite.bytes()).then_some(material);
                assert_eq!(Material::parse(suite, &text), wanted);
                assert_eq!(Material::parse(suite, text.trim_end_matches('=')), wanted);
            }
        }
        assert_eq!(Suite::parse("AES_256_CM_HMAC_SHA1_80"), None);
    }
}
