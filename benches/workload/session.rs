//! The relay's session with a publisher, who sends it groups.

use bytes::{Bytes, BytesMut};
use moqswitch_proto::session::{
    Event, MediaEvent, Session, SessionConfig, SessionEvent, SessionLimits, Side, SubscribeParameters,
};
use moqswitch_proto::wire::{
    BroadcastPath, GroupHeader, GroupRange, GroupSequence, HopId, Setup, StreamHeads, StreamId, SubscribeId, UniType,
};

use super::group::{self, VERSION};

/// A session that has met its peer and subscribed to one track.
pub(crate) struct Subscriber {
    session: Session,
    subscribe: SubscribeId,
    /// One-way streams the peer has opened.
    streams: u64,
}

impl Subscriber {
    pub(crate) fn new() -> Self {
        let mut session = Session::new(SessionConfig {
            side: Side::Server,
            version: VERSION,
            setup: Setup::default(),
            hop: HopId(1),
            limits: SessionLimits::default(),
            heads: StreamHeads::default(),
        });
        let mut setup = BytesMut::new();
        UniType::Setup
            .encode(VERSION, &mut setup)
            .expect("the draft has a SETUP");
        Setup::default().encode(VERSION, &mut setup).expect("a short SETUP");
        session.handle_stream(peer_stream(0), setup.freeze(), true, 0);
        let (subscribe, _) = session.subscribe(parameters()).expect("the session is open");
        assert!(matches!(
            session.poll_event(),
            Some(Event::Session(SessionEvent::Setup(_)))
        ));
        while session.poll_transmit().is_some() {}
        Self {
            session,
            subscribe,
            streams: 1,
        }
    }

    /// The stream of a group of the track.
    pub(crate) fn group(&self, frames: &[u8]) -> Bytes {
        let header = GroupHeader {
            subscribe: self.subscribe,
            sequence: GroupSequence(70_000),
            frame_start: 0,
        };
        group::stream(&header, frames)
    }

    /// Takes a group in, on a stream of its own, and what it says out after each piece, as a
    /// shard does. Returns the frames heard of.
    pub(crate) fn receive(&mut self, pieces: &[Bytes]) -> usize {
        let stream = peer_stream(self.streams);
        self.streams += 1;
        let (mut frames, mut is_ended) = (0, false);
        for (index, piece) in pieces.iter().enumerate() {
            let fin = index + 1 == pieces.len();
            self.session.handle_stream(stream, piece.clone(), fin, 0);
            while let Some(event) = self.session.poll_event() {
                let Event::Media(event) = event else {
                    panic!("{event:?} of a whole group")
                };
                match event {
                    MediaEvent::GroupStart { stream, .. } => self.session.set_group_token(stream, TOKEN),
                    MediaEvent::GroupChunk { token, chunk, .. } => {
                        assert_eq!(token, TOKEN);
                        frames += chunk.marks.len();
                    }
                    MediaEvent::GroupEnd { token, .. } => {
                        assert_eq!(token, TOKEN);
                        is_ended = true;
                    }
                    MediaEvent::GroupReset { .. } | MediaEvent::Datagram { .. } => {
                        panic!("{event:?} of a whole group")
                    }
                }
            }
        }
        assert!(is_ended, "the group did not end");
        frames
    }
}

/// The peer is the client, whose one-way streams are 2, 6, 10, ...
fn peer_stream(index: u64) -> StreamId {
    StreamId(4 * index + 2)
}

fn parameters() -> SubscribeParameters {
    SubscribeParameters {
        broadcast: BroadcastPath::new("call/1/2"),
        track: "audio".into(),
        epoch: 0,
        priority: 5,
        ordered: false,
        max_latency_ms: 1000,
        range: GroupRange::default(),
    }
}

/// What routing would call the group.
const TOKEN: u64 = 42;
