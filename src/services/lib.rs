//! Audio that a relay's shards make of what is published: the track `audio` in other codecs, as `audio.opus`, `audio.pcmu`,
//! `audio.pcma` and `audio.g722`, while somebody hears them.
//!
//! [`Pool::start`] starts worker threads; [`install`] lets a shard use them. A subscription to such a track of a broadcast
//! below `call/`, `moh/` or `prompt/` is served by the shard of the broadcast's publisher: one transcoder for each track,
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

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod catalog;
mod limits;
mod ordering;
mod pool;
mod taps;
mod transcoders;

pub use limits::{FULL, STREAMS_PER_WORKER_MAX};
pub use pool::{Pool, PoolStatistics};
pub use taps::{Tap, Tapped, Taps, TapsBusy};
pub use transcoders::install;
