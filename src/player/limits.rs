//! Bounds, and what happens there.

use std::time::Duration;

/// Longest sound. A longer one is refused.
pub const SOUND_MAX: Duration = Duration::from_secs(30 * 60);

/// Rates of samples that a file may have, in hertz. Others are refused.
pub const FILE_RATE_MIN: u32 = 4000;
/// See [`FILE_RATE_MIN`].
pub const FILE_RATE_MAX: u32 = 192_000;

/// Channels of a WAV file. With more it is refused.
pub const FILE_CHANNELS_MAX: u16 = 8;

/// Files of one directory. Those behind, by name, are not played.
pub const FILES_MAX: usize = 256;

/// Entries of a directory. One with more is not read.
pub const ENTRIES_MAX: usize = 10_000;

/// Files that are not played and are named with the reason, of a directory. Of further ones it is told how many there are.
pub const FAULTS_MAX: usize = 64;

/// Bytes of a file's name without its ending, which is the name of its broadcast. A longer one is not played.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of all that is encoded, some 27 KiB for a second of sound. What finds no room is not played.
pub const ENCODED_BYTES_MAX: usize = 256 << 20;

/// Changes of what is played that wait for the shard. Who loads files waits for room. What is to be played once and finds none
/// is not played, and told to be over; who wants it no longer lets it play to its end.
pub(crate) const COMMANDS_WAITING_MAX: usize = 1024;

/// Of them so many are carried out in a turn.
pub(crate) const COMMANDS_MAX: usize = 64;

/// How long it waits before it looks again.
pub(crate) const COMMANDS_RETRY: Duration = Duration::from_millis(10);

/// Frames of one broadcast that are sent in one turn. A shard that is later than that leaves the rest out.
pub(crate) const LATE_FRAMES_MAX: u32 = 5;

/// Files that are played once at the same time, each for somebody of its own. One more is not played, and told to be over.
pub const ONCE_MAX: usize = 4096;

/// How long one waits for somebody to hear it. Then it is played nevertheless: who waits for its end waits no longer than that.
pub const ONCE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long after its last frame one is over: that is how long a hearer may hold frames back before it plays them.
pub(crate) const ONCE_TAIL: Duration = Duration::from_millis(300);

/// Ends that wait to be taken by who has asked for what has ended. Whatever is played at once has room; the first of more, as of
/// many that are asked for and are not there, are lost, and who waits for them goes on by its own time.
pub(crate) const ENDS_MAX: usize = 2 * ONCE_MAX;
