//! Harness of the interop suite: a relay process, clients of the published peer crates, and what
//! is needed to disturb them (a port-changing forwarder, a hand-driven QUIC peer).
//!
//! The relay under test is `moqswitch` from the workspace's target directory, or the binary named
//! by `MOQSWITCH_INTEROP_RELAY`. Tests live in `tests/`, one file for each thing the relay promises.

pub mod attack;
pub mod call;
pub mod carrier;
pub mod draft;
pub mod forger;
pub mod forwarder;
pub mod matrix;
pub mod metrics;
pub mod payload;
pub mod peer;
pub mod raw_peer;
pub mod relay;

pub use call::Call;
pub use carrier::{Carrier, Dial};
pub use draft::Draft;
pub use forwarder::Forwarder;
pub use matrix::{Case, Placement, run_matrix};
pub use payload::{PlannedGroup, Random};
pub use peer::{Publisher, Subscriber};
pub use raw_peer::RawPeer;
pub use relay::Relay;
