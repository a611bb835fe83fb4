//! Legs that speak RTP, as the gateway needs them. Nothing waits.

use std::net::SocketAddr;
use std::sync::Arc;

use moqswitch_sip::sdp::Agreed;
use tokio::sync::Notify;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RtpLegId(pub u64);

/// An open one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpLeg {
    /// Its name.
    pub id: RtpLegId,
    /// Where it receives: what a description says.
    pub address: SocketAddr,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// All ports are used, or all places for legs.
    #[error("there is no room for a leg of RTP")]
    Exhausted,
    /// A shard has as many commands as may wait.
    #[error("the shard is busy")]
    Busy,
}

/// What happened to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpEvent {
    /// A shard did not take it.
    Refused(RtpLegId),
    /// A key was pressed, and let go.
    Digit {
        /// Whose.
        leg: RtpLegId,
        /// Of `0-9A-D*#`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// Nothing came for long, where something should.
    Silent(RtpLegId),
}

/// All of them.
pub trait RtpLegs: Send {
    /// Opens one whose broadcast is `path`: `call/<call>/<leg>`. `peer` says which family of addresses it can reach, if that
    /// is known.
    fn open(&mut self, path: &str, peer: Option<SocketAddr>) -> Result<RtpLeg, RtpError>;
    /// What is spoken, and with whom, from here on. `is_translated`: packets may come from elsewhere than is said.
    fn agree(&mut self, leg: RtpLegId, agreed: &Agreed, is_translated: bool) -> Result<(), RtpError>;
    /// The peer hears this broadcast, or nothing.
    fn hear(&mut self, leg: RtpLegId, path: Option<&str>) -> Result<(), RtpError>;
    /// Sends a key to the peer.
    fn press(&mut self, leg: RtpLegId, digit: char, duration_ms: u32) -> Result<(), RtpError>;
    /// Ends one. Its port rests.
    fn close(&mut self, leg: RtpLegId);
    /// Rung when something happened.
    fn bell(&self) -> Arc<Notify>;
    /// What happened.
    fn poll(&mut self) -> Option<RtpEvent>;
}
