//! Properties of a track (section 2.5): Key-Value-Pairs to the end of a message. They are handed on as they came; what is
//! of use here is read out of them.

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

use super::fields::Fields;
use crate::ietf::limits::TRACK_PROPERTIES_BYTES_MAX;
use crate::wire::{DecodeError, ErrorCode, stream_error, vi64};

/// What a publisher says of a track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ietf) struct TrackProperties {
    /// As they came.
    pub(in crate::ietf) bytes: Bytes,
    /// Units per second of the timestamps of its objects.
    pub(in crate::ietf) timescale: Option<u64>,
    /// Lower is more important.
    pub(in crate::ietf) priority: Option<u8>,
    /// Why the track is not taken.
    pub(in crate::ietf) refusal: Option<Refusal>,
}

/// What is wrong with the properties of a track, while nothing is with the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ietf) enum Refusal {
    /// More than [`TRACK_PROPERTIES_BYTES_MAX`].
    TooLarge,
    /// Immutable ones within immutable ones.
    Malformed,
    /// One of [`MANDATORY`].
    Unsupported,
}

impl Refusal {
    /// In terms of moq-lite.
    pub(in crate::ietf) fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge => stream_error::TOO_FAR_BEHIND,
            Self::Malformed => stream_error::MALFORMED_TRACK,
            Self::Unsupported => stream_error::UNSUPPORTED_EXTENSION,
        }
    }
}

impl TrackProperties {
    /// Takes what is left of a message.
    pub(in crate::ietf) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let bytes = fields.take_rest();
        let mut properties = Self::default();
        let mut invalid = None;
        let read = properties.read(Fields::new(bytes), false, &mut invalid);
        if let Some(error) = invalid {
            return Err(error);
        }
        read?;
        if bytes.len() > TRACK_PROPERTIES_BYTES_MAX {
            properties.refusal = Some(Refusal::TooLarge);
        } else {
            properties.bytes = Bytes::copy_from_slice(bytes);
        }
        Ok(properties)
    }

    /// Immutable ones count like others, and may not have any inside them in turn. A value that must not be goes to `invalid`.
    fn read(
        &mut self,
        mut rest: Fields<'_>,
        is_immutable: bool,
        invalid: &mut Option<DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut kind = 0u64;
        while !rest.is_empty() {
            let delta = rest.integer()?;
            kind = kind
                .checked_add(delta)
                .ok_or(DecodeError::Invalid("type of a property"))?;
            if MANDATORY.contains(&kind) {
                self.refusal.get_or_insert(Refusal::Unsupported);
            }
            if kind % 2 == 1 {
                let value = rest.bytes(usize::from(u16::MAX), "property")?;
                if kind == IMMUTABLE && (is_immutable || self.read(Fields::new(value), true, invalid).is_err()) {
                    self.refusal = Some(Refusal::Malformed);
                }
                continue;
            }
            if let Err(error) = self.set(kind, rest.integer()?) {
                invalid.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// Values that close the session must not get to subscribers either.
    fn set(&mut self, kind: u64, value: u64) -> Result<(), DecodeError> {
        match kind {
            TIMESCALE => self.timescale = Some(value).filter(|value| *value > 0),
            PRIORITY => {
                let priority = u8::try_from(value).map_err(|_| DecodeError::Invalid("publisher priority"))?;
                self.priority = Some(priority);
            }
            GROUP_ORDER if !matches!(value, 1 | 2) => return Err(DecodeError::Invalid("publisher group order")),
            DYNAMIC_GROUPS if value > 1 => return Err(DecodeError::Invalid("dynamic groups")),
            _ => {}
        }
        Ok(())
    }

    /// Those of a track that came by moq-lite.
    pub(in crate::ietf) fn of(timescale: Option<u64>, priority: u8) -> Self {
        let mut bytes = BytesMut::new();
        let mut last = 0;
        let pairs = [(TIMESCALE, timescale), (PRIORITY, Some(u64::from(priority)))];
        for (kind, value) in pairs {
            if let Some(value) = value {
                vi64::put(&mut bytes, kind - last);
                vi64::put(&mut bytes, value);
                last = kind;
            }
        }
        Self {
            bytes: bytes.freeze(),
            timescale,
            priority: Some(priority),
            refusal: None,
        }
    }
}

/// draft-ietf-moq-loc-04.
const TIMESCALE: u64 = 0x08;
/// Section 12.4.
const PRIORITY: u64 = 0x0e;
/// Properties that no relay may change.
const IMMUTABLE: u64 = 0x0b;
const GROUP_ORDER: u64 = 0x22;
const DYNAMIC_GROUPS: u64 = 0x30;
/// Section 2.5.1: who does not know one of them does not take the track. None is known.
const MANDATORY: RangeInclusive<u64> = 0x4000..=0x7fff;
