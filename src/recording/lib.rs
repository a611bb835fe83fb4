//! Recordings of calls.
//!
//! [`Recorder`] is told of calls that are to be recorded, on the thread that decides on them. It has others listen to their
//! legs ([`Ears`]), who hand over frames by [`Frames`], a bounded queue. One thread of its own writes the files: it alone waits
//! for the disk, and no call waits for it. [`Archive`] finds, describes and removes what was recorded.
//!
//! | what | behaviour |
//! |---|---|
//! | two parties | the two channels of one file, as they spoke, without transcoding where both speak Opus or one G.711 |
//! | they speak different codecs, or G.722 | both are decoded into a WAV file |
//! | a third and further parties | a file of its own for each, which begins when the party comes |
//! | somebody leaves and somebody comes | who comes has the channel of who left |
//! | held, muted | what nobody hears is not recorded; the channel is silent |
//! | paused | all channels are silent |
//! | the process is killed | the file plays, and lacks less than a second |
//! | the disk is full or fails | that recording ends, the call goes on |
//! | [`Settings::uploads`] | what is over waits in [`Pending`] for who uploads it, a restart of the process as well |
//! | frames wait for longer than the queue has room | they are dropped and counted |
//!
//! # Example
//!
//! Who embeds it says how legs are listened to, and tells of calls:
//!
//! ```
//! use std::time::Instant;
//!
//! use moqswitch_audio::Codec;
//! use moqswitch_calls::{CallId, CallView, LegId};
//! use moqswitch_recording::{Ear, Ears, Filter, Frames, LocalDisk, Recorder, Settings};
//!
//! struct Listeners {
//!     frames: Frames,
//! }
//!
//! impl Ears for Listeners {
//!     fn listen(&mut self, _call: CallId, _stream: u64, _leg: LegId, _codec: Option<Codec>) -> Option<Ear> {
//!         // Whoever gets the leg's audio has such a clone, and pushes each frame under this stream.
//!         Some(Ear::new(self.frames.clone()))
//!     }
//! }
//!
//! fn tell(recorder: &mut Recorder, call: &CallView) {
//!     match call.recorded {
//!         true => recorder.update(call, Instant::now()),
//!         false => recorder.end(call.call, Instant::now()),
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = std::env::temp_dir().join(format!("moqswitch-recordings-{}", std::process::id()));
//! let settings = Settings::below(&directory);
//! let (recorder, view) = Recorder::start(settings, LocalDisk, |frames| Listeners { frames })?;
//! let found = view.archive().list(&Filter { limit: 10, ..Filter::default() })?;
//! assert!(found.recordings.is_empty());
//! // What goes on ends, and is written.
//! drop(recorder);
//! # std::fs::remove_dir_all(directory)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod archive;
mod audio_file;
mod counters;
mod desk;
mod disk;
mod form;
mod frames;
mod keeping;
pub mod limits;
mod pending;
mod recorder;
mod recording;
mod seat;
mod settings;
mod sidecar;
mod writer;

pub use archive::{Archive, ArchiveError, Filter, Found};
pub use counters::Statistics;
pub use disk::{Disk, LocalDisk, Sink};
pub use frames::{Frame, Frames};
pub use pending::{Pending, PendingFile, PendingRecording};
pub use recorder::{Ear, Ears, Recorder, RecorderView};
pub use settings::{Format, Settings};
pub use sidecar::{Dropped, RecordingId, Sidecar};
