//! A session with gomoqt, byte for byte as its message definitions and the order of its calls have
//! it (v0.9.0: `openSessionStream`, `Session.AcceptAnnounce`, `Session.Subscribe`, `GroupWriter`), with
//! us as its server and as its client.

use bytes::{Bytes, BytesMut};

use crate::session::{
    AnnouncementEvent, AnswerEvent, Event, MediaEvent, RequestEvent, Session, SessionEvent, Side, Transmit,
};
use crate::wire::{
    Advertisement, GroupHeader, GroupSequence, StreamId, SubscribeId, SubscribeOk, SubscribeUpdate, Version,
    session_error,
};

use super::network::{config, path, subscribe_parameters};

/// One end, and what it says and hears as bytes of streams.
struct Script {
    session: Session,
}

impl Script {
    fn new(side: Side) -> Self {
        let session = Session::new(config(side, Version::Gomoqt));
        Self { session }
    }

    /// gomoqt sends `bytes`, in every fragmentation the same: one byte at a time.
    fn hears(&mut self, stream: u64, bytes: &[u8]) {
        for byte in bytes {
            self.session
                .handle_stream(StreamId(stream), Bytes::copy_from_slice(&[*byte]), false, 5);
        }
    }

    fn hears_end(&mut self, stream: u64) {
        self.session.handle_stream(StreamId(stream), Bytes::new(), true, 5);
    }

    /// The only thing that is sent.
    fn says(&mut self, stream: u64, bytes: &[u8], fin: bool) {
        let sent = self.session.poll_transmit();
        let expected = Transmit::Write {
            stream: StreamId(stream),
            data: Bytes::copy_from_slice(bytes),
            fin,
        };
        assert_eq!(sent, Some(expected));
        assert_eq!(self.session.poll_transmit(), None);
    }

    fn event(&mut self) -> Event {
        let event = self.session.poll_event();
        assert!(self.session.poll_event().is_none());
        event.expect("an event")
    }
}

/// SessionServerMessage: SelectedVersion 0xfeedbabe, no Parameters.
const SESSION_SERVER: [u8; 10] = [9, 0xc0, 0, 0, 0, 0xfe, 0xed, 0xba, 0xbe, 0];

const OK: SubscribeOk = SubscribeOk {
    priority: 5,
    ordered: false,
    max_latency_ms: 5000,
    start: None,
    end: None,
    timescale: None,
};

#[test]
fn gomoqt_subscribes_and_publishes_as_a_client() {
    let mut relay = Script::new(Side::Server);
    // StreamTypeSession, SessionClientMessage with the path among its Parameters.
    relay.hears(0, b"\x00\x11\x01\xc0\x00\x00\x00\xfe\xed\xba\xbe\x01\x01\x05/echo");
    let Event::Session(SessionEvent::Setup(setup)) = relay.event() else {
        panic!()
    };
    assert_eq!(setup.path.as_deref(), Some("/echo"));
    relay.says(0, &SESSION_SERVER, false);
    // SessionUpdateMessage.
    relay.hears(0, &[2, 0x43, 0xe8]);
    assert!(matches!(
        relay.event(),
        Event::Session(SessionEvent::SessionUpdate { bitrate: Some(1000) })
    ));

    // StreamTypeAnnounce, AnnouncePleaseMessage for "/room/".
    relay.hears(4, b"\x01\x07\x06/room/");
    let Event::Announcement(AnnouncementEvent::AnnounceRequest { request, message }) = relay.event() else {
        panic!()
    };
    assert_eq!((request, &message.prefix), (StreamId(4), &path("room")));
    relay.session.announce_ok(request, 1);
    relay.session.announce(request, &path("a"), &Advertisement::default());
    relay.says(4, b"\x03\x01\x01a", false);
    relay.session.announce(request, &path("b"), &Advertisement::default());
    relay.says(4, b"\x03\x01\x01b", false);
    relay.session.unannounce(request, &path("a"));
    relay.says(4, b"\x03\x00\x01a", false);

    // StreamTypeSubscribe, SubscribeMessage: ids begin with 1.
    relay.hears(8, b"\x02\x0f\x01\x07/room/b\x03cam\x40\x80");
    let Event::Request(RequestEvent::Subscribe { request, message }) = relay.event() else {
        panic!()
    };
    assert_eq!((message.id, message.priority), (SubscribeId(1), 128));
    assert_eq!((message.broadcast.as_str(), &*message.track), ("room/b", "cam"));
    relay.session.subscribe_ok(request, &OK);
    relay.says(8, &[0], false);
    // StreamTypeGroup, GroupMessage; the frames follow.
    let header = GroupHeader {
        subscribe: SubscribeId(1),
        sequence: GroupSequence(7),
        frame_start: 0,
    };
    let mut head = BytesMut::new();
    assert!(relay.session.group_header(&header, &mut head));
    assert_eq!(head[..], [0, 2, 1, 7]);
    // SubscribeUpdateMessage.
    relay.hears(8, &[2, 0x40, 0xc8]);
    assert!(matches!(
        relay.event(),
        Event::Request(RequestEvent::SubscribeUpdate { message, .. }) if message.priority == 200
    ));

    // What it publishes itself is asked for in its own terms.
    let announcements = relay.session.request_announce(&path("")).unwrap();
    assert_eq!(announcements, StreamId(1));
    relay.says(1, b"\x01\x02\x01/", false);
    relay.hears(1, b"\x08\x01\x06room/c");
    assert!(
        matches!(relay.event(), Event::Announcement(AnnouncementEvent::Announced { path: got, .. }) if got == path("room/c"))
    );
    relay.hears(1, b"\x08\x00\x06room/c");
    assert!(
        matches!(relay.event(), Event::Announcement(AnnouncementEvent::Unannounced { path: got, .. }) if got == path("room/c"))
    );

    // TrackReader.Close finishes the stream.
    relay.hears_end(8);
    assert!(matches!(
        relay.event(),
        Event::Request(RequestEvent::SubscribeEnded { .. })
    ));
    relay.says(8, &[], true);
}

#[test]
fn gomoqt_publishes_as_a_server() {
    let mut relay = Script::new(Side::Client);
    let mut hello = b"\x00\x17\x01\xc0\x00\x00\x00\xfe\xed\xba\xbe\x01\x01\x0b".to_vec();
    hello.extend_from_slice(b"/room?jwt=x");
    relay.says(0, &hello, false);
    relay.hears(0, &SESSION_SERVER);
    assert!(matches!(relay.event(), Event::Session(SessionEvent::Setup(_))));

    // AnnounceInitMessage, AnnounceMessage.
    let stream = relay.session.request_announce(&path("room")).unwrap();
    relay.says(4, b"\x01\x07\x06/room/", false);
    relay.hears(4, b"\x05\x01\x03ali");
    assert!(matches!(
        relay.event(),
        Event::Announcement(AnnouncementEvent::Announced { stream: got, path: announced, .. }) if (got, &announced) == (stream, &path("room/ali"))
    ));

    let (id, stream) = relay.session.subscribe(subscribe_parameters()).unwrap();
    assert_eq!((id, stream), (SubscribeId(0), StreamId(8)));
    relay.says(8, b"\x02\x12\x00\x09/room/ali\x05audio\x07", false);
    // SubscribeOkMessage.
    relay.hears(8, &[0]);
    assert!(matches!(
        relay.event(),
        Event::Answer(AnswerEvent::SubscriptionOk { ok, .. }) if ok.priority == subscribe_parameters().priority
    ));
    let update = SubscribeUpdate {
        priority: 64,
        ..SubscribeUpdate::UNSTATED
    };
    relay.session.update_subscription(id, &update);
    relay.says(8, &[2, 0x40, 0x40], false);

    // GroupMessage and two frames, one of them empty.
    relay.hears(3, b"\x00\x02\x00\x09\x05frame\x00");
    relay.hears_end(3);
    let mut bytes = Vec::new();
    let mut last = None;
    while let Some(event) = relay.session.poll_event() {
        if let Event::Media(MediaEvent::GroupChunk { chunk, .. }) = &event {
            bytes.extend_from_slice(&chunk.bytes);
        }
        last = Some(event);
    }
    assert_eq!(bytes, b"\x05frame\x00");
    assert!(matches!(last, Some(Event::Media(MediaEvent::GroupEnd { .. }))));

    // TrackWriter.Close.
    relay.hears_end(8);
    assert!(matches!(
        relay.event(),
        Event::Answer(AnswerEvent::SubscriptionClosed { code: None, .. })
    ));
    relay.says(8, &[], true);
    // The server goes.
    relay.hears_end(0);
    let transmits: Vec<Transmit> = std::iter::from_fn(|| relay.session.poll_transmit()).collect();
    assert!(matches!(
        transmits.last(),
        Some(Transmit::Close {
            code: session_error::NO_ERROR,
            ..
        })
    ));
}
