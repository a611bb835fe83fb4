//! Bounds of recordings, and what happens there.

use std::time::Duration;

/// Calls that may be recorded at once, as far as it can be configured.
pub const CALLS_MAX: usize = 10_000;

/// Frames that wait to be written: three seconds of 200 calls. A further one is dropped and counted.
pub const FRAMES_WAITING_MAX: usize = 65_536;

/// Of frames that found no room, those of which it waits to be noted whose they were. Of further ones it is not.
pub(crate) const REFUSED_WAITING_MAX: usize = FRAMES_WAITING_MAX;

/// Frames that are taken in before what is due is written.
pub(crate) const FRAMES_PER_ROUND_MAX: usize = 16_384;

/// Bytes of a frame. A longer one is dropped and counted.
pub const FRAME_BYTES_MAX: usize = moqswitch_audio::PAYLOAD_BYTES_MAX;

/// Legs of a recording, one after another. Further ones are not recorded.
pub(crate) const LEGS_MAX: usize = 256;

/// Parties beside the two of the first file, at once. Further ones are not recorded.
pub(crate) const FURTHER_PARTIES_MAX: usize = 64;

/// Files of one recording. When there are so many, nothing begins a further one: what would is not recorded.
pub(crate) const FILES_MAX: usize = 256;

/// Pauses that a recording notes. After the last of them it stays paused.
pub(crate) const PAUSES_MAX: usize = 256;

/// Recordings of one call, one after another. A further one is refused.
pub(crate) const PER_CALL_MAX: u32 = 999;

/// So much later than it was said something is written: whoever is late by less than that is heard. More than
/// [`DRIFT_SLOTS_MAX`](moqswitch_containers::limits::DRIFT_SLOTS_MAX) slots.
pub(crate) const DELAY: Duration = Duration::from_millis(480);

/// How often the writer looks at what came.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// What is written is given to the system so often.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// What a killed process lacks of each file: the above, the page of Ogg that is begun, and a moment.
pub const LOST_BY_A_CRASH_MAX: Duration = Duration::from_secs(1);

/// How often the description of a recording that goes on is written anew.
pub(crate) const SIDECAR_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is looked how much room the disk has.
pub(crate) const SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// How often what is too old or too much is removed.
pub(crate) const KEEPING_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of a description. A longer one is none.
pub(crate) const SIDECAR_BYTES_MAX: u64 = 1 << 20;

/// Recordings that are over and wait to be synced. Of a further one the system decides when the disk has it.
pub(crate) const UNSYNCED_MAX: usize = 1024;

/// Descriptions that one question reads: some seconds. A question that needs more is refused, and is to be narrower.
pub const READ_MAX: usize = 100_000;

/// Calls of which it is known that they were refused, so that each is counted once. Of further ones every change counts.
pub(crate) const REFUSED_CALLS_MAX: usize = 65_536;

/// Bytes of a WAV file at which the next is begun.
pub(crate) const WAV_BYTES_MAX: u32 = moqswitch_containers::limits::WAV_DATA_BYTES_MAX - (1 << 20);

/// Bytes of one party that wait to be written beyond the slot that they belong to. What is beyond is dropped.
pub(crate) const SAMPLES_AHEAD_MAX: usize = 6400;

/// One line of log in so long says that something cannot be recorded.
pub(crate) const NOTICES_PERIOD: Duration = Duration::from_secs(10);

const _: () = {
    let crash = DELAY.as_millis() + TICK.as_millis() + FLUSH_INTERVAL.as_millis() + 200;
    assert!(crash < LOST_BY_A_CRASH_MAX.as_millis());
    assert!(moqswitch_containers::limits::DRIFT_SLOTS_MAX as u128 * 20 < DELAY.as_millis());
};
