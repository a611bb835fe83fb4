//! Audio that a relay's shards make of what is published: the track `audio` in other codecs, as `audio.opus`, `audio.pcmu`,
//! `audio.pcma` and `audio.g722`, while somebody hears them; and several broadcasts as one, for who can take one only.
//!
//! [`Pool::start`] starts worker threads; [`install`] lets a shard use them. A subscription to such a track of a broadcast
//! below `call/` is served by the shard of the broadcast's publisher: one transcoder for each track,
//! however many hear it. The shard's thread decodes nothing; frames go to a worker and come back by bounded queues.
//!
//! | what | behaviour |
//! |---|---|
//! | the codec of `audio` | is what the broadcast's `catalog.json` says, in hang's form. When it changes, the transcoder does |
//! | it is the codec that is wanted | payloads pass as they are |
//! | numbers, timestamps | without gaps, in the clock of the track's codec; silence is a gap in timestamps |
//! | groups out of order | are waited for, 40 ms or 3 groups |
//! | groups that are lost | are concealed, at most 5 |
//! | every worker has its fill | the subscription is closed with [`FULL`], and counted |
//! | frames wait for longer than 100 ms | they are dropped and counted |
//! | the broadcast or its `audio` ends | the track ends with the same code |
//! | nobody hears the track any more | its transcoder is gone |
//!
//! [`Taps`] listen to legs for whoever wants their frames on another thread, such as a recorder.
//!
//! [`install_mixers`] lets a shard mix: [`MixPort::mix`] says who is heard by whom, and the shard publishes it.
//!
//! | what | behaviour |
//! |---|---|
//! | nobody hears a mix | nobody it consists of is subscribed to, and nothing is decoded |
//! | several mixes of one call | each source is decoded once; those of G.711 who do not speak share one encoding |
//! | who says something | does not hear itself |
//! | more speak than eight | the loudest are heard |
//! | somebody comes or goes | two tones say so |
//! | a source comes unevenly | up to ten of its frames wait; what is lost is concealed |
//! | a worker is late by a frame or more | those frames are left out and counted |
//!
//! # Example
//!
//! A shard transcodes what is published below `call/`, and somebody hears two others as one:
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! use moqswitch_proto::wire::BroadcastPath;
//! use moqswitch_relay::{Relay, RelayOptions};
//! use moqswitch_services::{Codec, Mix, Pool, install, install_mixers};
//!
//! let relay = Relay::start(RelayOptions {
//!     listen: ([127, 0, 0, 1], 0).into(),
//!     shards: NonZeroUsize::new(1),
//!     ..RelayOptions::default()
//! })?;
//! let (shard, pool) = (&relay.ports()[0], Pool::start(1)?);
//! install(shard, &pool)?.blocking_recv()??;
//! let (mixers, is_installed) = install_mixers(shard, &pool)?;
//! is_installed.blocking_recv()??;
//!
//! let path = |name: &str| BroadcastPath::new(name);
//! let hears = vec![path("call/7/alice"), path("call/7/bob")];
//! mixers.mix(path("mix/7/carol"), Mix { codec: Codec::Opus, hears, own: Some(path("call/7/carol")) })?;
//! mixers.end(path("mix/7/carol"))?;
//! // Nobody subscribed, so nothing was decoded.
//! assert_eq!(pool.statistics().frames, 0);
//! relay.drain(Duration::ZERO);
//! relay.join()?;
//! # Ok::<(), anyhow::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod catalog;
mod limits;
mod mixers;
mod ordering;
mod pool;
mod results;
mod room;
mod source;
mod taps;
mod transcoders;
mod window;
mod worker;

pub use moqswitch_audio::Codec;

pub use limits::{FULL, MIXES_MAX, STREAMS_PER_WORKER_MAX};
pub use mixers::{Mix, MixPort, MixersBusy, install_mixers};
pub use pool::{Pool, PoolStatistics};
pub use taps::{Tap, Tapped, Taps, TapsBusy};
pub use transcoders::install;
