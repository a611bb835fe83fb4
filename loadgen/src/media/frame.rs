//! A frame of a file.

use std::time::Duration;

use bytes::Bytes;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// Until the next frame's time.
    pub(crate) lasts: Duration,
    /// Decoding can begin here. Of audio that is every frame.
    pub(crate) is_key: bool,
}
