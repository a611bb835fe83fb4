//! Music and prompts: files of audio as broadcasts of a relay's shard.
//!
//! [`Player::start`] starts one on a shard, [`Player::load`] says which directories have the files. Each WAV or Ogg Opus file
//! of the one is the broadcast `moh/<name>`, each of the other `prompt/<name>`. A thread that is no shard's reads and encodes
//! them, once. [`Sound`] and [`Track`] are for who plays a file by itself.
//!
//! | what | behaviour |
//! |---|---|
//! | tracks | `audio` and `audio.opus`, `audio.pcmu`, `audio.pcma`, `audio.g722`, `catalog.json`. `audio` is of Opus |
//! | Ogg Opus of 20 ms | goes out as it is in the file; other packets, WAV and other codecs are encoded when the file is read |
//! | nobody hears it | nothing is sent, and its place is kept |
//! | music | goes on from there, and begins anew at its end |
//! | a prompt | begins when the first one hears it; who comes meanwhile hears the rest; at its end its tracks are reset with CANCEL. Then it begins anew for the next |
//! | no file `default` of music | soft tones are played as `moh/default`. They are made when they are wanted first |
//! | a file that is played once ([`Player::announcer`]) | is a broadcast of its own, which begins when it is heard first, or after 2 s; at its end it is gone, and who asked is told |
//! | numbers, timestamps | go up by 20 ms, all tracks alike, and are those of the wall clock when it begins |
//! | who comes while it is played | hears at first what was played in the last 300 ms, at most |
//! | the shard is late | up to 5 frames follow at once, the rest is left out and counted |
//! | a file that is none, or finds no room | is told, and not played; others are |
//!
//! Limits are in [`limits`].
//!
//! # Example
//!
//! A file of music becomes the broadcast `moh/jazz`:
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! use moqswitch_player::{Player, Shelves};
//! use moqswitch_relay::{Relay, RelayOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let relay = Relay::start(RelayOptions {
//!     listen: ([127, 0, 0, 1], 0).into(),
//!     shards: NonZeroUsize::new(1),
//!     ..RelayOptions::default()
//! })?;
//! let music = std::env::temp_dir().join(format!("moqswitch-music-{}", std::process::id()));
//! # use moqswitch_containers::{Encoding, WavWriter};
//! # std::fs::create_dir_all(&music)?;
//! # let file = std::fs::File::create(music.join("jazz.wav"))?;
//! # let mut wav = WavWriter::new(file, Encoding::Mulaw, 1, 8000)?;
//! # wav.write(&[0xff; 8000])?;
//! # wav.finish()?;
//! let player = Player::start(&relay.ports()[0])?;
//! // The answer comes when everything is read and encoded; this may be asked again when files have changed.
//! let outcome = player.load(Shelves { music: Some(music.clone()), ..Shelves::default() }).blocking_recv()?;
//! assert_eq!((outcome.music, outcome.faults.len()), (1, 0));
//!
//! drop(player);
//! relay.drain(Duration::ZERO);
//! relay.join()?;
//! # std::fs::remove_dir_all(music)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod clip;
mod conversion;
mod ending;
mod jukebox;
pub mod limits;
mod melody;
mod once;
mod player;
mod shelf;
mod sound;
mod statistics;
mod track;

pub use clip::{CODECS, Clip};
pub use ending::Played;
pub use melody::melody;
pub use once::Announcer;
pub use player::{Outcome, Player};
pub use shelf::{Fault, Inspection, Shelf, Shelves};
pub use sound::{Sound, SoundError};
pub use statistics::PlayerStatistics;
pub use track::Track;
