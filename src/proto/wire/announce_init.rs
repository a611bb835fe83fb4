//! ANNOUNCE_INIT (01 and 02, gomoqt): the first answer to ANNOUNCE_PLEASE, everything that is active
//! at that moment. From 05 on ANNOUNCE_OK counts the same announcements instead; 03 and 04 have
//! neither.
//!
//! ```text
//! Message Length (i) | Suffix Count (i) | Suffix (s) ...
//! ```

use bytes::BytesMut;

use crate::limits::{ANNOUNCE_INIT_BYTES_MAX, ANNOUNCE_INIT_SUFFIXES_MAX, MESSAGE_BYTES_MAX};

use super::body::Body;
use super::{BroadcastPath, DecodeError, EncodeError, Version, body, framing, varint};

/// Every broadcast below the requested prefix that is active at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceInit {
    /// Below the prefix that was asked for. None twice (draft 01 "ANNOUNCE_INIT"), which the
    /// receiver's table of announcements finds out.
    pub suffixes: Vec<BroadcastPath>,
}

impl AnnounceInit {
    /// Bytes of suffixes, as [`suffix_bytes`](Self::suffix_bytes) counts them, that one message of
    /// ours holds. What is more is announced one by one behind it.
    pub const SUFFIXES_BYTES_MAX: usize = MESSAGE_BYTES_MAX - COUNT_BYTES_MAX;

    /// What a suffix adds to a message.
    pub fn suffix_bytes(suffix: &BroadcastPath) -> usize {
        let length = suffix.as_str().len();
        varint::len(length as u64) + length
    }

    /// Appends the message. `NotInVersion` from 03 on; `TooLarge` above the bounds of a message.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_announce_init() {
            return Err(EncodeError::NotInVersion("ANNOUNCE_INIT"));
        }
        framing::encode(out, |out| {
            varint::put(out, self.suffixes.len() as u64)?;
            self.suffixes.iter().try_for_each(|suffix| body::put_path(out, suffix))
        })
    }

    /// May be longer than other messages: a relay says all it has in one. Paths that are longer than peers accept are left
    /// out.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_announce_init() {
            return Err(DecodeError::Invalid("ANNOUNCE_INIT after moq-lite-02"));
        }
        let too_large = DecodeError::TooLarge("ANNOUNCE_INIT");
        framing::decode_limited(input, ANNOUNCE_INIT_BYTES_MAX, too_large, Self::suffixes)
    }

    fn suffixes(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let count = usize::try_from(body.integer()?).unwrap_or(usize::MAX);
        if count > ANNOUNCE_INIT_SUFFIXES_MAX {
            return Err(DecodeError::TooLarge("ANNOUNCE_INIT suffix count"));
        }
        // Each takes a byte at least, so no count makes more room than there are bytes.
        let mut suffixes = Vec::with_capacity(count.min(body.len()));
        for _ in 0..count {
            suffixes.extend(body.path_or_too_long()?);
        }
        Ok(Self { suffixes })
    }
}

const COUNT_BYTES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn init(suffixes: &[&str]) -> AnnounceInit {
        AnnounceInit {
            suffixes: suffixes.iter().copied().map(BroadcastPath::new).collect(),
        }
    }

    #[test]
    fn bytes_are_those_of_the_draft() {
        let cases: [(&[&str], &[u8]); 3] = [
            (&[], &[1, 0]),
            (&["a"], &[3, 1, 1, b'a']),
            (&["a/b", ""], &[6, 2, 3, b'a', b'/', b'b', 0]),
        ];
        for version in Version::IN_BAND {
            for (suffixes, bytes) in cases {
                let mut out = BytesMut::new();
                init(suffixes).encode(version, &mut out).unwrap();
                assert_eq!(out[..], *bytes);
                assert_eq!(AnnounceInit::decode(version, bytes), Ok((init(suffixes), bytes.len())));
            }
        }
        assert!(init(&[]).encode(Version::Lite03, &mut BytesMut::new()).is_err());
        assert!(AnnounceInit::decode(Version::Lite03, &[1, 0]).is_err());
    }

    #[test]
    fn what_is_said_to_fit_does() {
        let suffix = BroadcastPath::new(&"a".repeat(1000));
        let count = AnnounceInit::SUFFIXES_BYTES_MAX / AnnounceInit::suffix_bytes(&suffix);
        let full = AnnounceInit {
            suffixes: vec![suffix; count],
        };
        let mut out = BytesMut::new();
        full.encode(Version::Lite01, &mut out).unwrap();
        assert_eq!(AnnounceInit::decode(Version::Lite01, &out), Ok((full, out.len())));
    }

    #[test]
    fn length_and_count_are_limited() {
        let mut input = BytesMut::new();
        varint::put(&mut input, ANNOUNCE_INIT_BYTES_MAX as u64).unwrap();
        assert_eq!(
            AnnounceInit::decode(Version::Lite02, &input),
            Err(DecodeError::Truncated)
        );
        let mut input = BytesMut::new();
        varint::put(&mut input, ANNOUNCE_INIT_BYTES_MAX as u64 + 1).unwrap();
        assert_eq!(
            AnnounceInit::decode(Version::Lite02, &input),
            Err(DecodeError::TooLarge("ANNOUNCE_INIT"))
        );
        let mut input = BytesMut::from(&[4][..]);
        varint::put(&mut input, ANNOUNCE_INIT_SUFFIXES_MAX as u64 + 1).unwrap();
        assert_eq!(
            AnnounceInit::decode(Version::Lite02, &input),
            Err(DecodeError::TooLarge("ANNOUNCE_INIT suffix count"))
        );
        // More suffixes than bytes.
        let short = AnnounceInit::decode(Version::Lite02, &[2, 2, 0]);
        assert!(matches!(short, Err(DecodeError::Invalid(_))));
    }
}
