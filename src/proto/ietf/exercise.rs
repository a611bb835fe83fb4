//! What a fuzzer feeds to a session of moq-transport, and what must hold then: bytes of streams in any order and pieces,
//! datagrams, and the commands of a caller.
//!
//! An input is operations: `kind (8) | stream (8) | length (8) | that many bytes`, the last as long as there are bytes.

use bytes::{Bytes, BytesMut};

use super::Session;
use crate::session::{
    AnnouncementEvent, AnswerEvent, Event, MediaEvent, RequestEvent, SessionConfig, SessionLimits, Side,
    SubscribeParameters, Transmit,
};
use crate::wire::{
    BroadcastPath, ErrorCode, GroupHeader, GroupRange, GroupSequence, HopId, Setup, StreamHeads, StreamId, SubscribeOk,
    TrackName, Transcoder, Version, stream_error,
};

/// Runs an input. An error says what does not hold.
pub fn exercise(input: &[u8]) -> Result<(), String> {
    let mut exercise = Exercise::new(input.first().is_some_and(|byte| byte % 2 == 1));
    let mut rest = input.get(1..).unwrap_or_default();
    while let [kind, stream, length, behind @ ..] = rest {
        let (bytes, next) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = next;
        exercise.operate(*kind, u64::from(*stream), bytes);
        exercise.drain()?;
    }
    exercise.finish()
}

/// Inputs to begin with, and their names.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let setup = operation(0, 2, &[0xaf, 0, 0, 0]);
    let publish = operation(0, 0, b"\x1d\x00\x0a\x00\x01\x01a\x01b\x09\x00\x08\x64");
    let group = operation(1, 6, &[0x71, 9, 1, 0, 2, 0x10, 5, 1, b'x', 0, 0, 0, 3]);
    let sequences: [(&str, Vec<Vec<u8>>); 6] = [
        ("setup", vec![setup.clone()]),
        (
            "subscribe",
            vec![
                setup.clone(),
                operation(0, 0, b"\x03\x00\x0c\x00\x01\x01a\x01b\x02\x10\x01\x11\x01\x02"),
                operation(0, 0, &[0x02, 0, 4, 2, 1, 0x10, 0]),
                operation(3, 0, &[]),
            ],
        ),
        (
            "publish",
            vec![
                setup.clone(),
                publish,
                operation(6, 0, &[]),
                group.clone(),
                operation(0, 0, &[0x0b, 0, 3, 2, 1, 0]),
            ],
        ),
        (
            "namespaces",
            vec![
                setup.clone(),
                operation(5, 0, &[]),
                operation(0, 1, b"\x07\x00\x01\x00\x08\x00\x03\x01\x01a\x0e\x00\x03\x01\x01a"),
                operation(0, 0, b"\x06\x00\x05\x00\x01\x01a\x00"),
                operation(0, 4, &[0x50, 0, 3, 2, 0, 0]),
            ],
        ),
        (
            "track",
            vec![
                setup.clone(),
                operation(6, 0, &[]),
                operation(0, 1, &[0x04, 0, 4, 9, 0, 0x08, 0x64]),
                group,
                operation(4, 0, &[0x0f, 9, 3, 2, 0x10, 9, 1]),
                operation(1, 10, &[0x10, 9, 2, 128, 0, 1, b'a', 0, 0, 4]),
            ],
        ),
        (
            "refused",
            vec![
                setup,
                operation(0, 0, b"\x16\x00\x02\x00\x01"),
                operation(1, 6, &[0xf0, 0x13, 0x2b, 0x3e, 0x28]),
            ],
        ),
    ];
    sequences
        .into_iter()
        .map(|(name, operations)| (name.to_owned(), [vec![0], operations.concat()].concat()))
        .collect()
}

fn operation(kind: u8, stream: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[kind, stream, length][..], bytes].concat()
}

struct Exercise {
    session: Session,
    requests: Vec<StreamId>,
    is_ended: bool,
}

impl Exercise {
    fn new(is_client: bool) -> Self {
        let session = Session::new(SessionConfig {
            side: if is_client { Side::Client } else { Side::Server },
            version: Version::Moqt18,
            setup: Setup::default(),
            hop: HopId(1),
            limits: SessionLimits {
                groups_max: 8,
                requests_max: 16,
                announced_max: 8,
                subscriptions_max: 4,
                ..SessionLimits::default()
            },
            heads: StreamHeads::default(),
        });
        Self {
            session,
            requests: Vec::new(),
            is_ended: false,
        }
    }

    fn operate(&mut self, kind: u8, stream: u64, bytes: &[u8]) {
        let id = StreamId(stream);
        let bytes = Bytes::copy_from_slice(bytes);
        match kind % 8 {
            0 => self.session.handle_stream(id, bytes, false, stream),
            1 => self.session.handle_stream(id, bytes, true, stream),
            2 => self.session.handle_reset(id, ErrorCode(1)),
            3 => self.session.handle_stop_sending(id),
            4 => self.session.handle_datagram(bytes),
            5 => drop(self.session.request_announce(&BroadcastPath::root())),
            6 => {
                let subscribed = self.session.subscribe(SubscribeParameters {
                    broadcast: BroadcastPath::new("a"),
                    track: TrackName::from("b"),
                    epoch: 0,
                    priority: 1,
                    ordered: false,
                    max_latency_ms: 0,
                    range: GroupRange::default(),
                });
                if let Some((id, _)) = subscribed.filter(|_| stream % 2 == 1) {
                    self.session.unsubscribe(id);
                }
            }
            _ => {
                if let Some(request) = self.requests.pop() {
                    match stream % 3 {
                        0 => self.session.finish(request),
                        1 => self.session.refuse(request, stream_error::NOT_FOUND),
                        _ => self.session.goaway(""),
                    }
                }
            }
        }
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(event) = self.session.poll_event() {
            self.answer(event)?;
        }
        while let Some(transmit) = self.session.poll_transmit() {
            if self.is_ended {
                return Err(format!("{transmit:?} after the end"));
            }
            self.is_ended = matches!(transmit, Transmit::Close { .. });
        }
        Ok(())
    }

    fn answer(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Request(RequestEvent::Subscribe { request, message }) => {
                self.requests.push(request);
                let ok = SubscribeOk {
                    priority: 1,
                    ordered: false,
                    max_latency_ms: 0,
                    start: None,
                    end: None,
                    timescale: Some(1000),
                };
                self.session.subscribe_ok(request, &ok, None);
                let header = GroupHeader {
                    subscribe: message.id,
                    sequence: GroupSequence(0),
                    frame_start: 0,
                };
                if !self.session.group_header(&header, &mut BytesMut::new()) {
                    return Err("a group that cannot be said".to_owned());
                }
            }
            Event::Announcement(AnnouncementEvent::AnnounceRequest { request, .. }) => {
                self.requests.push(request);
                let suffix = BroadcastPath::new("x");
                self.session.announce(request, &suffix);
                self.session.unannounce(request, &suffix);
            }
            Event::Media(MediaEvent::GroupChunk { chunk, .. }) => {
                if chunk.bytes.is_empty() {
                    return Err("an empty chunk".to_owned());
                }
                let mut transcoder = Transcoder::new(crate::wire::FrameForm::Timed, 0, None);
                transcoder.push(&chunk, &mut |_| {});
            }
            Event::Answer(AnswerEvent::SubscriptionClosed { id, .. }) => self.session.unsubscribe(id),
            _ => {}
        }
        Ok(())
    }

    /// When all streams are reset nothing is left.
    fn finish(mut self) -> Result<(), String> {
        for stream in (0..=255).map(StreamId).filter(|stream| stream.0 != 2 && stream.0 != 3) {
            self.session.handle_reset(stream, ErrorCode(0));
            self.drain()?;
        }
        let live = self.session.stats().live;
        let left = live.requests + live.requests_held + live.announced;
        match left {
            0 => Ok(()),
            _ => Err(format!("left over: {live:?}")),
        }
    }
}
