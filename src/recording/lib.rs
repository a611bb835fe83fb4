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
//! | frames wait for longer than the queue has room | they are dropped and counted |

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
pub use recorder::{Ear, Ears, Recorder, RecorderView};
pub use settings::{Format, Settings};
pub use sidecar::{Dropped, RecordingId, Sidecar};
