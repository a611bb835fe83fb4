//! The bytes of gomoqt, derived from its message definitions (v0.9.0, `moqt/internal/message`, each
//! named by its type there), in both directions.
//!
//! Common to all: integers of QUIC, strings with their length before them, and before the body of
//! every message but the stream type and the type itself its length.

use std::fmt::Debug;

use bytes::BytesMut;
use smallvec::smallvec;

use crate::wire::{
    Advertisement, Announce, AnnounceInit, AnnounceRequest, BidiType, BroadcastPath, DecodeError, EncodeError,
    FrameForm, FrameHeader, GroupHeader, GroupRange, GroupSequence, HandshakeForm, HopId, SessionClient, SessionServer,
    SessionUpdate, Subscribe, SubscribeId, SubscribeOk, SubscribeResponse, SubscribeUpdate, UniType, Version,
};

type Decode<M> = fn(Version, &[u8]) -> Result<(M, usize), DecodeError>;

/// `message` is sent as `bytes`, and they are read as it.
fn fixture<M: Debug + PartialEq>(
    message: M,
    encode: fn(&M, Version, &mut BytesMut) -> Result<(), EncodeError>,
    decode: Decode<M>,
    bytes: &[u8],
) {
    let mut out = BytesMut::new();
    encode(&message, Version::Gomoqt, &mut out).unwrap();
    assert_eq!(out[..], *bytes, "{message:?}");
    for cut in 0..bytes.len() {
        assert_eq!(
            decode(Version::Gomoqt, &bytes[..cut]),
            Err(DecodeError::Truncated),
            "{message:?}"
        );
    }
    assert_eq!(decode(Version::Gomoqt, bytes), Ok((message, bytes.len())));
}

fn path(text: &str) -> BroadcastPath {
    BroadcastPath::new(text)
}

/// 0xfeedbabe has more than 30 bits.
const CODE: [u8; 8] = [0xc0, 0, 0, 0, 0xfe, 0xed, 0xba, 0xbe];

#[test]
fn stream_types() {
    // StreamType: StreamTypeSession, StreamTypeAnnounce, StreamTypeSubscribe; StreamTypeGroup.
    for (kind, byte) in [
        (BidiType::Session, 0),
        (BidiType::Announce, 1),
        (BidiType::Subscribe, 2),
    ] {
        let mut out = BytesMut::new();
        kind.encode(Version::Gomoqt, &mut out).unwrap();
        assert_eq!(out[..], [byte]);
        assert_eq!(BidiType::decode(Version::Gomoqt, &[byte]), Ok((Some(kind), 1)));
    }
    let mut out = BytesMut::new();
    UniType::Group.encode(Version::Gomoqt, &mut out).unwrap();
    assert_eq!(out[..], [0]);
    assert_eq!(UniType::decode(Version::Gomoqt, &[0]), Ok((Some(UniType::Group), 1)));
}

#[test]
fn session_client_message() {
    assert_eq!(HandshakeForm::of(Version::Gomoqt), HandshakeForm::Session);
    let code = Version::Gomoqt.code().unwrap();
    let client = |path: Option<&str>| SessionClient {
        versions: smallvec![code],
        path: path.map(ToOwned::to_owned),
    };
    // SupportedVersions: count and versions. Parameters: count, and for each its key and its value
    // with the length before it. Over WebTransport none, over QUIC the path, whose key is 1.
    fixture(
        client(None),
        |message, _, out| message.encode(HandshakeForm::Session, out),
        |_, input| SessionClient::decode(HandshakeForm::Session, input),
        &[&[10, 1][..], &CODE, &[0]].concat(),
    );
    fixture(
        client(Some("/echo")),
        |message, _, out| message.encode(HandshakeForm::Session, out),
        |_, input| SessionClient::decode(HandshakeForm::Session, input),
        &[&[17, 1][..], &CODE, &[1, 1, 5], b"/echo"].concat(),
    );
}

#[test]
fn session_server_message() {
    let code = Version::Gomoqt.code().unwrap();
    // SelectedVersion, Parameters.
    fixture(
        SessionServer { version: code },
        |message, _, out| message.encode(HandshakeForm::Session, out),
        |_, input| SessionServer::decode(HandshakeForm::Session, input),
        &[&[9][..], &CODE, &[0]].concat(),
    );
}

#[test]
fn session_update_message() {
    // Bitrate.
    let update = SessionUpdate { bitrate: Some(1000) };
    fixture(update, SessionUpdate::encode, SessionUpdate::decode, &[2, 0x43, 0xe8]);
}

#[test]
fn announce_please_message() {
    // TrackPrefix: a prefix begins and ends with a slash, that of everything is one slash.
    for (prefix, bytes) in [("", &[2, 1, b'/'][..]), ("room/a", b"\x09\x08/room/a/")] {
        let request = AnnounceRequest {
            prefix: path(prefix),
            exclude_hop: HopId::UNKNOWN,
            ended: false,
        };
        fixture(request, AnnounceRequest::encode, AnnounceRequest::decode, bytes);
    }
}

#[test]
fn announce_init_message() {
    // Suffixes: count and strings, without the slash in which the prefix ends.
    let init = AnnounceInit {
        suffixes: vec![path("a"), path("b/c")],
    };
    fixture(
        init,
        AnnounceInit::encode,
        AnnounceInit::decode,
        b"\x07\x02\x01a\x03b/c",
    );
    fixture(
        AnnounceInit::default(),
        AnnounceInit::encode,
        AnnounceInit::decode,
        &[1, 0],
    );
}

#[test]
fn announce_message() {
    // AnnounceStatus: ACTIVE is 1, ENDED is 0. TrackSuffix.
    let active = Announce::Start {
        suffix: path("a"),
        advertisement: Advertisement::default(),
    };
    fixture(active, Announce::encode, Announce::decode, &[3, 1, 1, b'a']);
    let ended = Announce::EndSuffix { suffix: path("a") };
    fixture(ended, Announce::encode, Announce::decode, &[3, 0, 1, b'a']);
}

#[test]
fn subscribe_messages() {
    // SubscribeID, BroadcastPath with its slash before it, TrackName, TrackPriority as an integer.
    for (priority, end) in [(7, &[7][..]), (200, &[0x40, 200])] {
        let preferences = SubscribeUpdate {
            priority,
            ..SubscribeUpdate::UNSTATED
        };
        let subscribe = Subscribe {
            id: SubscribeId(1),
            broadcast: path("room/a"),
            track: "video".into(),
            epoch: 0,
            priority,
            ordered: preferences.ordered,
            max_latency_ms: preferences.max_latency_ms,
            range: GroupRange::default(),
        };
        let body = [&b"\x01\x07/room/a\x05video"[..], end].concat();
        let bytes = [&[u8::try_from(body.len()).unwrap()][..], &body].concat();
        fixture(subscribe, Subscribe::encode, Subscribe::decode, &bytes);
        // SubscribeUpdateMessage: TrackPriority.
        let bytes = [&[u8::try_from(end.len()).unwrap()][..], end].concat();
        fixture(preferences, SubscribeUpdate::encode, SubscribeUpdate::decode, &bytes);
    }
}

#[test]
fn subscribe_ok_message() {
    // No field at all.
    let ok = SubscribeOk {
        priority: 0,
        ordered: false,
        max_latency_ms: 0,
        start: None,
        end: None,
        timescale: None,
    };
    fixture(
        SubscribeResponse::Ok(ok),
        SubscribeResponse::encode,
        SubscribeResponse::decode,
        &[0],
    );
    // Our priority has no place in it.
    let mut out = BytesMut::new();
    let said = SubscribeResponse::Ok(SubscribeOk { priority: 9, ..ok });
    said.encode(Version::Gomoqt, &mut out).unwrap();
    assert_eq!(out[..], [0]);
}

#[test]
fn group_message_and_frames() {
    // GroupMessage: SubscribeID, GroupSequence.
    let header = GroupHeader {
        subscribe: SubscribeId(1),
        sequence: GroupSequence(300),
        frame_start: 0,
    };
    fixture(header, GroupHeader::encode, GroupHeader::decode, &[3, 1, 0x41, 0x2c]);
    // Frame (moqt/frame.go): the length of the payload.
    assert_eq!(Version::Gomoqt.frame_form(), FrameForm::Plain);
    let frame = FrameHeader {
        timestamp_delta: 0,
        size: 1200,
    };
    fixture(
        frame,
        |message: &FrameHeader, version, out| message.encode(version.frame_form(), out),
        |version, input| FrameHeader::decode(version.frame_form(), input),
        &[0x44, 0xb0],
    );
}

#[test]
fn paths_may_lack_their_slashes() {
    // Not as gomoqt writes them, but no harm.
    let bare = Subscribe::decode(Version::Gomoqt, b"\x0a\x01\x06room/a\x00\x07")
        .unwrap()
        .0;
    assert_eq!(bare.broadcast, path("room/a"));
    let prefix = AnnounceRequest::decode(Version::Gomoqt, b"\x05\x04room").unwrap().0;
    assert_eq!(prefix.prefix, path("room"));
}
