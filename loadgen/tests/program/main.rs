//! The load generator as a program, against relays whose faults are known.

#![allow(clippy::unwrap_used, reason = "a failure of a test is a panic")]

mod behaviour;
mod finished;
mod merge;
mod output;
mod phone;
mod relays;
mod replay;
mod report;
mod sip;
mod stub;
mod survive;
mod truth;
