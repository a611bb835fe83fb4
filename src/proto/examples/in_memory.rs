//! Two sessions in one process, and a pipe between them: one subscribes, the other publishes a group of one frame.
//!
//! The front page of the crate has the same, step by step.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use bytes::BytesMut;
use moqswitch_proto::session::{
    Event, MediaEvent, RequestEvent, Session, SessionConfig, SessionLimits, Side, SubscribeParameters, Transmit,
};
use moqswitch_proto::wire::{FrameHeader, GroupHeader, GroupRange, GroupSequence, HopId, Setup, StreamHeads, Version};

/// The connection between two ends: does for `to` what `from` asks for.
fn carry(from: &mut Session, to: &mut Session) {
    while let Some(transmit) = from.poll_transmit() {
        match transmit {
            Transmit::Write { stream, data, fin } => to.handle_stream(stream, data, fin, 0),
            Transmit::Reset { stream, code } => to.handle_reset(stream, code),
            Transmit::StopSending { stream, .. } => to.handle_stop_sending(stream),
            Transmit::Close { code, reason } => panic!("closed with {code}: {reason}"),
        }
    }
}

/// One end. ALPN would have agreed on the draft; here both name it.
fn end(side: Side, hop: u64) -> Session {
    Session::new(SessionConfig {
        side,
        version: Version::Lite06,
        setup: Setup::default(),
        hop: HopId(hop),
        limits: SessionLimits::default(),
        heads: StreamHeads::default(),
    })
}

fn main() {
    let (mut subscriber, mut publisher) = (end(Side::Client, 1), end(Side::Server, 2));

    // SETUP goes first, then the question. The publisher has read both when `carry` returns.
    let wanted = SubscribeParameters {
        broadcast: "room/ali".into(),
        track: "audio".into(),
        epoch: 0,
        priority: 1,
        ordered: false,
        max_latency_ms: 500,
        range: GroupRange::default(),
    };
    let (id, _stream) = subscriber.subscribe(wanted).expect("nothing is closed");
    carry(&mut subscriber, &mut publisher);

    // The answer, and group 0 on a stream of its own: its head, then a frame. Those bytes the caller writes.
    while let Some(event) = publisher.poll_event() {
        let Event::Request(RequestEvent::Subscribe { request, message }) = event else {
            continue;
        };
        publisher.subscribe_start(request, GroupSequence(0));
        carry(&mut publisher, &mut subscriber);
        let group = GroupHeader {
            subscribe: message.id,
            sequence: GroupSequence(0),
            frame_start: 0,
        };
        let mut bytes = BytesMut::new();
        assert!(publisher.group_header(&group, &mut bytes));
        let frame = FrameHeader {
            timestamp_delta: 0,
            size: 5,
        };
        frame
            .encode(publisher.version().frame_form(), &mut bytes)
            .expect("five bytes are within the limits");
        bytes.extend_from_slice(b"hello");
        subscriber.handle_stream(publisher.open_uni(), bytes.freeze(), true, 0);
    }

    // What the subscriber is told. A chunk has the bytes as they came; its marks say where frames begin.
    let mut received = Vec::new();
    while let Some(event) = subscriber.poll_event() {
        let Event::Media(event) = event else { continue };
        match event {
            MediaEvent::GroupStart { header, .. } => assert_eq!(header.subscribe, id),
            MediaEvent::GroupChunk { chunk, .. } => {
                for mark in &chunk.marks {
                    let payload = mark.offset as usize + usize::from(mark.header_bytes);
                    received.extend_from_slice(&chunk.bytes[payload..]);
                }
            }
            MediaEvent::GroupEnd { .. } => {}
            MediaEvent::GroupReset { code, .. } => panic!("the group ended with {code}"),
            MediaEvent::Datagram { .. } => unreachable!("nothing was sent as one"),
        }
    }
    assert_eq!(received, b"hello");
    println!("received {:?}", String::from_utf8_lossy(&received));
}
