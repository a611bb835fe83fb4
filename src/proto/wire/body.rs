//! Reading and writing the fields inside a message body.
//!
//! The whole body is there before the first field is read, so a field that runs past its end is
//! `Invalid`: no further byte of the stream can help.

use bytes::BytesMut;

use super::{BroadcastPath, DecodeError, EncodeError, GroupSequence, TrackName, Version, varint};
use crate::limits::{PATH_BYTES_MAX, TRACK_NAME_BYTES_MAX};

/// What is left to read of a complete body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Passes over everything that is left.
    pub(super) fn skip_rest(&mut self) {
        self.rest = &[];
    }

    /// One byte, `(8)` in the draft.
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(SHORT_BODY)?;
        self.rest = rest;
        Ok(byte)
    }

    /// A variable-length integer, `(i)` in the draft.
    #[inline]
    pub(super) fn integer(&mut self) -> Result<u64, DecodeError> {
        let (value, used) = varint::get(self.rest).map_err(|_| SHORT_BODY)?;
        self.rest = self.rest.get(used..).ok_or(SHORT_BODY)?;
        Ok(value)
    }

    /// An integer that we keep in a byte: the drafts allow it more than anyone uses.
    pub(super) fn small_integer(&mut self) -> Result<u8, DecodeError> {
        let value = self.integer()?;
        Ok(u8::try_from(value).unwrap_or(u8::MAX))
    }

    /// An integer holding a sequence + 1, with 0 for absent.
    #[inline]
    pub(super) fn offset_integer(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(self.integer()?.checked_sub(1))
    }

    #[inline]
    pub(super) fn offset_sequence(&mut self) -> Result<Option<GroupSequence>, DecodeError> {
        Ok(self.offset_integer()?.map(GroupSequence))
    }

    /// An integer of which the draft allows 0 and 1 alone.
    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.integer()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(what)),
        }
    }

    /// A byte of which the draft allows 0 and 1 alone.
    pub(super) fn flag_byte(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(what)),
        }
    }

    /// Length-prefixed bytes of at most `bytes_max`.
    pub(super) fn bytes(&mut self, bytes_max: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.integer()?;
        let length = usize::try_from(length).map_err(|_| DecodeError::TooLarge(what))?;
        if length > bytes_max {
            return Err(DecodeError::TooLarge(what));
        }
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SHORT_BODY)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length-prefixed UTF-8 string, `(s)` in the draft.
    pub(super) fn text(&mut self, bytes_max: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes(bytes_max, what)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid("text that is not UTF-8"))
    }

    pub(super) fn path(&mut self) -> Result<BroadcastPath, DecodeError> {
        let path = BroadcastPath::new(self.text(PATH_BYTES_MAX + ROOT_BYTES, "broadcast path")?);
        if path.is_within_limits() {
            Ok(path)
        } else {
            Err(DecodeError::TooLarge("broadcast path"))
        }
    }

    /// A path of a message that goes on without it: `None` where it is longer than peers accept.
    pub(super) fn path_or_too_long(&mut self) -> Result<Option<BroadcastPath>, DecodeError> {
        let text = self.text(self.rest.len(), "broadcast path")?;
        if text.len() > PATH_BYTES_MAX + ROOT_BYTES {
            return Ok(None);
        }
        Ok(Some(BroadcastPath::new(text)).filter(BroadcastPath::is_within_limits))
    }

    pub(super) fn track_name(&mut self) -> Result<TrackName, DecodeError> {
        self.text(TRACK_NAME_BYTES_MAX, "track name").map(TrackName::from)
    }

    /// The body must have been used up (draft "Message Length").
    #[inline]
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }

    /// Reads the rest of the body in the released form if that uses it up exactly, else in the
    /// form of the draft text. The released form's error is the one reported.
    pub(super) fn released_or_draft<M>(
        &mut self,
        released: impl FnOnce(&mut Body<'a>) -> Result<M, DecodeError>,
        draft: impl FnOnce(&mut Body<'a>) -> Result<M, DecodeError>,
    ) -> Result<M, DecodeError> {
        let exactly = |attempt: Body<'a>, message: Result<M, DecodeError>| {
            let message = message?;
            attempt.finish().map(|()| message)
        };
        let (mut first, mut second) = (*self, *self);
        let message = released(&mut first);
        let result = exactly(first, message).or_else(|error| {
            let message = draft(&mut second);
            exactly(second, message).map_err(|_| error)
        });
        self.rest = &[];
        result
    }
}

/// An integer holding a sequence + 1, with 0 for absent.
pub(super) fn put_offset_integer(out: &mut BytesMut, value: Option<u64>) -> Result<(), EncodeError> {
    let offset = match value {
        None => 0,
        Some(value) => value.checked_add(1).ok_or(EncodeError::TooLarge("sequence"))?,
    };
    varint::put(out, offset)
}

pub(super) fn put_offset_sequence(out: &mut BytesMut, sequence: Option<GroupSequence>) -> Result<(), EncodeError> {
    put_offset_integer(out, sequence.map(|sequence| sequence.0))
}

pub(super) fn put_byte(out: &mut BytesMut, byte: u8) {
    out.extend_from_slice(&[byte]);
}

/// Length-prefixed bytes of at most `bytes_max`.
pub(super) fn put_bytes(
    out: &mut BytesMut,
    bytes: &[u8],
    bytes_max: usize,
    what: &'static str,
) -> Result<(), EncodeError> {
    if bytes.len() > bytes_max {
        return Err(EncodeError::TooLarge(what));
    }
    varint::put(out, bytes.len() as u64)?;
    out.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn put_path(out: &mut BytesMut, path: &BroadcastPath) -> Result<(), EncodeError> {
    if !path.is_within_limits() {
        return Err(EncodeError::TooLarge("broadcast path"));
    }
    put_bytes(out, path.as_str().as_bytes(), PATH_BYTES_MAX, "broadcast path")
}

/// A path that stands alone: where the version has it so, `/` goes before it.
pub(super) fn put_full_path(version: Version, out: &mut BytesMut, path: &BroadcastPath) -> Result<(), EncodeError> {
    if version.has_rooted_paths() {
        put_rooted(out, path, "")
    } else {
        put_path(out, path)
    }
}

/// A prefix of paths: where the version has it so, `/` goes before it and behind it.
pub(super) fn put_prefix(version: Version, out: &mut BytesMut, prefix: &BroadcastPath) -> Result<(), EncodeError> {
    if version.has_rooted_paths() {
        put_rooted(out, prefix, if prefix.is_root() { "" } else { "/" })
    } else {
        put_path(out, prefix)
    }
}

fn put_rooted(out: &mut BytesMut, path: &BroadcastPath, end: &str) -> Result<(), EncodeError> {
    if !path.is_within_limits() {
        return Err(EncodeError::TooLarge("broadcast path"));
    }
    varint::put(out, (1 + path.as_str().len() + end.len()) as u64)?;
    for part in ["/", path.as_str(), end] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

pub(super) fn put_track_name(out: &mut BytesMut, name: &TrackName) -> Result<(), EncodeError> {
    put_bytes(out, name.as_bytes(), TRACK_NAME_BYTES_MAX, "track name")
}

/// Slashes before and behind a path, which normalising takes off.
const ROOT_BYTES: usize = 2;

const SHORT_BODY: DecodeError = DecodeError::Invalid("message body too short for its fields");
