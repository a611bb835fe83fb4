//! Telephone audio without I/O: RTP packets become frames for a broadcast, and frames of a broadcast become RTP packets.
//!
//! No socket, no clock, no thread. Whoever embeds this crate hands in datagrams, frames and what time it is.
//!
//! - [`rtp`]: the header of a packet.
//! - [`Ingress`]: packets of one sender, in the order of a broadcast's groups. Payloads are not touched.
//! - [`Egress`]: frames of one speaker, as packets of one source; of G.711 and G.722 cut and joined, if packets are to be of one
//!   size.
//! - [`dtmf`]: telephone events (RFC 4733), both ways.
//! - [`rtcp`]: packets of RTCP; [`Reports`]: what both ends tell each other by them.
//! - [`quality`]: what that is worth.
//! - [`srtp`]: both of them encrypted and authenticated.
//! - [`Latch`]: where packets come from and go to, when a peer is behind an address translator.
//!
//! One packet is one group of one frame. The group's number is the packet's sequence number, counted on beyond 2^16; so a
//! gap in the numbers is a packet that was lost. Packets that are no frames, digits and comfort noise, have no group. The frame's timestamp is the packet's, counted on beyond 2^32, in the
//! codec's clock. Silence suppression leaves a gap in timestamps, not in numbers. Both survive the way there and back.
//!
//! # Example
//!
//! A packet becomes a group's number and timestamp, and no more is done to it:
//!
//! ```
//! use std::time::Duration;
//!
//! use moqswitch_media::Ingress;
//! use moqswitch_media::rtp::Packet;
//!
//! # fn main() -> Result<(), moqswitch_media::rtp::Malformed> {
//! // Version 2, payload type 0, number 7, timestamp 160, source 1; then a payload.
//! let datagram = [[0x80, 0, 0, 7, 0, 0, 0, 160, 0, 0, 0, 1].as_slice(), &[0xff; 160]].concat();
//! let packet = Packet::parse(&datagram)?;
//! let mut ingress = Ingress::new(8000);
//! let heard = ingress.take(&packet, Duration::ZERO).expect("the first one is taken");
//! assert_eq!((heard.group, heard.timestamp), (0, 0));
//! assert_eq!(packet.payload.len(), 160);
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod dtmf;
pub mod quality;
pub mod rtcp;
pub mod rtp;
pub mod srtp;

mod burst;
mod egress;
mod ingress;
mod latch;
mod packets;
mod reports;

pub use burst::Bursts;
pub use egress::{Egress, EgressStatistics, Speech};
pub use ingress::{Heard, Ingress, IngressStatistics, Reception};
pub use latch::{Latch, Verdict};
pub use packets::Packing;
pub use reports::{Now, Own, PeerStatistics, Reports};
