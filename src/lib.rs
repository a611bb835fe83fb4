//! The program `moqswitch`: configuration, checks of the host and HTTP around the relay of [`moqswitch_relay`].
//!
//! ```text
//! switch               the whole: start order, signals, shutdown
//!   control            HTTP and WebSocket on their own thread; reaches shards by messages
//!   authority            the auth server that decides on sessions
//!   telephony            calls: their thread, and what they ask of the relay
//!   check              will this configuration run on this host?
//!   config             flags, environment and file to one validated configuration
//!   keys               keys of tokens from files
//!   state              what outlives the process: the key of stateless resets
//!   token              `moqswitch token`: keys and tokens made and explained
//!   logging signals reload notify
//! ```
//!
//! `src/README.md` follows a datagram through the relay file by file; `src/OPERATING.md` is for operators.

pub mod authority;
pub mod check;
pub mod config;
pub mod control;
pub mod generate;
pub mod keys;
pub mod limits;
pub mod logging;
pub mod notify;
mod reload;
pub mod signals;
pub mod state;
pub mod switch;
mod telephony;
pub mod token;
