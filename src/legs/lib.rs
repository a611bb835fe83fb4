//! Legs of telephone calls on a relay's shards: what comes as RTP is a broadcast, and a broadcast goes out as RTP.
//!
//! [`Legs::install`] starts an application on one shard. From any thread it is told to open a leg on a socket, where the peer
//! is, which broadcast it hears, and to close it; it answers with what was counted. Media never leaves the shard's thread.
//!
//! A leg publishes one broadcast with the tracks `audio`, `dtmf` and `catalog.json`. A packet is a group of one frame,
//! whose payload is the packet's, untouched; its number and timestamp are those of the packet, counted on. So what a
//! telephone says to another through the relay arrives as it was sent: payloads, gaps, order.
//!
//! | what | behaviour |
//! |---|---|
//! | audio that nobody subscribes to | is counted and dropped |
//! | audio of another codec than was agreed on | is counted and dropped, and told once ([`LegEvent::OtherCodec`]) |
//! | packets from elsewhere than the peer | are dropped and counted; see [`moqswitch_media::Latch`] |
//! | comfort noise (RFC 3389, payload type 13) | is counted and dropped: who hears the leg has a gap in time and none in numbers, which is silence |
//! | telephone events (RFC 4733) | are groups of JSON on `dtmf`, at the beginning and at the end of each: `{"digit":"5","duration_ms":160,"at_ms":1200}`. Whoever opened the leg is told as well, at the end. They leave no gap in the numbers of audio |
//! | a broadcast that is heard | goes out at once in the order of its groups; what is early waits 40 ms for what is before it. With a `ptime`, frames of G.711 and G.722 are cut and joined to it |
//! | a broadcast of music or a prompt, below `moh/` or `prompt/` | its track `audio.<codec>` is heard, that of the leg's codec; of others it is `audio` |
//! | another broadcast, another codec | goes on with the source's numbers, and with its timestamps by the time that passed |
//! | a subscription that is refused or closed | is tried again after 250 ms, then twice as long each time, up to 32 s |
//! | digits of that broadcast, and those that [`LegsPort::press`] is told | go out as telephone events; what is said meanwhile does not |
//! | a leg whose peer is told that it is recorded ([`LegsPort::announce`]) | sends a tone at once and again after a while: with G.711 on top of what is heard, otherwise in its place. On hold it waits |
//! | a leg that does not send | is not subscribed to what it hears, and sends nothing but RTCP |
//! | a leg that does not receive | drops what comes. Where its peer is does not change by it |
//! | RTCP (RFC 3550) | SR, RR, SDES and BYE, on the port above or with RTP, every 5 s: loss, jitter and round trip of both ways are in [`LegStatistics`]. With `has_metrics` also VoIP metrics (RFC 3611), which are read in any case. What else comes is passed over |
//! | a peer that ought to speak, and of which nothing comes for 30 s | is told ([`LegEvent::Silent`]) |
//! | a leg that cannot be opened | is told ([`LegEvent::Refused`]) |
//! | a peer whose connection is elsewhere ([`FrameLegs`]) | says frames of 20 ms and takes what is heard, by queues; what finds no room is lost |
//! | WebRTC ([`LegsPort::open_webrtc`]) | all legs of a shard share a socket. Whose a datagram is the name in its checks of ICE says, and then its address; others are dropped. A session that ends, or whose peer is gone, is told ([`LegEvent::Gone`]) |
//! | SRTP, with keys of each side's own | what comes and is not authentic is dropped and counted before anything else is done with it, RTCP as well. Keys may change in mid-call |
//!
//! # Example
//!
//! A leg that speaks G.711 is opened, told where its peer is, and hears somebody:
//!
//! ```
//! use std::net::UdpSocket;
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use moqswitch_legs::{LegCodec, LegSettings, Legs};
//! use moqswitch_proto::wire::BroadcastPath;
//! use moqswitch_relay::{Relay, RelayOptions};
//! use tokio::sync::{Notify, oneshot};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let relay = Relay::start(RelayOptions {
//!     listen: ([127, 0, 0, 1], 0).into(),
//!     shards: NonZeroUsize::new(1),
//!     ..RelayOptions::default()
//! })?;
//! let (legs, is_installed) = Legs::install(&relay.ports()[0], Arc::new(Notify::new()))?;
//! is_installed.blocking_recv()??;
//!
//! // What comes to this socket is the broadcast `call/7/bob`. Payload type 0; the source is to be random.
//! let rtp = UdpSocket::bind("127.0.0.1:0")?;
//! let settings = LegSettings::new(BroadcastPath::new("call/7/bob"), LegCodec::Pcmu, 0, (0x1234_5678, 1, 160));
//! let leg = legs.open(rtp, None, settings)?;
//! legs.meet(leg, "127.0.0.1:5004".parse()?, false)?;
//! legs.hear(leg, Some(BroadcastPath::new("call/7/alice").into()))?;
//!
//! let (reply, counted) = oneshot::channel();
//! legs.close(leg, Some(reply))?;
//! assert_eq!(counted.blocking_recv()?.foreign, 0);
//! relay.drain(Duration::ZERO);
//! relay.join()?;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod limits;

mod announcing;
mod application;
mod carried;
mod carrying;
mod codec;
mod command;
mod control;
mod digits;
mod entrance;
mod events;
mod expecting;
mod frames;
mod hearing;
mod leg;
mod port;
mod settings;
mod silence;
mod srtp;
mod statistics;
mod tags;
mod tone;
mod tracks;
mod udp_ports;
mod way_out;
mod window;

pub use codec::LegCodec;
pub use command::{LegHears, LegName, LegPeer};
pub use events::{LegEvent, LegRefused};
pub use frames::{FrameLeg, FrameLegSettings, FrameLegs, FrameLegsPort, HeardFrame};
pub use moqswitch_media::srtp::{Key as SrtpKey, Suite as SrtpSuite};
pub use port::{Legs, LegsBusy, LegsPort};
pub use settings::{EventType, LegSettings, Rtcp};
pub use srtp::SrtpKeys;
pub use statistics::LegStatistics;
pub use udp_ports::{PortError, Ports};
