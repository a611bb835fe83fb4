//! Reading and writing the fields inside a message. The whole message is there before the first field is read, so a field
//! that runs past its end is `Invalid`.

use bytes::BytesMut;

use crate::wire::{DecodeError, EncodeError, vi64};

/// What is left to read of a complete message.
#[derive(Clone, Copy, Debug)]
pub(in crate::ietf) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(in crate::ietf) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(in crate::ietf) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(in crate::ietf) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes everything that is left.
    pub(in crate::ietf) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// `(vi64)` in the draft.
    pub(in crate::ietf) fn integer(&mut self) -> Result<u64, DecodeError> {
        let (value, used) = vi64::get(self.rest).map_err(|_| SHORT)?;
        self.rest = self.rest.get(used..).ok_or(SHORT)?;
        Ok(value)
    }

    /// `(8)` in the draft.
    pub(in crate::ietf) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    /// Bytes behind their length, of which the draft allows `bytes_max`.
    pub(in crate::ietf) fn bytes(&mut self, bytes_max: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.integer()?).unwrap_or(usize::MAX);
        if length > bytes_max {
            return Err(DecodeError::TooLarge(what));
        }
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Nothing may be left (section 9).
    pub(in crate::ietf) fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(DecodeError::Trailing),
        }
    }
}

/// Appends bytes behind their length.
pub(in crate::ietf) fn put_bytes(
    out: &mut BytesMut,
    bytes: &[u8],
    bytes_max: usize,
    what: &'static str,
) -> Result<(), EncodeError> {
    if bytes.len() > bytes_max {
        return Err(EncodeError::TooLarge(what));
    }
    vi64::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    Ok(())
}

const SHORT: DecodeError = DecodeError::Invalid("message too short for its fields");
