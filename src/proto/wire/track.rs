//! TRACK and TRACK_INFO (05 and later): what stays the same for the life of a track.
//!
//! ```text
//! TRACK             Length | Broadcast Path (s) | Track Name (s)
//! draft 06 text     ... | Epoch (i)
//! TRACK_INFO 05     Length | Priority (8) | Ordered (8) | Max Latency (i) | Timescale (i)
//! released 06       Length | Priority (8) | Max Latency (i) | Timescale (i)
//! draft 06 text     Length | Epoch (i) | Priority (8) | Ordered (8) | Max Latency (i) | Timescale (i)
//! ```

use bytes::BytesMut;

use super::body::Body;
use super::{BroadcastPath, DecodeError, EncodeError, TrackName, Version, body, framing, varint};

/// The message TRACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackRequest {
    /// The full path of the broadcast.
    pub broadcast: BroadcastPath,
    /// The name of the track within the broadcast.
    pub track: TrackName,
    /// Draft 06 text alone, never sent: the generation wanted, 0 for the current one.
    pub epoch: u64,
}

/// The message TRACK_INFO: the properties of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Draft 06 text alone, never sent: the generation these belong to.
    pub epoch: u64,
    /// The publisher's, higher first.
    pub priority: u8,
    /// 05 and in the draft 06 text; the released peers send 0.
    pub ordered: bool,
    /// How long a group that is not the latest may be kept.
    pub max_latency_ms: u64,
    /// Units per second of the track's timestamps; never 0.
    pub timescale: u64,
}

impl TrackRequest {
    /// Appends the message. `NotInVersion` before 05.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_track_stream() {
            return Err(EncodeError::NotInVersion("TRACK"));
        }
        framing::encode(out, |out| {
            body::put_path(out, &self.broadcast)?;
            body::put_track_name(out, &self.track)
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `Invalid` before 05.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_track_stream() {
            return Err(DecodeError::Invalid("TRACK before moq-lite-05"));
        }
        framing::decode(input, |body| {
            let broadcast = body.path()?;
            let track = body.track_name()?;
            let draft = version == Version::Lite06 && !body.is_empty();
            let epoch = if draft { body.integer()? } else { 0 };
            Ok(Self {
                broadcast,
                track,
                epoch,
            })
        })
    }
}

impl TrackInfo {
    /// Appends the message. `NotInVersion` before 05; `Invalid` for a timescale of 0.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_track_stream() {
            return Err(EncodeError::NotInVersion("TRACK_INFO"));
        }
        if self.timescale == 0 {
            return Err(EncodeError::Invalid("timescale of 0"));
        }
        framing::encode(out, |out| {
            body::put_byte(out, self.priority);
            if version.has_ordered() {
                body::put_byte(out, u8::from(self.ordered));
            }
            varint::put(out, self.max_latency_ms)?;
            varint::put(out, self.timescale)
        })
    }

    /// The draft 06 form is tried when the released one does not fit: the two are not always told
    /// apart (`00 80 00 ...` is Epoch 0 and priority 128, or priority 0 and a four-byte latency).
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_track_stream() {
            return Err(DecodeError::Invalid("TRACK_INFO before moq-lite-05"));
        }
        framing::decode(input, |body| {
            if version.has_ordered() {
                // The released peers ignore what the byte holds.
                let (priority, ordered) = (body.byte()?, body.byte()? == 1);
                return Self::get_rest(body, 0, priority, ordered);
            }
            body.released_or_draft(
                |body| {
                    let priority = body.byte()?;
                    Self::get_rest(body, 0, priority, false)
                },
                |body| {
                    let epoch = body.integer()?;
                    let priority = body.byte()?;
                    let ordered = body.flag_byte("Ordered that is neither 0 nor 1")?;
                    Self::get_rest(body, epoch, priority, ordered)
                },
            )
        })
    }

    fn get_rest(body: &mut Body<'_>, epoch: u64, priority: u8, ordered: bool) -> Result<Self, DecodeError> {
        let max_latency_ms = body.integer()?;
        let timescale = body.integer()?;
        // Draft "TRACK_INFO": it must not be zero.
        if timescale == 0 {
            return Err(DecodeError::Invalid("timescale of 0"));
        }
        Ok(Self {
            epoch,
            priority,
            ordered,
            max_latency_ms,
            timescale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: TrackInfo = TrackInfo {
        epoch: 0,
        priority: 127,
        ordered: false,
        max_latency_ms: 5000,
        timescale: 1000,
    };

    #[test]
    fn track_bytes_are_those_of_each_draft() {
        let request = |epoch| TrackRequest {
            broadcast: BroadcastPath::new("a/b"),
            track: "v".into(),
            epoch,
        };
        let bytes = [6, 3, b'a', b'/', b'b', 1, b'v'];
        for version in [Version::Lite05, Version::Lite06] {
            let mut out = BytesMut::new();
            request(0).encode(version, &mut out).unwrap();
            assert_eq!(out[..], bytes);
            assert_eq!(TrackRequest::decode(version, &bytes), Ok((request(0), 7)));
        }
        let draft = [7, 3, b'a', b'/', b'b', 1, b'v', 9];
        assert_eq!(TrackRequest::decode(Version::Lite06, &draft), Ok((request(9), 8)));
        assert_eq!(
            TrackRequest::decode(Version::Lite05, &draft),
            Err(DecodeError::Trailing)
        );
    }

    #[test]
    fn track_info_bytes_are_those_of_each_draft() {
        let released: [(Version, &[u8]); 2] = [
            (Version::Lite05, &[6, 127, 0, 0x53, 0x88, 0x43, 0xe8]),
            (Version::Lite06, &[5, 127, 0x53, 0x88, 0x43, 0xe8]),
        ];
        for (version, bytes) in released {
            let mut out = BytesMut::new();
            INFO.encode(version, &mut out).unwrap();
            assert_eq!(out[..], *bytes);
            assert_eq!(TrackInfo::decode(version, bytes), Ok((INFO, bytes.len())));
        }
        let draft = [7, 9, 127, 1, 0x53, 0x88, 0x43, 0xe8];
        let expected = TrackInfo {
            epoch: 9,
            ordered: true,
            ..INFO
        };
        assert_eq!(TrackInfo::decode(Version::Lite06, &draft), Ok((expected, 8)));
        let current = [7, 0, 127, 0, 0x53, 0x88, 0x43, 0xe8];
        assert_eq!(TrackInfo::decode(Version::Lite06, &current), Ok((INFO, 8)));
    }

    #[test]
    fn ordered_travels_on_05() {
        let info = TrackInfo { ordered: true, ..INFO };
        let mut out = BytesMut::new();
        info.encode(Version::Lite05, &mut out).unwrap();
        assert_eq!(TrackInfo::decode(Version::Lite05, &out).unwrap().0, info);
    }

    #[test]
    fn a_timescale_of_zero_is_refused() {
        assert!(
            TrackInfo { timescale: 0, ..INFO }
                .encode(Version::Lite06, &mut BytesMut::new())
                .is_err()
        );
        for (version, bytes) in [
            (Version::Lite05, &[4, 1, 0, 1, 0][..]),
            (Version::Lite06, &[3, 1, 1, 0]),
        ] {
            assert_eq!(
                TrackInfo::decode(version, bytes),
                Err(DecodeError::Invalid("timescale of 0"))
            );
        }
    }
}
