//! Keys of SRTP in descriptions (SDES, RFC 4568), as they are written. Nothing here shows them by accident.

use std::fmt;

use zeroize::Zeroizing;

use super::inline::{Material, Suite};

/// A text that is not shown, and wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// A line `a=crypto` (RFC 4568, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Names the line; the answer repeats it.
    pub tag: u32,
    /// `AES_CM_128_HMAC_SHA1_80`, …
    pub suite: String,
    /// `inline:` with key and salt, and perhaps a lifetime and an index of keys.
    pub key: Secret,
    /// What is asked for beyond, with spaces between; empty: nothing.
    pub parameters: String,
}

/// The lines that were agreed on. Each side encrypts by its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// For what is sent.
    pub ours: Crypto,
    /// For what is received.
    pub theirs: Crypto,
}

impl Keys {
    /// Both keys, as they are used: ours, theirs.
    pub fn material(&self) -> Option<(Material, Material)> {
        Some((self.ours.material()?, self.theirs.material()?))
    }
}

impl Secret {
    /// Hides it.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// For who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Crypto {
    /// A line with a key of ours.
    pub fn new(tag: u32, material: &Material) -> Self {
        Self {
            tag,
            suite: material.suite().name().to_owned(),
            key: Secret::new(material.write()),
            parameters: String::new(),
        }
    }

    /// The key. `None`: it is of a suite that is not known, or no key of it.
    pub fn material(&self) -> Option<Material> {
        Material::parse(Suite::parse(&self.suite)?, self.key.reveal())
    }

    /// What stands behind `a=crypto:`. `None`: it is no such thing.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split_whitespace();
        let tag = fields.next()?.parse().ok()?;
        let suite = fields.next()?.to_owned();
        let key = Secret::new(fields.next()?.to_owned());
        Some(Self {
            tag,
            suite,
            key,
            parameters: fields.collect::<Vec<_>>().join(" "),
        })
    }

    /// The value of the attribute.
    pub(super) fn write(&self) -> String {
        let Self {
            tag,
            suite,
            key,
            parameters,
        } = self;
        let gap = if parameters.is_empty() { "" } else { " " };
        format!("{tag} {suite} {}{gap}{parameters}", key.reveal())
    }

    /// The first of their lines that one of ours fits: ours under their tag, for an answer (RFC 4568, section 5.1.2).
    ///
    /// A line that asks for more is passed over, as must be who does not know what (section 5.1.2); so is one whose key is
    /// none.
    pub(super) fn answer(theirs: &[Self], ours: &[Self]) -> Option<Keys> {
        theirs.iter().filter(|line| line.is_usable()).find_map(|line| {
            let own = ours.iter().find(|own| own.suite.eq_ignore_ascii_case(&line.suite))?;
            Some(Keys {
                ours: Self {
                    tag: line.tag,
                    suite: line.suite.clone(),
                    ..own.clone()
                },
                theirs: line.clone(),
            })
        })
    }

    /// Their answer to lines that we offered (RFC 4568, section 5.1.3).
    pub(super) fn take_answer(theirs: &[Self], ours: &[Self]) -> Option<Keys> {
        theirs.iter().filter(|line| line.is_usable()).find_map(|line| {
            let is_same = |own: &&Self| own.tag == line.tag && own.suite.eq_ignore_ascii_case(&line.suite);
            Some(Keys {
                ours: ours.iter().find(is_same)?.clone(),
                theirs: line.clone(),
            })
        })
    }

    /// It has a key, and asks for nothing that has to be known. What begins with `-`, and how large a window should be, need
    /// not be (RFC 4568, sections 6.3.6 and 6.3.7).
    fn is_usable(&self) -> bool {
        let may_be_ignored = |parameter: &str| parameter.starts_with('-') || parameter.starts_with("WSH=");
        self.parameters
            .split(' ')
            .all(|parameter| parameter.is_empty() || may_be_ignored(parameter))
            && self.material().is_some()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4";

    #[test]
    fn a_line_is_read_written_and_not_shown() {
        let line = Crypto::parse(LINE).unwrap();
        assert_eq!((line.tag, line.suite.as_str()), (1, "AES_CM_128_HMAC_SHA1_80"));
        assert_eq!(line.write(), LINE);
        assert!(!format!("{line:?}").contains("WVNf"));
        let asks = Crypto::parse(&format!("{LINE} UNENCRYPTED_SRTP KDR=1")).unwrap();
        assert_eq!(asks.parameters, "UNENCRYPTED_SRTP KDR=1");
        for broken in ["", "1", "x AES inline:k", "1 AES"] {
            assert_eq!(Crypto::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn ours_answers_under_their_tag() {
        let own = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", "o".repeat(40))).unwrap();
        let theirs: Vec<Crypto> = [
            "1 AEAD_AES_256_GCM",
            "2 AES_CM_128_HMAC_SHA1_80 KDR=1",
            "3 AES_CM_128_HMAC_SHA1_80 short",
            "4 aes_cm_128_hmac_sha1_80 WSH=64 -own=1",
        ]
        .into_iter()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (tag, suite) = (words.next()?, words.next()?);
            let rest: Vec<&str> = words.collect();
            let key = if rest == ["short"] {
                "aaaa".to_owned()
            } else {
                tag.repeat(40)
            };
            Crypto::parse(&format!(
                "{tag} {suite} inline:{key} {}",
                rest.join(" ").replace("short", "")
            ))
        })
        .collect();
        let keys = Crypto::answer(&theirs, std::slice::from_ref(&own)).unwrap();
        assert_eq!((keys.ours.tag, &keys.ours.key), (4, &own.key));
        assert_eq!(keys.theirs, theirs[3]);
        assert_eq!(Crypto::answer(&theirs[..3], std::slice::from_ref(&own)), None);
        assert_eq!(Crypto::take_answer(&theirs, std::slice::from_ref(&own)), None);
    }
}
