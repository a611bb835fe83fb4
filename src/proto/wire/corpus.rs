//! The seeds of the fuzz corpus: every message in every version that has it, the draft forms that
//! are accepted beside the released ones, and some inputs that must be refused.

use bytes::BytesMut;
use smallvec::smallvec;

use super::exercise::{Decoder, selector};
use super::{
    Advertisement, Announce, AnnounceInit, AnnounceOk, AnnounceRequest, BidiType, BroadcastPath, DatagramHeader,
    EncodeError, ErrorCode, Fetch, FrameHeader, Goaway, GroupHeader, GroupRange, GroupSequence, HandshakeForm, HopId,
    Probe, ProbeLevel, Role, RouteCost, SessionClient, SessionServer, SessionUpdate, Setup, Subscribe, SubscribeId,
    SubscribeOk, SubscribeResponse, SubscribeUpdate, TrackInfo, TrackRequest, UniType, Version, varint,
};

/// An input of [`exercise`](super::exercise::exercise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The name of its file.
    pub name: String,
    /// The version in which `bytes` are read.
    pub version: Version,
    /// The decoder that reads them.
    pub decoder: Decoder,
    /// The first byte and the bytes to decode.
    pub bytes: Vec<u8>,
    /// Whether the decoder must accept them.
    pub is_valid: bool,
}

/// All seeds, the same at every call.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Seeds::default();
    add_streams(&mut seeds);
    add_handshakes(&mut seeds);
    add_announcements(&mut seeds);
    add_subscriptions(&mut seeds);
    add_subscribe_responses(&mut seeds);
    add_tracks(&mut seeds);
    add_data(&mut seeds);
    add_draft_forms(&mut seeds);
    add_malformed(&mut seeds);
    seeds.0
}

#[derive(Default)]
struct Seeds(Vec<Seed>);

impl Seeds {
    /// Adds what `encode` makes in every version that can carry it.
    fn message(
        &mut self,
        decoder: Decoder,
        name: &str,
        encode: impl Fn(Version, &mut BytesMut) -> Result<(), EncodeError>,
    ) {
        for version in Version::EVERY {
            let mut out = BytesMut::new();
            if encode(version, &mut out).is_ok() {
                self.raw(version, decoder, name, &out, true);
            }
        }
    }

    fn raw(&mut self, version: Version, decoder: Decoder, name: &str, bytes: &[u8], is_valid: bool) {
        let draft = version.name().trim_start_matches("moq-lite-");
        let name = format!("{draft}-{name}");
        let bytes = [&[selector(version, decoder)], bytes].concat();
        self.0.push(Seed {
            name,
            version,
            decoder,
            bytes,
            is_valid,
        });
    }
}

fn add_streams(seeds: &mut Seeds) {
    for (name, value) in [("1", 37), ("2", 15_293), ("4", 494_878_333), ("8", varint::VALUE_MAX)] {
        seeds.message(Decoder::Integer, &format!("integer-{name}"), |_, out| {
            varint::put(out, value)
        });
    }
    for kind in [
        BidiType::Session,
        BidiType::SessionCompat,
        BidiType::Announce,
        BidiType::Subscribe,
        BidiType::Fetch,
        BidiType::Probe,
        BidiType::Goaway,
        BidiType::Track,
    ] {
        let name = format!("bidi-type-{}", kind.code());
        seeds.message(Decoder::BidiType, &name, |version, out| kind.encode(version, out));
    }
    for kind in [UniType::Group, UniType::Setup] {
        let name = format!("uni-type-{}", kind.code());
        seeds.message(Decoder::UniType, &name, |version, out| kind.encode(version, out));
    }
    let setup = Setup {
        probe: ProbeLevel::Increase,
        path: Some("/room?jwt=abc".to_owned()),
        role: Role::Subscriber,
        cost: Some(70_000),
        origin: HopId(0x1234_5678_9abc),
    };
    seeds.message(Decoder::Setup, "setup-empty", |version, out| {
        Setup::default().encode(version, out)
    });
    seeds.message(Decoder::Setup, "setup-full", |version, out| setup.encode(version, out));
    for (name, uri) in [("goaway-empty", ""), ("goaway-uri", "https://b.example:4443/room")] {
        let goaway = Goaway { uri: uri.to_owned() };
        seeds.message(Decoder::Goaway, name, |version, out| goaway.encode(version, out));
    }
    for (name, bitrate, rtt_ms) in [("probe-unknown", None, None), ("probe", Some(2_500_000), Some(40))] {
        let probe = Probe { bitrate, rtt_ms };
        seeds.message(Decoder::Probe, name, |version, out| probe.encode(version, out));
    }
}

fn add_handshakes(seeds: &mut Seeds) {
    let client = SessionClient {
        versions: smallvec![0xff0d_ad02, 0xff0d_ad01, 0xff00_000e, 0xfeed_babe],
        path: Some("/room?jwt=abc".to_owned()),
    };
    let server = SessionServer { version: 0xff0d_ad01 };
    let in_band = |version: Version| {
        let known = version.is_in_band();
        known.then_some(()).ok_or(EncodeError::NotInVersion("handshake"))
    };
    for (form, client_decoder, server_decoder, name) in [
        (
            HandshakeForm::Session,
            Decoder::SessionClient,
            Decoder::SessionServer,
            "session",
        ),
        (
            HandshakeForm::Compat,
            Decoder::SessionClientCompat,
            Decoder::SessionServerCompat,
            "compat",
        ),
    ] {
        seeds.message(client_decoder, &format!("{name}-client"), |version, out| {
            in_band(version)?;
            client.encode(form, out)
        });
        seeds.message(client_decoder, &format!("{name}-client-bare"), |version, out| {
            in_band(version)?;
            SessionClient::default().encode(form, out)
        });
        seeds.message(server_decoder, &format!("{name}-server"), |version, out| {
            in_band(version)?;
            server.encode(form, out)
        });
    }
    for (name, bitrate) in [("session-update-unknown", None), ("session-update", Some(2_500_000))] {
        seeds.message(Decoder::SessionUpdate, name, |version, out| {
            SessionUpdate { bitrate }.encode(version, out)
        });
    }
}

fn add_announcements(seeds: &mut Seeds) {
    for (name, prefix) in [("announce-request-root", ""), ("announce-request", "room/a")] {
        let prefix = BroadcastPath::new(prefix);
        let request = AnnounceRequest {
            prefix,
            exclude_hop: HopId(300),
            ended: false,
        };
        seeds.message(Decoder::AnnounceRequest, name, |version, out| {
            request.encode(version, out)
        });
    }
    for (name, suffixes) in [
        ("announce-init-empty", &[][..]),
        ("announce-init", &["room/é", "", "b"]),
    ] {
        let init = AnnounceInit {
            suffixes: suffixes.iter().copied().map(BroadcastPath::new).collect(),
        };
        seeds.message(Decoder::AnnounceInit, name, |version, out| init.encode(version, out));
    }
    let ok = AnnounceOk {
        hop: HopId(0x1234_5678_9abc),
        active_count: 3,
    };
    seeds.message(Decoder::AnnounceOk, "announce-ok", |version, out| {
        ok.encode(version, out)
    });
    let advertisement = Advertisement {
        hops: vec![HopId(1), HopId::UNKNOWN, HopId(70_000)],
        cost: RouteCost { warm: 0, cold: 3 },
        ..Advertisement::default()
    };
    let suffix = BroadcastPath::new("room/é");
    let announcements = [
        (
            "announce-start",
            Announce::Start {
                suffix: suffix.clone(),
                advertisement: advertisement.clone(),
            },
        ),
        (
            "announce-start-bare",
            Announce::Start {
                suffix: BroadcastPath::root(),
                advertisement: Advertisement::default(),
            },
        ),
        ("announce-end-suffix", Announce::EndSuffix { suffix }),
        ("announce-end-id", Announce::EndId { id: 300 }),
        ("announce-update", Announce::Update { id: 2, advertisement }),
    ];
    for (name, announcement) in announcements {
        seeds.message(Decoder::Announce, name, |version, out| {
            announcement.encode(version, out)
        });
    }
}

fn add_subscriptions(seeds: &mut Seeds) {
    let whole = GroupRange {
        start: Some(GroupSequence(7)),
        end: Some(GroupSequence(300)),
        ..GroupRange::default()
    };
    let ranges = [
        ("live", GroupRange::default()),
        ("range", whole),
        (
            "frames",
            GroupRange {
                frame_start: 2,
                frame_end: Some(6),
                ..whole
            },
        ),
        (
            "group-0-frames",
            GroupRange {
                start: Some(GroupSequence(0)),
                frame_start: 4,
                ..GroupRange::default()
            },
        ),
    ];
    for (name, range) in ranges {
        let subscribe = Subscribe {
            id: SubscribeId(5),
            broadcast: BroadcastPath::new("room/a"),
            track: "video".into(),
            epoch: 0,
            priority: 128,
            ordered: false,
            max_latency_ms: 500,
            range,
        };
        let update = SubscribeUpdate {
            priority: 200,
            ..subscribe.preferences()
        };
        seeds.message(Decoder::Subscribe, &format!("subscribe-{name}"), |version, out| {
            subscribe.encode(version, out)
        });
        let name = format!("subscribe-update-{name}");
        seeds.message(Decoder::SubscribeUpdate, &name, |version, out| {
            update.encode(version, out)
        });
    }
}

fn add_subscribe_responses(seeds: &mut Seeds) {
    let ok = SubscribeOk {
        priority: 100,
        ordered: true,
        max_latency_ms: 5000,
        start: Some(GroupSequence(7)),
        end: None,
        timescale: None,
    };
    let drop = SubscribeResponse::Drop {
        start: GroupSequence(1),
        end: GroupSequence(300),
        code: ErrorCode(0x34),
    };
    let responses = [
        ("subscribe-ok", SubscribeResponse::Ok(ok)),
        (
            "subscribe-start",
            SubscribeResponse::Start {
                group: GroupSequence(300),
            },
        ),
        (
            "subscribe-end",
            SubscribeResponse::End {
                group: GroupSequence(0),
            },
        ),
        ("subscribe-drop", drop),
    ];
    for (name, response) in responses {
        seeds.message(Decoder::SubscribeResponse, name, |version, out| {
            response.encode(version, out)
        });
    }
}

fn add_tracks(seeds: &mut Seeds) {
    let (broadcast, track) = (BroadcastPath::new("room/a"), "video".into());
    let request = TrackRequest {
        broadcast,
        track,
        epoch: 0,
    };
    seeds.message(Decoder::TrackRequest, "track", |version, out| {
        request.encode(version, out)
    });
    let info = TrackInfo {
        epoch: 0,
        priority: 127,
        ordered: false,
        max_latency_ms: 5000,
        timescale: 90_000,
    };
    seeds.message(Decoder::TrackInfo, "track-info", |version, out| {
        info.encode(version, out)
    });
    for (name, frame_start, frame_end) in [("fetch", 0, None), ("fetch-frames", 2, Some(6))] {
        let fetch = Fetch {
            broadcast: BroadcastPath::new("room/a"),
            track: "video".into(),
            epoch: 0,
            priority: 128,
            group: GroupSequence(300),
            frame_start,
            frame_end,
        };
        seeds.message(Decoder::Fetch, name, |version, out| fetch.encode(version, out));
    }
}

fn add_data(seeds: &mut Seeds) {
    for (name, frame_start) in [("group", 0), ("group-tail", 4)] {
        let header = GroupHeader {
            subscribe: SubscribeId(5),
            sequence: GroupSequence(300),
            frame_start,
        };
        seeds.message(Decoder::Group, name, |version, out| header.encode(version, out));
    }
    for (name, timestamp_delta, size) in [
        ("frame", 3000, 1200),
        ("frame-empty", 0, 0),
        ("frame-back", -3000, 70_000),
    ] {
        let header = FrameHeader { timestamp_delta, size };
        seeds.message(Decoder::Frame, name, |version, out| {
            header.encode(version.frame_form(), out)
        });
    }
    let header = DatagramHeader {
        subscribe: SubscribeId(5),
        sequence: GroupSequence(300),
        timestamp: 1_000_000,
    };
    seeds.message(Decoder::Datagram, "datagram", |version, out| {
        header.encode(version, out)?;
        out.extend_from_slice(b"payload");
        Ok(())
    });
}

/// Forms of a draft's text that its released peers do not send, and what older peers may send.
fn add_draft_forms(seeds: &mut Seeds) {
    for (version, decoder, name, bytes) in DRAFT_FORMS {
        seeds.raw(version, decoder, name, bytes, true);
    }
}

fn add_malformed(seeds: &mut Seeds) {
    for (version, decoder, name, bytes) in MALFORMED {
        seeds.raw(version, decoder, name, bytes, false);
    }
}

/// Version, decoder, name and the bytes to decode.
const DRAFT_FORMS: [(Version, Decoder, &str, &[u8]); 17] = [
    // Priority 200 as an integer.
    (
        Version::Lite01,
        Decoder::Subscribe,
        "draft-subscribe",
        b"\x07\x05\x01a\x01v\x40\xc8",
    ),
    (
        Version::Lite02,
        Decoder::SubscribeUpdate,
        "draft-subscribe-update",
        b"\x02\x40\xc8",
    ),
    (
        Version::Lite01,
        Decoder::SubscribeResponse,
        "draft-subscribe-ok",
        b"\x02\x40\xc8",
    ),
    // Parameters of moq-transport: MAX_REQUEST_ID 100 and an implementation.
    (
        Version::Lite02,
        Decoder::SessionClientCompat,
        "draft-compat-client-parameters",
        b"\x00\x0b\x01\x05\x02\x02\x40\x64\x07\x03abc",
    ),
    (
        Version::Lite02,
        Decoder::SessionServerCompat,
        "draft-compat-server-bare",
        b"\x21\x00\x01\x05",
    ),
    (
        Version::Lite06,
        Decoder::AnnounceRequest,
        "draft-announce-request",
        b"\x03\x01a\x01",
    ),
    // Epoch 0x1234567812345678, Ended 1, hops [1, 2], Route Cost 9.
    (
        Version::Lite06,
        Decoder::Announce,
        "draft-announce-start",
        b"\x00\x0f\x01a\xd2\x34\x56\x78\x12\x34\x56\x78\x01\x02\x01\x02\x09",
    ),
    (
        Version::Lite06,
        Decoder::Announce,
        "draft-announce-start-epoch-0",
        b"\x00\x06\x01a\x00\x00\x00\x09",
    ),
    (
        Version::Lite06,
        Decoder::Announce,
        "draft-announce-update",
        b"\x02\x06\x03\x00\x01\x01\x02\x09",
    ),
    (
        Version::Lite06,
        Decoder::Announce,
        "announce-unknown",
        b"\x40\x63\x03abc",
    ),
    (
        Version::Lite05,
        Decoder::Announce,
        "announce-restart",
        b"\x05\x02\x01a\x01\x07",
    ),
    (
        Version::Lite06,
        Decoder::Subscribe,
        "draft-subscribe",
        b"\x12\x05\x01a\x01v\xd2\x34\x56\x78\x12\x34\x56\x78\x80\x01\x00\x08\x00",
    ),
    (
        Version::Lite06,
        Decoder::SubscribeUpdate,
        "draft-subscribe-update",
        b"\x05\x80\x01\x00\x08\x00",
    ),
    (
        Version::Lite06,
        Decoder::TrackRequest,
        "draft-track",
        b"\x05\x01a\x01v\x09",
    ),
    (
        Version::Lite06,
        Decoder::TrackInfo,
        "draft-track-info",
        b"\x07\x09\x7f\x01\x53\x88\x43\xe8",
    ),
    (
        Version::Lite06,
        Decoder::Fetch,
        "draft-fetch",
        b"\x07\x01a\x01v\x09\x80\x07",
    ),
    (Version::Lite06, Decoder::Group, "draft-group", b"\x02\x05\x07"),
];

/// Version, decoder, name and the bytes to decode.
const MALFORMED: [(Version, Decoder, &str, &[u8]); 16] = [
    (
        Version::Lite01,
        Decoder::SessionClient,
        "bad-session-client-count",
        b"\x02\x40\x41",
    ),
    (
        Version::Lite02,
        Decoder::SessionServerCompat,
        "bad-compat-server-type",
        b"\x20\x00\x01\x05",
    ),
    (
        Version::Lite02,
        Decoder::SubscribeResponse,
        "bad-subscribe-ok-priority",
        b"\x01\x05",
    ),
    (
        Version::Gomoqt,
        Decoder::AnnounceInit,
        "bad-announce-init-count",
        b"\x02\x02\x00",
    ),
    (
        Version::Lite06,
        Decoder::Setup,
        "bad-setup-twice",
        b"\x07\x02\x01\x01\x01\x01\x01\x01",
    ),
    (
        Version::Lite06,
        Decoder::Setup,
        "bad-setup-count",
        b"\x04\x40\x41\x00\x00",
    ),
    (
        Version::Lite06,
        Decoder::Announce,
        "bad-announce-loop",
        b"\x00\x08\x01a\x02\x07\x07\x00\x00\x00",
    ),
    (
        Version::Lite06,
        Decoder::Announce,
        "bad-announce-hops",
        b"\x00\x05\x01a\x21\x00\x00",
    ),
    (
        Version::Lite04,
        Decoder::Announce,
        "bad-announce-status",
        b"\x04\x02\x01a\x00",
    ),
    (
        Version::Lite05,
        Decoder::Subscribe,
        "bad-subscribe-trailing",
        b"\x0b\x05\x01a\x01v\x80\x01\x00\x08\x00\x00",
    ),
    (
        Version::Lite06,
        Decoder::Subscribe,
        "bad-subscribe-frame-end",
        b"\x0b\x05\x01a\x01v\x80\x00\x08\x00\x00\x02",
    ),
    (
        Version::Lite06,
        Decoder::SubscribeResponse,
        "bad-subscribe-drop",
        b"\x02\x03\x02\x01\x00",
    ),
    (
        Version::Lite06,
        Decoder::TrackRequest,
        "bad-track-utf-8",
        b"\x04\x01\xff\x01v",
    ),
    (
        Version::Lite06,
        Decoder::Goaway,
        "bad-goaway-size",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ),
    (Version::Lite06, Decoder::Group, "bad-group-short", b"\x01\x05"),
    (
        Version::Lite06,
        Decoder::Frame,
        "bad-frame-size",
        b"\x00\xbf\xff\xff\xff",
    ),
];
