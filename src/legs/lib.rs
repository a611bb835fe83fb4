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
//! | packets from elsewhere than the peer | are dropped and counted; see [`moqswitch_media::Latch`] |
//! | telephone events (RFC 4733) | are groups of JSON on `dtmf`, at the beginning and at the end of each: `{"digit":"5","duration_ms":160,"at_ms":1200}` |
//! | a broadcast that is heard | goes out at once in the order of its groups; what is early waits 40 ms for what is before it |
//! | digits of that broadcast, and those that [`LegsPort::press`] is told | go out as telephone events; what is said meanwhile does not |
//! | RTCP | is neither sent nor read yet |

#![warn(missing_docs)]

pub mod limits;

mod application;
mod codec;
mod command;
mod leg;
mod port;
mod ports;
mod tracks;

pub use codec::LegCodec;
pub use command::LegName;
pub use leg::{LegSettings, LegStatistics};
pub use port::{Legs, LegsBusy, LegsPort};
pub use ports::{PortError, Ports};
