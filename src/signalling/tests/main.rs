//! The signalling as clients see it: a server on loopback, and real WebSockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

mod crowd;
mod faults;

mod main_path;
mod outward;
mod readme;
mod replaced;
mod rest;
mod restart;
mod seeds;
mod stored;
mod transcripts;
