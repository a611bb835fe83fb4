//! moq-lite, and the IETF's moq-transport-18, without I/O: messages, sessions, and QMux over the messages of a WebSocket.
//!
//! No socket, no clock, no thread: whoever embeds this crate hands bytes in and takes bytes and events out. It builds for
//! any target that has `std`, WebAssembly included, and needs no C compiler.
//!
//! # Chapters
//!
//! - [`wire`]: bytes to messages and back, for each draft (moq-lite-01 to -06 and gomoqt's dialect of 01).
//! - [`session`]: one peer as a state machine. Streams go in, [`Event`](session::Event)s come out.
//! - [`ietf`]: the same for the IETF's moq-transport (draft 18).
//! - [`peer`]: a session of either, as its connection has agreed on.
//! - [`qmux`]: the streams, datagrams and flow control of QUIC over an ordered, reliable carrier.
//! - [`limits`]: every bound of what is on the wire.
//!
//! `session`, `ietf` and `qmux` use `wire`; `ietf` tells what it has to tell by the events of `session`. Who has a QUIC connection begins with
//! [`Session`](session::Session); who has a WebSocket puts a [`qmux::Connection`] between; who only looks at bytes needs
//! [`wire`] alone.
//!
//! # A session in memory
//!
//! A session never reads or writes. The caller does both: it gives what arrives to the `handle_*` methods, then does what
//! [`poll_transmit`](session::Session::poll_transmit) says and looks at what
//! [`poll_event`](session::Session::poll_event) tells. Here a function stands for the connection, so two sessions meet
//! without one. (`cargo run -p moqswitch-proto --example in_memory` runs the same.)
//!
//! ```
//! use bytes::BytesMut;
//! use moqswitch_proto::session::{
//!     Event, MediaEvent, RequestEvent, Session, SessionConfig, SessionLimits, Side, SubscribeParameters, Transmit,
//! };
//! use moqswitch_proto::wire::{FrameHeader, GroupHeader, GroupRange, GroupSequence, HopId, Setup, StreamHeads, Version};
//!
//! /// The connection between two ends: does for `to` what `from` asks for.
//! fn carry(from: &mut Session, to: &mut Session) {
//!     while let Some(transmit) = from.poll_transmit() {
//!         match transmit {
//!             Transmit::Write { stream, data, fin } => to.handle_stream(stream, data, fin, 0),
//!             Transmit::Reset { stream, code } => to.handle_reset(stream, code),
//!             Transmit::StopSending { stream, .. } => to.handle_stop_sending(stream),
//!             Transmit::Close { code, reason } => panic!("closed with {code}: {reason}"),
//!         }
//!     }
//! }
//!
//! /// One end. ALPN would have agreed on the draft; here both name it.
//! fn end(side: Side, hop: u64) -> Session {
//!     Session::new(SessionConfig {
//!         side, version: Version::Lite06, setup: Setup::default(), hop: HopId(hop),
//!         limits: SessionLimits::default(), heads: StreamHeads::default(),
//!     })
//! }
//!
//! let (mut subscriber, mut publisher) = (end(Side::Client, 1), end(Side::Server, 2));
//! // SETUP goes first, then the question. The publisher has read both when `carry` returns.
//! let wanted = SubscribeParameters {
//!     broadcast: "room/ali".into(), track: "audio".into(), epoch: 0, range: GroupRange::default(),
//!     priority: 1, ordered: false, max_latency_ms: 500,
//! };
//! let (id, _stream) = subscriber.subscribe(wanted).expect("nothing is closed");
//! carry(&mut subscriber, &mut publisher);
//!
//! // The answer, and group 0 on a stream of its own: its head, then a frame. Those bytes the caller writes.
//! while let Some(event) = publisher.poll_event() {
//!     let Event::Request(RequestEvent::Subscribe { request, message }) = event else { continue };
//!     publisher.subscribe_start(request, GroupSequence(0));
//!     carry(&mut publisher, &mut subscriber);
//!     let group = GroupHeader { subscribe: message.id, sequence: GroupSequence(0), frame_start: 0 };
//!     let mut bytes = BytesMut::new();
//!     assert!(publisher.group_header(&group, &mut bytes));
//!     let frame = FrameHeader { timestamp_delta: 0, size: 5 };
//!     frame.encode(publisher.version().frame_form(), &mut bytes).expect("five bytes are within the limits");
//!     bytes.extend_from_slice(b"hello");
//!     subscriber.handle_stream(publisher.open_uni(), bytes.freeze(), true, 0);
//! }
//!
//! // What the subscriber is told. A chunk has the bytes as they came; its marks say where frames begin.
//! let mut received = Vec::new();
//! while let Some(event) = subscriber.poll_event() {
//!     let Event::Media(event) = event else { continue };
//!     match event {
//!         MediaEvent::GroupStart { header, .. } => assert_eq!(header.subscribe, id),
//!         MediaEvent::GroupChunk { chunk, .. } => for mark in &chunk.marks {
//!             let payload = mark.offset as usize + usize::from(mark.header_bytes);
//!             received.extend_from_slice(&chunk.bytes[payload..]);
//!         },
//!         MediaEvent::GroupEnd { .. } => {}
//!         MediaEvent::GroupReset { code, .. } => panic!("the group ended with {code}"),
//!         MediaEvent::Datagram { .. } => unreachable!("nothing was sent as one"),
//!     }
//! }
//! assert_eq!(received, b"hello");
//! ```
//!
//! Over a real connection three things differ. Bytes come in pieces, so a group comes as many chunks. A write may be taken
//! in part, which [`Written`](wire::Written) is for. And the time of arrival, 0 above, becomes the timestamp of frames of
//! drafts that carry none.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ietf;
pub mod limits;
pub mod peer;
pub mod qmux;
pub mod session;
pub mod wire;

/// The examples of the README are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
