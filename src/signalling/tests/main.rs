//! The signalling as clients see it: a server on loopback, and real WebSockets.

mod harness;

mod golden;
mod main_path;
