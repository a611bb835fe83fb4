//! Why bytes are not a message, and why a message cannot be bytes.

use thiserror::Error;

/// Why a decoder did not produce a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes so far are the start of a message: try again with more of the stream. A field
    /// that runs past the end of a complete message is `Invalid`, never this.
    #[error("more bytes are needed")]
    Truncated,
    /// A complete message has bytes left after its last field (draft "Message Length").
    #[error("bytes are left at the end of the message")]
    Trailing,
    /// A field has a value the draft does not allow, or the body is too short for its fields.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// A length or count is above our limit.
    #[error("too large: {0}")]
    TooLarge(&'static str),
}

/// Why an encoder refused a message. Its output is as it was before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The message, or a field whose loss would change its meaning, is not in this version.
    #[error("not in this version: {0}")]
    NotInVersion(&'static str),
    /// The fields contradict each other.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// A value is above what the wire carries or what a peer accepts.
    #[error("too large: {0}")]
    TooLarge(&'static str),
}
