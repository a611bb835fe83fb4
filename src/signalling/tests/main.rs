//! The signalling as clients see it: a server on loopback, and real WebSockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod control;
mod harness;

mod browsing;
mod clock;
mod complete;
mod contract;
mod crowd;
mod curl;
mod deciding;
mod failing;
mod faults;
mod gateway;
mod gruu;
mod guarding;
mod innocent;
mod library;
mod main_path;
mod mediaswitch;
mod nodes;
mod outward;
mod races;
mod readme;
mod recordings;
mod refused;
mod replaced;
mod reports;
mod rest;
mod restart;
mod secrets;
mod security;
mod seeds;
mod stored;
mod storms;
mod transcripts;
mod trunks;
