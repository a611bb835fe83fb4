//! Bounds of files, and what happens there.

use std::time::Duration;

/// Bytes of a file that is read. A longer one is refused.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// Bytes of a packet of Opus of one stream: 120 ms at the highest rate. A longer one is refused (RFC 6716, section 3.2).
pub const PACKET_BYTES_MAX: usize = 61_298;

/// Bytes of audio in a WAV file: what its 32 bits of size tell, with room for the header. Further ones are refused.
pub const WAV_DATA_BYTES_MAX: u32 = u32::MAX - 1024;

/// Slots of 20 ms of one party that wait to be taken: 5 s. A further packet is dropped and counted.
pub const SLOTS_WAITING_MAX: usize = 250;

/// So many slots behind that a packet may be for a while: what waited somewhere and comes in one go is where it was said.
pub const BEHIND_SLOTS_MAX: u64 = 50;

/// For so long. Whatever is behind for longer is slower for good, and arrival counts.
pub const BEHIND_MAX: Duration = Duration::from_millis(400);

/// So many slots a packet may be from where its arrival puts it: 200 ms, more than jitter is. Beyond, arrival counts.
pub const DRIFT_SLOTS_MAX: u64 = 10;
