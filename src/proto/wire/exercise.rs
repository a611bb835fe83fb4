//! One entry to every decoder: shared by the fuzz target, the replay of its corpus and the benches.
//!
//! The first byte of an input picks version and decoder (see [`selector`]), the rest is decoded.
//! What decodes must keep the promises of this module, else the input is a bug:
//! it used no more bytes than there are; those bytes alone decode the same, and one byte less asks
//! for more; encoded again, it decodes to the same message but for what is never sent.

use std::fmt::Debug;

use bytes::BytesMut;

use super::{
    Announce, AnnounceInit, AnnounceOk, AnnounceRequest, BidiType, DatagramHeader, DecodeError, EncodeError, Fetch,
    FrameHeader, Goaway, GroupHeader, HandshakeForm, Probe, SessionClient, SessionServer, SessionUpdate, Setup,
    Subscribe, SubscribeResponse, SubscribeUpdate, TrackInfo, TrackRequest, UniType, Version, varint,
};

/// A decoder an input can pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// [`varint::get`].
    Integer,
    /// [`BidiType::decode`].
    BidiType,
    /// [`UniType::decode`].
    UniType,
    /// [`Setup::decode`].
    Setup,
    /// [`AnnounceRequest::decode`].
    AnnounceRequest,
    /// [`AnnounceOk::decode`].
    AnnounceOk,
    /// [`Announce::decode`].
    Announce,
    /// [`Subscribe::decode`].
    Subscribe,
    /// [`SubscribeUpdate::decode`].
    SubscribeUpdate,
    /// [`SubscribeResponse::decode`].
    SubscribeResponse,
    /// [`TrackRequest::decode`].
    TrackRequest,
    /// [`TrackInfo::decode`].
    TrackInfo,
    /// [`Fetch::decode`].
    Fetch,
    /// [`Probe::decode`].
    Probe,
    /// [`Goaway::decode`].
    Goaway,
    /// [`GroupHeader::decode`].
    Group,
    /// [`FrameHeader::decode`], in the form of the version.
    Frame,
    /// [`DatagramHeader::decode`].
    Datagram,
    /// [`SessionClient::decode`] in the form of draft 01.
    SessionClient,
    /// [`SessionClient::decode`] in the form of moq-transport.
    SessionClientCompat,
    /// [`SessionServer::decode`] in the form of draft 01.
    SessionServer,
    /// [`SessionServer::decode`] in the form of moq-transport.
    SessionServerCompat,
    /// [`SessionUpdate::decode`].
    SessionUpdate,
    /// [`AnnounceInit::decode`].
    AnnounceInit,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Empty, or the first byte names no decoder.
    NoDecoder,
    /// The decoder refused the bytes, for this reason.
    Rejected(DecodeError),
    /// A message, and how many bytes after the first byte it took.
    Accepted {
        /// Bytes of the message.
        consumed: usize,
    },
}

/// Decodes what `input` picks; an error describes a broken promise.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let Some((&first, input)) = input.split_first() else {
        return Ok(Outcome::NoDecoder);
    };
    let versions = if first & IN_BAND == 0 {
        &Version::ALL[..]
    } else {
        &Version::IN_BAND
    };
    let version = versions.get(usize::from(first & 0b11));
    let decoder = Decoder::ALL.get(usize::from((first & !IN_BAND) >> 2));
    match (version, decoder) {
        (Some(&version), Some(&decoder)) => decoder.exercise(version, input),
        _ => Ok(Outcome::NoDecoder),
    }
}

/// The first byte that picks a version and a decoder: `decoder << 2 | version`, both by their
/// place in their `ALL`; for a version of `IN_BAND` by its place there, with the first bit set.
pub fn selector(version: Version, decoder: Decoder) -> u8 {
    let place = |found: Option<usize>| found.and_then(|index| u8::try_from(index).ok());
    let in_band = place(Version::IN_BAND.iter().position(|other| *other == version));
    let version = place(Version::ALL.iter().position(|other| *other == version));
    let decoder = place(Decoder::ALL.iter().position(|other| *other == decoder));
    let version = version.or_else(|| in_band.map(|place| place | IN_BAND));
    decoder.unwrap_or(0b1_1111) << 2 | version.unwrap_or(0)
}

impl Decoder {
    /// In the order of the first byte; append only, the corpus depends on it.
    pub const ALL: [Decoder; 24] = [
        Decoder::Integer,
        Decoder::BidiType,
        Decoder::UniType,
        Decoder::Setup,
        Decoder::AnnounceRequest,
        Decoder::AnnounceOk,
        Decoder::Announce,
        Decoder::Subscribe,
        Decoder::SubscribeUpdate,
        Decoder::SubscribeResponse,
        Decoder::TrackRequest,
        Decoder::TrackInfo,
        Decoder::Fetch,
        Decoder::Probe,
        Decoder::Goaway,
        Decoder::Group,
        Decoder::Frame,
        Decoder::Datagram,
        Decoder::SessionClient,
        Decoder::SessionClientCompat,
        Decoder::SessionServer,
        Decoder::SessionServerCompat,
        Decoder::SessionUpdate,
        Decoder::AnnounceInit,
    ];

    fn exercise(self, version: Version, input: &[u8]) -> Result<Outcome, String> {
        let run = Run {
            version,
            decoder: self,
            input,
        };
        match self {
            Decoder::Integer => run.check(get_integer, put_integer, same),
            Decoder::BidiType => run.check(BidiType::decode, put_bidi_type, known),
            Decoder::UniType => run.check(UniType::decode, put_uni_type, known),
            Decoder::Setup => run.check(Setup::decode, Setup::encode, same),
            Decoder::AnnounceRequest => {
                run.check(AnnounceRequest::decode, AnnounceRequest::encode, sent_announce_request)
            }
            Decoder::AnnounceOk => run.check(AnnounceOk::decode, AnnounceOk::encode, same),
            Decoder::Announce => run.check(Announce::decode, Announce::encode, sent_announce),
            Decoder::Subscribe => run.check(Subscribe::decode, Subscribe::encode, sent_subscribe),
            Decoder::SubscribeUpdate => {
                run.check(SubscribeUpdate::decode, SubscribeUpdate::encode, sent_subscribe_update)
            }
            Decoder::SubscribeResponse => run.check(SubscribeResponse::decode, SubscribeResponse::encode, same),
            Decoder::TrackRequest => run.check(TrackRequest::decode, TrackRequest::encode, sent_track_request),
            Decoder::TrackInfo => run.check(TrackInfo::decode, TrackInfo::encode, sent_track_info),
            Decoder::Fetch => run.check(Fetch::decode, Fetch::encode, sent_fetch),
            Decoder::Probe => run.check(Probe::decode, Probe::encode, same),
            Decoder::Goaway => run.check(Goaway::decode, Goaway::encode, same),
            Decoder::Group => run.check(GroupHeader::decode, GroupHeader::encode, same),
            Decoder::Frame => run.check(get_frame, put_frame, same),
            Decoder::Datagram => run.check(DatagramHeader::decode, DatagramHeader::encode, same),
            Decoder::SessionUpdate => run.check(SessionUpdate::decode, SessionUpdate::encode, same),
            Decoder::AnnounceInit => run.check(AnnounceInit::decode, AnnounceInit::encode, sent_announce_init),
            _ => self.exercise_handshake(&run),
        }
    }

    /// Their form is that of their stream, not of a version.
    fn exercise_handshake(self, run: &Run<'_>) -> Result<Outcome, String> {
        if !run.version.is_in_band() {
            return Ok(Outcome::Rejected(DecodeError::Invalid("handshake after moq-lite-02")));
        }
        match self {
            Decoder::SessionClient => run.check(
                |_, input| SessionClient::decode(HandshakeForm::Session, input),
                |message, _, out| message.encode(HandshakeForm::Session, out),
                same,
            ),
            Decoder::SessionClientCompat => run.check(
                |_, input| SessionClient::decode(HandshakeForm::Compat, input),
                |message, _, out| message.encode(HandshakeForm::Compat, out),
                same,
            ),
            Decoder::SessionServer => run.check(
                |_, input| SessionServer::decode(HandshakeForm::Session, input),
                |message, _, out| message.encode(HandshakeForm::Session, out),
                same,
            ),
            Decoder::SessionServerCompat => run.check(
                |_, input| SessionServer::decode(HandshakeForm::Compat, input),
                |message, _, out| message.encode(HandshakeForm::Compat, out),
                same,
            ),
            _ => Ok(Outcome::NoDecoder),
        }
    }
}

type Decode<M> = fn(Version, &[u8]) -> Result<(M, usize), DecodeError>;
type Encode<M> = fn(&M, Version, &mut BytesMut) -> Result<(), EncodeError>;

/// One input and how it is read.
struct Run<'a> {
    version: Version,
    decoder: Decoder,
    input: &'a [u8],
}

impl Run<'_> {
    /// `sent` leaves of a message what its encoding carries, or `None` when it is never sent.
    fn check<M: Clone + PartialEq + Debug>(
        &self,
        decode: Decode<M>,
        encode: Encode<M>,
        sent: fn(Version, M) -> Option<M>,
    ) -> Result<Outcome, String> {
        let version = self.version;
        let (message, consumed) = match decode(version, self.input) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Outcome::Rejected(error)),
        };
        let describe = |what: &str| format!("{version}: {what}: {message:?} from {:02x?}", self.input);
        let Some(used) = self.input.get(..consumed) else {
            return Err(describe("used more bytes than there are"));
        };
        if decode(version, used) != Ok((message.clone(), consumed)) {
            return Err(describe("depends on bytes after it"));
        }
        let short = consumed.checked_sub(1).and_then(|length| used.get(..length));
        let waits = match short.map(|short| decode(version, short)) {
            Some(Err(DecodeError::Truncated)) => self.decoder != Decoder::Datagram,
            // A datagram is whole: there is nothing to wait for.
            Some(Err(DecodeError::Invalid(_))) => self.decoder == Decoder::Datagram,
            _ => false,
        };
        if !waits {
            return Err(describe("does not wait for its last byte"));
        }
        let Some(message) = sent(version, message.clone()) else {
            return Ok(Outcome::Accepted { consumed });
        };
        let mut out = BytesMut::new();
        if let Err(error) = encode(&message, version, &mut out) {
            return Err(format!("{}: {error}", describe("cannot be encoded")));
        }
        let again = decode(version, &out);
        if again != Ok((message, out.len())) {
            return Err(format!(
                "{}: {again:?} from {out:02x?}",
                describe("changed when encoded")
            ));
        }
        Ok(Outcome::Accepted { consumed })
    }
}

fn same<M>(_: Version, message: M) -> Option<M> {
    Some(message)
}

fn known<T>(_: Version, kind: Option<T>) -> Option<Option<T>> {
    kind.map(Some)
}

fn get_integer(_: Version, input: &[u8]) -> Result<(u64, usize), DecodeError> {
    varint::get(input)
}

fn put_integer(value: &u64, _: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    varint::put(out, *value)
}

fn put_bidi_type(kind: &Option<BidiType>, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    kind.map_or(Err(UNKNOWN_TYPE), |kind| kind.encode(version, out))
}

fn put_uni_type(kind: &Option<UniType>, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    kind.map_or(Err(UNKNOWN_TYPE), |kind| kind.encode(version, out))
}

fn get_frame(version: Version, input: &[u8]) -> Result<(FrameHeader, usize), DecodeError> {
    FrameHeader::decode(version.frame_form(), input)
}

fn put_frame(header: &FrameHeader, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    header.encode(version.frame_form(), out)
}

fn sent_announce_request(_: Version, message: AnnounceRequest) -> Option<AnnounceRequest> {
    Some(AnnounceRequest {
        ended: false,
        ..message
    })
}

fn sent_subscribe(version: Version, message: Subscribe) -> Option<Subscribe> {
    Some(Subscribe {
        epoch: 0,
        ordered: message.ordered && version.has_ordered(),
        ..message
    })
}

fn sent_subscribe_update(version: Version, message: SubscribeUpdate) -> Option<SubscribeUpdate> {
    Some(SubscribeUpdate {
        ordered: message.ordered && version.has_ordered(),
        ..message
    })
}

fn sent_track_request(_: Version, message: TrackRequest) -> Option<TrackRequest> {
    Some(TrackRequest { epoch: 0, ..message })
}

fn sent_track_info(version: Version, message: TrackInfo) -> Option<TrackInfo> {
    Some(TrackInfo {
        epoch: 0,
        ordered: message.ordered && version.has_ordered(),
        ..message
    })
}

fn sent_fetch(_: Version, message: Fetch) -> Option<Fetch> {
    Some(Fetch { epoch: 0, ..message })
}

/// What is more than fits is sent otherwise.
fn sent_announce_init(_: Version, message: AnnounceInit) -> Option<AnnounceInit> {
    let bytes: usize = message.suffixes.iter().map(AnnounceInit::suffix_bytes).sum();
    (bytes <= AnnounceInit::SUFFIXES_BYTES_MAX).then_some(message)
}

/// Epoch and Ended are never sent, nor is a type we do not know.
fn sent_announce(_: Version, message: Announce) -> Option<Announce> {
    let mut message = message;
    match &mut message {
        Announce::Start { advertisement, .. } | Announce::Update { advertisement, .. } => {
            advertisement.epoch = 0;
            advertisement.ended = false;
        }
        Announce::EndSuffix { .. } | Announce::EndId { .. } => {}
        Announce::TooLong { .. } | Announce::Unknown { .. } => return None,
    }
    Some(message)
}

/// The bit of the first byte that picks among the versions that are agreed on in band.
const IN_BAND: u8 = 0b1000_0000;

const UNKNOWN_TYPE: EncodeError = EncodeError::Invalid("unknown stream type");
