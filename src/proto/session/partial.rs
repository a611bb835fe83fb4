//! Messages that arrive in pieces.
//!
//! Complete messages are decoded where they were received; only the start of an incomplete one
//! is copied, and then appended to, so that a message in single bytes costs no more than its
//! length.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::DecodeError;

/// The unread bytes of a control stream.
#[derive(Debug)]
pub(crate) enum Input {
    Received(Bytes),
    Joined(BytesMut),
    /// The same after something was taken off its front, which it still holds.
    Shortened(BytesMut),
}

impl Input {
    pub(crate) fn new(mut partial: BytesMut, data: Bytes) -> Self {
        if partial.is_empty() {
            return Self::Received(data);
        }
        partial.extend_from_slice(&data);
        Self::Joined(partial)
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The next message, or `None` when more bytes are needed for it.
    pub(crate) fn take<M>(
        &mut self,
        decode: impl FnOnce(&[u8]) -> Result<(M, usize), DecodeError>,
    ) -> Result<Option<M>, DecodeError> {
        match decode(self.as_slice()) {
            Ok((message, used)) => {
                self.advance(used);
                Ok(Some(message))
            }
            Err(DecodeError::Truncated) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is to be kept until more arrives.
    pub(crate) fn into_partial(self) -> BytesMut {
        match self {
            _ if self.is_empty() => BytesMut::new(),
            Self::Received(bytes) => BytesMut::from(&bytes[..]),
            Self::Joined(bytes) => bytes,
            // A copy, so that no more is kept than counts.
            Self::Shortened(bytes) => BytesMut::from(&bytes[..]),
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Received(bytes) => bytes,
            Self::Joined(bytes) | Self::Shortened(bytes) => bytes.freeze(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Received(bytes) => bytes,
            Self::Joined(bytes) | Self::Shortened(bytes) => bytes,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Received(bytes) => bytes.advance(count.min(bytes.len())),
            Self::Joined(bytes) | Self::Shortened(bytes) => {
                let mut bytes = std::mem::take(bytes);
                bytes.advance(count.min(bytes.len()));
                *self = Self::Shortened(bytes);
            }
        }
    }
}
