//! FETCH (03 and later): one group of a track, answered with its frames on the same stream.
//!
//! ```text
//! 03, 04, 05        Length | Broadcast Path (s) | Track Name (s) | Priority (8) | Group (i)
//! released 06       ... | Frame Start (i) | Frame End (i)
//! draft 06 text     Length | Broadcast Path (s) | Track Name (s) | Epoch (i) | Priority (8) | Group (i)
//! ```
//!
//! The answer has no header in any draft whose text is published: the 03 text sends FRAME messages
//! at once as 05 and 06 do. Appendix A says that 05 removed a FETCH_OK, but no published text gives
//! its layout and the released peers serve FETCH from 05 on only. 03 and 04 are therefore answered
//! with plain frames.

use bytes::BytesMut;

use super::body::Body;
use super::{BroadcastPath, DecodeError, EncodeError, GroupSequence, TrackName, Version, body, framing, varint};

/// Asks for one group of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The full path of the broadcast.
    pub broadcast: BroadcastPath,
    /// The name of the track within the broadcast.
    pub track: TrackName,
    /// Draft 06 text alone, never sent: the generation wanted, 0 for the current one.
    pub epoch: u64,
    /// Higher first; 0 to 255.
    pub priority: u8,
    /// The group wanted.
    pub group: GroupSequence,
    /// 06: the first frame wanted.
    pub frame_start: u64,
    /// 06: the last frame wanted, inclusive; `None`: to the end of the group.
    pub frame_end: Option<u64>,
}

impl Fetch {
    /// Appends the message. `NotInVersion` before 03, and before 06 with frame bounds; `Invalid` for a range of frames
    /// that ends before it starts.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_fetch() {
            return Err(EncodeError::NotInVersion("FETCH"));
        }
        if self.frame_end.is_some_and(|end| end < self.frame_start) {
            return Err(EncodeError::Invalid("frame range ends before it starts"));
        }
        // Left out, the peer would send frames that are not wanted.
        if !version.has_frame_bounds() && (self.frame_start != 0 || self.frame_end.is_some()) {
            return Err(EncodeError::NotInVersion("frame bounds"));
        }
        framing::encode(out, |out| {
            body::put_path(out, &self.broadcast)?;
            body::put_track_name(out, &self.track)?;
            body::put_byte(out, self.priority);
            varint::put(out, self.group.0)?;
            if version.has_frame_bounds() {
                varint::put(out, self.frame_start)?;
                body::put_offset_integer(out, self.frame_end)?;
            }
            Ok(())
        })
    }

    /// The draft 06 form is tried when the released one does not fit.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_fetch() {
            return Err(DecodeError::Invalid("FETCH before moq-lite-03"));
        }
        framing::decode(input, |body| {
            let broadcast = body.path()?;
            let track = body.track_name()?;
            let wanted = if version.has_frame_bounds() {
                body.released_or_draft(Wanted::get_released_06, |body| {
                    let epoch = body.integer()?;
                    Ok(Wanted {
                        epoch,
                        ..Wanted::get_before_06(body)?
                    })
                })?
            } else {
                Wanted::get_before_06(body)?
            };
            let Wanted {
                epoch,
                priority,
                group,
                frame_start,
                frame_end,
            } = wanted;
            Ok(Self {
                broadcast,
                track,
                epoch,
                priority,
                group,
                frame_start,
                frame_end,
            })
        })
    }
}

/// The fields after the track name, which differ between the forms.
struct Wanted {
    epoch: u64,
    priority: u8,
    group: GroupSequence,
    frame_start: u64,
    frame_end: Option<u64>,
}

impl Wanted {
    fn get_before_06(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let priority = body.byte()?;
        let group = GroupSequence(body.integer()?);
        Ok(Self {
            epoch: 0,
            priority,
            group,
            frame_start: 0,
            frame_end: None,
        })
    }

    fn get_released_06(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let wanted = Self::get_before_06(body)?;
        let frame_start = body.integer()?;
        let frame_end = body.offset_integer()?;
        // Released 06: a range that ends before it starts can never be served.
        if frame_end.is_some_and(|end| end < frame_start) {
            return Err(DecodeError::Invalid("frame range ends before it starts"));
        }
        Ok(Self {
            frame_start,
            frame_end,
            ..wanted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch() -> Fetch {
        Fetch {
            broadcast: BroadcastPath::new("a"),
            track: "v".into(),
            epoch: 0,
            priority: 200,
            group: GroupSequence(7),
            frame_start: 0,
            frame_end: None,
        }
    }

    fn fixture(version: Version, message: &Fetch, bytes: &[u8]) {
        let mut out = BytesMut::new();
        message.encode(version, &mut out).unwrap();
        assert_eq!(out[..], *bytes);
        assert_eq!(Fetch::decode(version, bytes), Ok((message.clone(), bytes.len())));
    }

    #[test]
    fn bytes_are_those_of_each_draft() {
        for version in [Version::Lite03, Version::Lite04, Version::Lite05] {
            fixture(version, &fetch(), &[6, 1, b'a', 1, b'v', 200, 7]);
        }
        fixture(Version::Lite06, &fetch(), &[8, 1, b'a', 1, b'v', 200, 7, 0, 0]);
        let bounded = Fetch {
            frame_start: 2,
            frame_end: Some(6),
            ..fetch()
        };
        fixture(Version::Lite06, &bounded, &[8, 1, b'a', 1, b'v', 200, 7, 2, 7]);
        let draft = [7, 1, b'a', 1, b'v', 9, 200, 7];
        assert_eq!(
            Fetch::decode(Version::Lite06, &draft),
            Ok((Fetch { epoch: 9, ..fetch() }, 8))
        );
    }

    #[test]
    fn older_drafts_have_no_fetch() {
        for version in Version::IN_BAND {
            assert!(fetch().encode(version, &mut BytesMut::new()).is_err());
            assert!(Fetch::decode(version, &[6, 1, b'a', 1, b'v', 200, 7]).is_err());
        }
    }

    #[test]
    fn frame_bounds_need_06_and_a_frame() {
        let bounded = Fetch {
            frame_start: 2,
            ..fetch()
        };
        let refused = bounded.encode(Version::Lite05, &mut BytesMut::new());
        assert_eq!(refused, Err(EncodeError::NotInVersion("frame bounds")));
        let backwards = Fetch {
            frame_end: Some(1),
            ..bounded
        };
        assert!(matches!(
            backwards.encode(Version::Lite06, &mut BytesMut::new()),
            Err(EncodeError::Invalid(_))
        ));
        let input = [8, 1, b'a', 1, b'v', 200, 7, 2, 2];
        assert_eq!(
            Fetch::decode(Version::Lite06, &input),
            Err(DecodeError::Invalid("frame range ends before it starts"))
        );
    }
}
