//! STREAM_TYPE: the first integer of every stream.

use bytes::{Bytes, BytesMut};

use super::{DecodeError, EncodeError, Version, varint};

/// What a bidirectional stream is for (draft "Bidirectional Streams").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BidiType {
    /// 01 and 02, and gomoqt: the handshake, and then SESSION_UPDATE.
    Session = 0,
    /// Which broadcasts there are.
    Announce = 1,
    /// A subscription. Its groups come on Group Streams.
    Subscribe = 2,
    /// 03 and later: one group, which comes on this stream.
    Fetch = 3,
    /// 03 and later: estimates of the connection's bitrate.
    Probe = 4,
    /// 04 and later: the sender asks the peer to leave.
    Goaway = 5,
    /// 05 and later: the properties of a track.
    Track = 6,
    /// The same whose handshake has the form of moq-transport-14 (draft 02 "SessionCompat"): this is
    /// the type of CLIENT_SETUP.
    SessionCompat = 0x20,
}

/// What a unidirectional stream is for (draft "Unidirectional Streams").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UniType {
    /// The frames of one group; on 06 those from an index on.
    Group = 0,
    /// 05 and later: the sender's SETUP and nothing else.
    Setup = 1,
}

/// What surrounds the streams of a session that does not have its connection to itself, as in
/// WebTransport. Empty for one that has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHeads {
    /// Before everything on each stream that we open.
    pub uni: Bytes,
    /// Before everything on each two-way stream that we open.
    pub bidi: Bytes,
    /// Streams that we opened before the first of the session.
    pub uni_taken: u64,
    /// Two-way streams that we opened before the first of the session.
    pub bidi_taken: u64,
}

impl BidiType {
    /// The integer on the wire.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// `None` for a type the version does not have, which is no violation.
    pub fn from_code(version: Version, code: u64) -> Option<Self> {
        let kind = match code {
            0 => BidiType::Session,
            1 => BidiType::Announce,
            2 => BidiType::Subscribe,
            3 => BidiType::Fetch,
            4 => BidiType::Probe,
            5 => BidiType::Goaway,
            6 => BidiType::Track,
            0x20 => BidiType::SessionCompat,
            _ => return None,
        };
        kind.is_in(version).then_some(kind)
    }

    /// Appends the stream type. `NotInVersion` for one that the version does not have.
    pub fn encode(self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        put(self.code(), self.is_in(version), out)
    }

    /// `None` for a type the version does not have: the stream is reset, the session goes on
    /// (draft "STREAM_TYPE").
    pub fn decode(version: Version, input: &[u8]) -> Result<(Option<Self>, usize), DecodeError> {
        get(input, |code| Self::from_code(version, code))
    }

    fn is_in(self, version: Version) -> bool {
        match self {
            BidiType::Goaway => version.has_goaway(),
            BidiType::Track => version.has_track_stream(),
            BidiType::Fetch => version.has_fetch(),
            BidiType::Probe => version.has_probe(),
            BidiType::Session | BidiType::SessionCompat => version.is_in_band(),
            BidiType::Announce | BidiType::Subscribe => true,
        }
    }
}

impl UniType {
    /// The integer on the wire.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// `None` for a type the version does not have, which is no violation.
    pub fn from_code(version: Version, code: u64) -> Option<Self> {
        let kind = match code {
            0 => UniType::Group,
            1 => UniType::Setup,
            _ => return None,
        };
        kind.is_in(version).then_some(kind)
    }

    /// Appends the stream type. `NotInVersion` for one that the version does not have.
    pub fn encode(self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        put(self.code(), self.is_in(version), out)
    }

    /// `None` for a type the version does not have: the stream is refused, the session goes on
    /// (draft "STREAM_TYPE").
    pub fn decode(version: Version, input: &[u8]) -> Result<(Option<Self>, usize), DecodeError> {
        get(input, |code| Self::from_code(version, code))
    }

    fn is_in(self, version: Version) -> bool {
        match self {
            UniType::Group => true,
            UniType::Setup => version.has_setup(),
        }
    }
}

/// Of either kind.
fn put(code: u64, is_in_version: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
    match is_in_version {
        true => varint::put(out, code),
        false => Err(EncodeError::NotInVersion("stream type")),
    }
}

fn get<T>(input: &[u8], from_code: impl Fn(u64) -> Option<T>) -> Result<(Option<T>, usize), DecodeError> {
    let (code, used) = varint::get(input)?;
    Ok((from_code(code), used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_types() {
        let bidi = |version| {
            (0..=64)
                .filter(|code| BidiType::from_code(version, *code).is_some())
                .collect::<Vec<_>>()
        };
        for version in Version::IN_BAND {
            assert_eq!(bidi(version), [0, 1, 2, 0x20]);
        }
        assert_eq!(bidi(Version::Lite03), [1, 2, 3, 4]);
        assert_eq!(bidi(Version::Lite04), [1, 2, 3, 4, 5]);
        assert_eq!(bidi(Version::Lite05), [1, 2, 3, 4, 5, 6]);
        assert_eq!(bidi(Version::Lite06), [1, 2, 3, 4, 5, 6]);
        let uni = |version| {
            (0..=64)
                .filter(|code| UniType::from_code(version, *code).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(uni(Version::Lite01), [0]);
        assert_eq!(uni(Version::Lite04), [0]);
        assert_eq!(uni(Version::Lite05), [0, 1]);
    }

    #[test]
    fn an_unknown_type_is_told_from_missing_bytes() {
        assert_eq!(BidiType::decode(Version::Lite06, &[0x40, 0x63]), Ok((None, 2)));
        assert_eq!(BidiType::decode(Version::Lite06, &[0x40]), Err(DecodeError::Truncated));
        assert_eq!(UniType::decode(Version::Lite06, &[2]), Ok((None, 1)));
        assert_eq!(UniType::decode(Version::Lite06, &[]), Err(DecodeError::Truncated));
    }

    #[test]
    fn codes_are_those_of_the_draft() {
        let mut out = BytesMut::new();
        BidiType::Track.encode(Version::Lite05, &mut out).unwrap();
        UniType::Setup.encode(Version::Lite05, &mut out).unwrap();
        assert_eq!(out[..], [6, 1]);
        assert!(BidiType::Track.encode(Version::Lite04, &mut out).is_err());
        assert!(UniType::Setup.encode(Version::Lite04, &mut out).is_err());
        assert_eq!(BidiType::decode(Version::Lite05, &[6]), Ok((Some(BidiType::Track), 1)));
    }
}
