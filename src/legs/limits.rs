//! Bounds of legs, and what happens there.

use std::time::Duration;

/// Commands that wait for the legs of one shard. When full a command is refused, and whoever sent it says so.
pub const COMMANDS_MAX: usize = 1024;

/// Legs of one shard. A further one is refused.
pub const LEGS_MAX: usize = 8192;

/// Packets of one leg in a second; telephones send 100 at most. Further ones are dropped and counted.
pub const PACKETS_PER_SECOND_MAX: u32 = 400;

/// Bytes of a packet's payload, in and out. A longer one is dropped and counted. 60 ms of the fastest codec are below.
pub const PAYLOAD_BYTES_MAX: usize = 2048;

/// Digits that wait to be sent on one leg. A further one is dropped.
pub const DIGITS_MAX: usize = 64;

/// A digit whose end does not come ends by itself.
pub const DIGIT_MAX: Duration = Duration::from_secs(8);

/// From one packet of a digit to the next.
pub const DIGIT_STEP: Duration = Duration::from_millis(20);

/// From the end of a digit to the next, which receivers need to tell them apart.
pub const DIGIT_GAP: Duration = Duration::from_millis(60);

/// A port that a leg has given back rests for so long: what the peer still sends is not the next leg's.
pub const PORT_REST: Duration = Duration::from_secs(30);
