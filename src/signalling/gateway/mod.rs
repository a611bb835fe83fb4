//! Gateways to other telephone networks: what they need of the switch.

mod media;

pub use media::{
    NoRtp, RtpAgreed, RtpError, RtpEvent, RtpEvents, RtpLeg, RtpLegs, RtpOpened, RtpPeer, RtpRefused, RtpStatistics,
    RtpWanted,
};
