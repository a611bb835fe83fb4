//! Bounds of voice mail, and what happens there.

use std::time::Duration;

/// The longest that a message may be allowed to be.
pub const MESSAGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Messages of a box, as far as it can be configured. Whoever calls a full one hears so.
pub const MESSAGES_MAX: usize = 1000;

/// Boxes. A message for a further one is refused.
pub const BOXES_MAX: usize = 65_536;

/// Calls that leave messages or listen, at once, as far as it can be configured. Each has its message in memory.
pub const CALLS_MAX: usize = 1024;

/// The longest greeting. What is behind it is not heard.
pub const GREETING_MAX: Duration = Duration::from_secs(120);

/// Bytes of a description. A longer one is none.
pub(crate) const DESCRIPTION_BYTES_MAX: u64 = 16 << 10;

/// Bytes of a box's name on the disk. A number whose name is longer has no box.
pub(crate) const BOX_NAME_BYTES_MAX: usize = 200;

/// Entries of a box's directory that are looked at. Further ones, which nobody of this program made, are passed over.
pub(crate) const ENTRIES_MAX: usize = 4 * MESSAGES_MAX;

/// What is shorter is no message.
pub const MESSAGE_MIN: Duration = Duration::from_secs(1);

/// Who says nothing for so long has said everything.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
