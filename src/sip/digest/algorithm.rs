//! The hashes that digests are made with.

use md5::{Digest, Md5};
use ring::digest::{Context, SHA256};

/// A hash. The greater one is the stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// What every telephone knows (RFC 1321).
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    /// As headers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Of a name in a header. Letter case says nothing. `None`: it is another one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Hexadecimal digits of a hash.
    pub(super) const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }

    /// The hash of texts with a colon between each two, in small hexadecimal digits.
    pub(super) fn hash(self, texts: &[&str]) -> String {
        match self {
            Self::Md5 => {
                let mut context = Md5::new();
                each_with_colons(texts, |bytes| context.update(bytes));
                hex(&context.finalize())
            }
            Self::Sha256 => {
                let mut context = Context::new(&SHA256);
                each_with_colons(texts, |bytes| context.update(bytes));
                hex(context.finish().as_ref())
            }
        }
    }
}

fn each_with_colons(texts: &[&str], mut feed: impl FnMut(&[u8])) {
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            feed(b":");
        }
        feed(text.as_bytes());
    }
}

/// In small hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.collect()
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standards() {
        assert_eq!(Algorithm::Md5.hash(&["abc"]), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(Algorithm::Md5.hash(&["a", "", "b"]), Algorithm::Md5.hash(&["a::b"]));
        assert_eq!(
            Algorithm::Sha256.hash(&["abc"]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            assert_eq!(algorithm.hash(&["x"]).len(), algorithm.digits());
        }
    }

    #[test]
    fn names_have_no_letter_case() {
        assert_eq!(Algorithm::parse("md5"), Some(Algorithm::Md5));
        assert_eq!(Algorithm::parse("Sha-256"), Some(Algorithm::Sha256));
        for other in ["MD5-sess", "SHA-256-sess", "SHA-512-256", "SHA256", ""] {
            assert_eq!(Algorithm::parse(other), None, "{other}");
        }
    }
}
