//! Bounds of what is read and written.

/// Bytes of an AudioSocket message behind its head: its length has 16 bits.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// Bytes of a text of `chan_websocket`. One that is longer is no event. Variables of the channel are among them.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Bytes of a command. Asterisk passes over a longer one without a word (`MAX_TEXT_MESSAGE_LEN`), so none is written.
pub const COMMAND_BYTES_MAX: usize = 128;

/// Words of a plain event. What is behind them is passed over.
pub const WORDS_MAX: usize = 64;
