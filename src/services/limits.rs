//! Bounds, and what happens there.

use std::time::Duration;

use moqswitch_proto::wire::ErrorCode;

/// Streams of one worker. When all have so many, further subscriptions are closed with [`FULL`].
pub const STREAMS_PER_WORKER_MAX: usize = 512;

/// The code of a subscription that no worker has room for.
pub const FULL: ErrorCode = ErrorCode(0x50);

/// Thousandths of the last second that a worker was busy: from here on it takes no further stream.
pub(crate) const BUSY_MAX: u32 = 850;

/// Frames that wait for one worker. A further one is dropped and counted.
pub(crate) const FRAMES_MAX: usize = 4096;

/// Tasks that wait for one worker, frames and others. A stream that finds no room to begin is refused, one that finds none
/// to end is ended later.
pub(crate) const TASKS_MAX: usize = FRAMES_MAX + 2 * STREAMS_PER_WORKER_MAX;

/// Frames that wait for one shard to publish them. A further one is dropped and counted.
pub(crate) const RESULTS_MAX: usize = 8192;

/// Frames that a shard publishes in one turn. The rest follows in the next.
pub(crate) const RESULTS_PER_TURN_MAX: usize = 512;

/// Bytes of one frame. A longer one is dropped.
pub(crate) const FRAME_BYTES_MAX: usize = moqswitch_audio::PAYLOAD_BYTES_MAX;

/// Bytes of a catalog. A longer one says nothing.
pub(crate) const CATALOG_BYTES_MAX: usize = 16 * 1024;

/// Groups that may be missing between two. A source that jumps further has begun anew.
pub(crate) const LOST_MAX: u64 = 64;

/// Frames of one source in a second: four times what is usual, and twice the shortest that are. Further ones are dropped and
/// counted.
pub(crate) const SOURCE_FRAMES_PER_SECOND_MAX: u32 = 400;

/// The largest timestamp that there can be on the wire.
pub(crate) const TIMESTAMP_MAX: u64 = (1 << 62) - 1;

/// What waits for longer than this is of no use.
pub(crate) const AGE_MAX: Duration = Duration::from_millis(100);

/// Groups that wait for one before them, and for how long.
pub(crate) const HELD_MAX: usize = 3;
pub(crate) const HOLD: Duration = Duration::from_millis(40);

/// Sources of one call that are mixed. Further ones are not heard by who hears them mixed.
pub(crate) const ROOM_SOURCES_MAX: usize = 128;

/// Who hears one call mixed. Further ones hear nothing.
pub(crate) const ROOM_HEARERS_MAX: usize = 64;

/// Streams that a call which is mixed counts for, when the least busy thread is looked for.
pub(crate) const ROOM_STREAMS: usize = 8;

/// Who is heard at once of those that are mixed, oneself among them: the loudest.
pub(crate) const LOUDEST_MAX: usize = 8;

/// Frames of a source that wait before the first is heard, at most.
pub(crate) const ROOM_DEPTH_MAX: usize = 10;

/// Payloads of a source that are decoded for one frame: so many of the shortest are one.
pub(crate) const ROOM_PLAYED_PER_TICK_MAX: usize = 8;

/// Milliseconds of a source that are decoded and not heard yet. What is more is dropped.
pub(crate) const ROOM_WAITING_MS_MAX: usize = 2 * moqswitch_audio::FRAME_MS_MAX;

/// What one shard mixes: streams of one hearer each. A further one is not made.
pub const MIXES_MAX: usize = 4096;

/// What waits to be told to a shard's mixers. The caller is told that there is no room.
pub(crate) const MIX_COMMANDS_MAX: usize = 8192;

/// When a source that cannot be heard is tried again: twice as late each time.
pub(crate) const SOURCE_RETRY_MIN: Duration = Duration::from_millis(250);
pub(crate) const SOURCE_RETRY_MAX: Duration = Duration::from_secs(8);

/// Legs that one shard listens to for others. Further ones are refused.
pub(crate) const TAPS_MAX: usize = 16_384;

/// Requests to listen that wait for one shard. A further one is refused.
pub(crate) const TAP_REQUESTS_MAX: usize = 1024;

/// Frames of a leg whose codec nobody has said yet. A further one is dropped.
pub(crate) const FRAMES_UNKNOWN_MAX: usize = 8;
