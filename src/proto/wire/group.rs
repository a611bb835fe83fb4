//! GROUP: the head of a Group Stream; frames follow it.
//!
//! ```text
//! Message Length (i) | Subscribe ID (i) | Group Sequence (i)
//! released 06        ... | Frame Start (i)
//! ```
//!
//! The draft 06 text has no Frame Start. Both forms are accepted on 06, told apart by the length.

use bytes::BytesMut;

use super::{DecodeError, EncodeError, GroupSequence, SubscribeId, Version, framing, varint};
use crate::limits::GROUP_HEADER_BODY_BYTES_MAX;

/// Says which group a Group Stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// The receiver's subscription that the group is for.
    pub subscribe: SubscribeId,
    /// The number of the group within its track.
    pub sequence: GroupSequence,
    /// 06: the index within the group of the first frame on this stream.
    pub frame_start: u64,
}

impl GroupHeader {
    /// Appends the message. `NotInVersion` before 06 when the first frame is not frame 0.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let with_frame = version.has_frame_bounds();
        // Left out, the peer would number the frames from 0.
        if !with_frame && self.frame_start != 0 {
            return Err(EncodeError::NotInVersion("first frame of a group"));
        }
        // There is one of these for each group and subscriber: its length is known before it is written.
        let (subscribe, sequence) = (self.subscribe.0, self.sequence.0);
        let length = varint::len(subscribe) + varint::len(sequence);
        if with_frame {
            let length = (length + varint::len(self.frame_start)) as u64;
            varint::put_all(out, [length, subscribe, sequence, self.frame_start])
        } else {
            varint::put_all(out, [length as u64, subscribe, sequence])
        }
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took.
    #[inline]
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        // A longer body has bytes left over whatever they are.
        framing::decode_limited(input, GROUP_HEADER_BODY_BYTES_MAX, DecodeError::Trailing, |body| {
            let subscribe = SubscribeId(body.integer()?);
            let sequence = GroupSequence(body.integer()?);
            let with_frame = version.has_frame_bounds() && !body.is_empty();
            let frame_start = if with_frame { body.integer()? } else { 0 };
            Ok(Self {
                subscribe,
                sequence,
                frame_start,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: GroupHeader = GroupHeader {
        subscribe: SubscribeId(1),
        sequence: GroupSequence(300),
        frame_start: 0,
    };

    #[test]
    fn bytes_are_those_of_each_draft() {
        let older: &[u8] = &[3, 1, 0x41, 0x2c];
        let released: &[u8] = &[4, 1, 0x41, 0x2c, 0];
        for version in Version::ALL {
            let bytes = if version == Version::Lite06 { released } else { older };
            let mut out = BytesMut::new();
            HEADER.encode(version, &mut out).unwrap();
            assert_eq!(out[..], *bytes);
            assert_eq!(GroupHeader::decode(version, bytes), Ok((HEADER, bytes.len())));
        }
        assert_eq!(GroupHeader::decode(Version::Lite06, older), Ok((HEADER, 4)));
        let partial = GroupHeader {
            frame_start: 4,
            ..HEADER
        };
        assert_eq!(
            GroupHeader::decode(Version::Lite06, &[4, 1, 0x41, 0x2c, 4]),
            Ok((partial, 5))
        );
        assert_eq!(
            GroupHeader::decode(Version::Lite05, released),
            Err(DecodeError::Trailing)
        );
    }

    #[test]
    fn an_older_draft_cannot_say_that_frames_are_missing() {
        let partial = GroupHeader {
            frame_start: 4,
            ..HEADER
        };
        let mut out = BytesMut::new();
        assert!(matches!(
            partial.encode(Version::Lite05, &mut out),
            Err(EncodeError::NotInVersion(_))
        ));
        assert!(out.is_empty());
    }

    #[test]
    fn a_length_that_cannot_be_right_is_refused_before_the_body() {
        assert_eq!(GroupHeader::decode(Version::Lite06, &[25]), Err(DecodeError::Trailing));
        assert_eq!(GroupHeader::decode(Version::Lite06, &[24]), Err(DecodeError::Truncated));
        let widest = [&[24][..], &[0xff; 24]].concat();
        assert_eq!(GroupHeader::decode(Version::Lite06, &widest).unwrap().1, 25);
    }
}
