//! The HTTP edge of the call plane: signalling by WebSocket, REST, events and call records.
//!
//! [`Signalling::start`] starts the calls thread, which owns the [call plane](moqswitch_calls), its timers and the sessions
//! of all devices. It translates and decides nothing: JSON becomes events of the plane, the plane's actions become JSON.
//! What carries media is told by a [`MediaPlane`] who may do what.
//!
//! The README beside this crate's manifest documents the interfaces.
//!
//! # Example
//!
//! A switch without media: whoever carries it implements [`MediaPlane`]. The routes are for a server of the embedder's.
//!
//! ```
//! use std::time::Duration;
//!
//! use moqswitch_signalling::calls::{Grants, Number, SessionId};
//! use moqswitch_signalling::{Busy, Media, MediaPlane, Settings, Signalling};
//!
//! struct Relay;
//!
//! impl MediaPlane for Relay {
//!     fn grants(&mut self, session: SessionId, grants: &Grants) -> Result<(), Busy> {
//!         // From here on this session may do what `grants` lists, and nothing else.
//!         let _ = (session, grants);
//!         Ok(())
//!     }
//!
//!     fn media(&mut self, session: SessionId) -> Media {
//!         let url = "https://relay.example:4443/".to_owned();
//!         Media { url, token: format!("of-{session}"), expires: Duration::from_secs(3600), certificate_hash: None }
//!     }
//!
//!     fn over(&mut self, _session: SessionId) {}
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings { numbers: vec![Number::new("100")?], ..Settings::default() };
//! let signalling = Signalling::start(settings, Box::new(Relay))?;
//! let routes: axum::Router = signalling.router();
//! # drop(routes);
//! // Every call ends, every client is told.
//! signalling.stop();
//! tokio::runtime::Builder::new_current_thread().build()?.block_on(signalling.ended());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod access;
mod asterisk;
mod clock;
mod control;
mod counters;
mod events;
mod exchange;
#[cfg(any(test, feature = "exercise"))]
pub mod exercise;
mod fake;
mod figures;
mod gateway;
mod journal;
pub mod limits;
mod mailboxes;
mod media;
mod mediaswitch;
mod messages;
mod nodes;
mod outward;
mod port;
mod recordings;
mod records;
mod rest;
mod routes;
mod settings;
mod socket;
mod start;

pub use access::{ApiKey, Entrance, HashError, Scope, Scopes, TokenKey, User, Users};
pub use asterisk::{
    AsteriskChannels, AsteriskSettings, AsteriskWay, ChannelArrived, ChannelCall, ChannelEvent, ChannelHears,
    ChannelId, ChannelOrder, ChannelsBusy,
};
pub use clock::WallClock;
pub use control::{
    Channel, ChannelCommand, ChannelCounts, ChannelError, ChannelLoad, ChannelNews, ChannelNotice, ChannelPool,
    NoChannels,
};
pub use counters::{Place, Refused};
pub use events::EVENT_KINDS;
pub use exchange::is_fault_caught;
pub use fake::{RecordingMedia, RecordingRtp, RtpCommand};
pub use figures::{AsteriskFigures, Figures, Histogram, NodeFigures, RecordFigures, SipFigures};
pub use gateway::{
    Duplex, Encrypted, Encrypting, Encryption, NoRtp, RtpAgreed, RtpError, RtpEvent, RtpEvents, RtpHeard, RtpIceServer,
    RtpKeys, RtpLeg, RtpLegs, RtpMix, RtpOpened, RtpPeer, RtpRefused, RtpStatistics, RtpWanted, SipSettings,
    SipSockets, SrtpPolicy, TrunkEncryption, TrunkGroupSettings, TrunkPlan, TrunkSettings,
};
pub use mailboxes::Mailboxes;
pub use media::{Busy, Media, MediaPlane};
pub use moqswitch_calls as calls;
pub use moqswitch_sip as sip;
pub use nodes::{FromEngine, NodeEngine, NodeLink, NodeName, NodeSettings, NodeTimes, ToEngine, node_link};
pub use outward::{Callback, Webhook};
pub use recordings::{NoRecording, RecordingFigures, RecordingFile, RecordingFilter, Recordings};
pub use settings::{BeforeSync, MediaswitchSettings, RecordSettings, Settings, SocketTimes, StateSettings, UtcOffset};
pub use start::{Signalling, SignallingHandle};
