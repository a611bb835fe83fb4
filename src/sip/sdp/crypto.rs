//! Keys of SRTP in descriptions (SDES, RFC 4568), as they are written. Nothing here shows them by accident.

use std::fmt;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

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

impl Secret {
    /// Hides it.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// For who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Crypto {
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
    /// A line that asks for more is passed over, as must be who does not know what (section 5.1.2).
    pub(super) fn answer(theirs: &[Self], ours: &[Self]) -> Option<Keys> {
        theirs
            .iter()
            .filter(|line| line.parameters.is_empty())
            .find_map(|line| {
                let own = ours.iter().find(|own| own.suite == line.suite)?;
                Some(Keys {
                    ours: Self {
                        tag: line.tag,
                        ..own.clone()
                    },
                    theirs: line.clone(),
                })
            })
    }

    /// Their answer to lines that we offered (RFC 4568, section 5.1.3).
    pub(super) fn take_answer(theirs: &[Self], ours: &[Self]) -> Option<Keys> {
        theirs
            .iter()
            .filter(|line| line.parameters.is_empty())
            .find_map(|line| {
                let own = ours.iter().find(|own| own.tag == line.tag && own.suite == line.suite)?;
                Some(Keys {
                    ours: own.clone(),
                    theirs: line.clone(),
                })
            })
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
        let own = Crypto::parse("1 AES_CM_128_HMAC_SHA1_80 inline:own").unwrap();
        let theirs: Vec<Crypto> = [
            "1 AEAD_AES_256_GCM inline:a",
            "2 AES_CM_128_HMAC_SHA1_80 inline:b KDR=1",
            "3 AES_CM_128_HMAC_SHA1_80 inline:c",
        ]
        .into_iter()
        .filter_map(Crypto::parse)
        .collect();
        let keys = Crypto::answer(&theirs, std::slice::from_ref(&own)).unwrap();
        assert_eq!((keys.ours.tag, keys.ours.key.reveal()), (3, "inline:own"));
        assert_eq!(keys.theirs.key.reveal(), "inline:c");
        assert_eq!(Crypto::answer(&theirs[..2], std::slice::from_ref(&own)), None);
        assert_eq!(Crypto::take_answer(&theirs, std::slice::from_ref(&own)), None);
    }
}
