//! Properties of a track (section 2.5): Key-Value-Pairs to the end of a message. They are handed on as they came; what is
//! of use here is read out of them.

use bytes::{Bytes, BytesMut};

use super::fields::Fields;
use crate::ietf::limits::TRACK_PROPERTIES_BYTES_MAX;
use crate::wire::{DecodeError, vi64};

/// What a publisher says of a track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ietf) struct TrackProperties {
    /// As they came.
    pub(in crate::ietf) bytes: Bytes,
    /// Units per second of the timestamps of its objects.
    pub(in crate::ietf) timescale: Option<u64>,
    /// Lower is more important.
    pub(in crate::ietf) priority: Option<u8>,
}

impl TrackProperties {
    /// Takes what is left of a message.
    pub(in crate::ietf) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let bytes = fields.take_rest();
        if bytes.len() > TRACK_PROPERTIES_BYTES_MAX {
            return Err(DecodeError::TooLarge("properties of a track"));
        }
        let mut properties = Self {
            bytes: Bytes::copy_from_slice(bytes),
            ..Self::default()
        };
        let mut rest = Fields::new(bytes);
        let mut kind = 0u64;
        while !rest.is_empty() {
            let delta = rest.integer()?;
            kind = kind
                .checked_add(delta)
                .ok_or(DecodeError::Invalid("type of a property"))?;
            if kind % 2 == 1 {
                rest.bytes(usize::from(u16::MAX), "property")?;
                continue;
            }
            let value = rest.integer()?;
            match kind {
                TIMESCALE => properties.timescale = Some(value).filter(|value| *value > 0),
                PRIORITY => {
                    let priority = u8::try_from(value).map_err(|_| DecodeError::Invalid("publisher priority"))?;
                    properties.priority = Some(priority);
                }
                _ => {}
            }
        }
        Ok(properties)
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
        }
    }
}

/// draft-ietf-moq-loc-04.
const TIMESCALE: u64 = 0x08;
/// Section 12.4.
const PRIORITY: u64 = 0x0e;
