//! The body of a QUIC datagram (05 and later): a group of one frame, without a length prefix.
//!
//! ```text
//! Subscribe ID (i) | Group Sequence (i) | Timestamp (i) | payload to the end of the datagram
//! ```

use bytes::BytesMut;

use crate::limits::DATAGRAM_BODY_BYTES_MAX;

use super::body::Body;
use super::{DecodeError, EncodeError, GroupSequence, SubscribeId, Version, varint};

/// What stands before the payload in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramHeader {
    /// The receiver's subscription that the group is for.
    pub subscribe: SubscribeId,
    /// The number of the group, of which the payload is the only frame.
    pub sequence: GroupSequence,
    /// Absolute, in units of the track's timescale.
    pub timestamp: u64,
}

impl DatagramHeader {
    /// The most bytes a header takes.
    pub const BYTES_MAX: usize = 24;

    /// Appends the header. The payload that follows must leave the body within
    /// [`DATAGRAM_BODY_BYTES_MAX`]: see [`fits`](Self::fits).
    #[inline]
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_datagrams() {
            return Err(EncodeError::NotInVersion("datagram"));
        }
        let start = out.len();
        let result = varint::put(out, self.subscribe.0)
            .and_then(|()| varint::put(out, self.sequence.0))
            .and_then(|()| varint::put(out, self.timestamp));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Reads the header of a whole datagram body; the payload is what follows it. Never
    /// `Truncated`: a datagram has no more bytes to wait for.
    #[inline]
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_datagrams() {
            return Err(DecodeError::Invalid("datagram before moq-lite-05"));
        }
        // Draft "Datagrams": a receiver drops a larger one.
        if input.len() > DATAGRAM_BODY_BYTES_MAX {
            return Err(DecodeError::TooLarge("datagram"));
        }
        let mut body = Body::new(input);
        let header = Self {
            subscribe: SubscribeId(body.integer()?),
            sequence: GroupSequence(body.integer()?),
            timestamp: body.integer()?,
        };
        Ok((header, input.len() - body.len()))
    }

    /// How many bytes [`encode`](Self::encode) appends.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        varint::len(self.subscribe.0) + varint::len(self.sequence.0) + varint::len(self.timestamp)
    }

    /// Whether a datagram can carry this much payload behind this header (draft "Datagrams").
    #[inline]
    pub fn fits(&self, payload_bytes: usize) -> bool {
        payload_bytes <= DATAGRAM_BODY_BYTES_MAX.saturating_sub(self.encoded_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: DatagramHeader = DatagramHeader {
        subscribe: SubscribeId(7),
        sequence: GroupSequence(42),
        timestamp: 1000,
    };

    #[test]
    fn bytes_are_those_of_the_draft() {
        for version in [Version::Lite05, Version::Lite06] {
            let mut out = BytesMut::new();
            HEADER.encode(version, &mut out).unwrap();
            assert_eq!(out[..], [7, 42, 0x43, 0xe8]);
            assert_eq!(HEADER.encoded_len(), 4);
            out.extend_from_slice(b"payload");
            assert_eq!(DatagramHeader::decode(version, &out), Ok((HEADER, 4)));
        }
        assert!(HEADER.encode(Version::Lite04, &mut BytesMut::new()).is_err());
        assert!(DatagramHeader::decode(Version::Lite04, &[7, 42, 0]).is_err());
    }

    #[test]
    fn a_short_datagram_is_invalid_and_never_waited_for() {
        for cut in 0..4 {
            let result = DatagramHeader::decode(Version::Lite06, &[7, 42, 0x43, 0xe8][..cut]);
            assert!(matches!(result, Err(DecodeError::Invalid(_))));
        }
    }

    #[test]
    fn the_body_is_limited() {
        let body = |bytes| vec![0; bytes];
        assert!(DatagramHeader::decode(Version::Lite06, &body(DATAGRAM_BODY_BYTES_MAX)).is_ok());
        let result = DatagramHeader::decode(Version::Lite06, &body(DATAGRAM_BODY_BYTES_MAX + 1));
        assert_eq!(result, Err(DecodeError::TooLarge("datagram")));
        assert!(HEADER.fits(DATAGRAM_BODY_BYTES_MAX - 4));
        assert!(!HEADER.fits(DATAGRAM_BODY_BYTES_MAX - 3));
        assert!(!HEADER.fits(usize::MAX));
    }
}
