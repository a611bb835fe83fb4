//! The program `moqswitch`: configuration, checks of the host and HTTP around the relay of [`moqswitch_relay`].
//!
//! ```text
//! switch               the whole: start order, signals, shutdown
//!   control            HTTP and WebSocket on their own thread; reaches shards by messages
//!   browsers           legs of WebRTC
//!   authority          the auth server that decides on sessions
//!   telephony          calls: their thread, and what they ask of the relay
//!   uploads            finished recordings to an S3-compatible store
//!   music              files of music and prompts, played on a shard
//!   mesh               links to other relays, and `moqswitch mesh`
//!   connector          connections to those who are asked by HTTP
//!   nodes              other machines of one phone system, by NATS
//!   check              will this configuration run on this host?
//!   config             flags, environment and file to one validated configuration
//!   directory          users, keys of programs, webhooks, secrets and dialplan from files
//!   keys               keys of tokens from files
//!   state              what outlives the process: the key of stateless resets
//!   token user dial    `moqswitch token`, `user` and `dial`: what is made or explained for an operator
//!   handset            `moqswitch say` and `listen`: a mouth and ears for an operator
//!   upgrade            the process that follows this one, or that this one follows
//!   generate           what is printed for an operator: completions, manual pages, what others have made
//!   reload             SIGHUP: what has changed is sent to those it is for
//!   logging signals notify limits
//! ```
//!
//! A configuration is what an operator writes, or what is not right about it:
//!
//! ```
//! use moqswitch::config::Config;
//!
//! let config = Config::from_toml("listen = '127.0.0.1:4443'\nshards = 2")?;
//! assert_eq!(config.relay_options().listen.port(), 4443);
//! let error = Config::from_toml("shards = 'two'").expect_err("that is no number");
//! assert!(error.to_string().contains("shards"));
//! # Ok::<(), moqswitch::config::ConfigError>(())
//! ```
//!
//! `src/README.md` follows a datagram through the relay file by file; `src/OPERATING.md` is for operators.

pub mod authority;
pub mod browsers;
pub mod check;
pub mod config;
mod connector;
pub mod control;
pub mod dial;
pub mod directory;
pub mod generate;
pub mod handset;
pub mod keys;
pub mod limits;
pub mod logging;
pub mod mesh;
pub mod music;
mod nodes;
pub mod notify;
mod reload;
pub mod signals;
pub mod state;
pub mod switch;
mod telephony;
pub mod token;
pub mod upgrade;
mod uploads;
pub mod user;
