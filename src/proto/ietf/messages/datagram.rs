//! An object in a datagram (section 11.3.1).
//!
//! ```text
//! Type (vi64) | Track Alias (vi64) | Group ID (vi64) | [ Object ID (vi64) ] | [ Priority (8) ]
//!     | [ Properties ] | [ Status (vi64) ] | payload to the end of the datagram
//! ```

use bytes::BytesMut;

use super::fields::Fields;
use crate::wire::object::{self, NORMAL, TIMESTAMP};
use crate::wire::{DecodeError, vi64};

/// What stands before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ietf) struct ObjectDatagram {
    pub(in crate::ietf) alias: u64,
    pub(in crate::ietf) group: u64,
    pub(in crate::ietf) object: u64,
    pub(in crate::ietf) timestamp: Option<u64>,
    /// It has a payload, which may be empty.
    pub(in crate::ietf) is_normal: bool,
}

impl ObjectDatagram {
    /// Also returns where the payload begins. `None` for padding.
    pub(in crate::ietf) fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let mut fields = Fields::new(input);
        let kind = fields.integer()?;
        if kind == PADDING {
            return Ok(None);
        }
        if kind & !ALL != 0 || kind & STATUS != 0 && kind & END_OF_GROUP != 0 {
            return Err(DecodeError::Invalid("type of a datagram"));
        }
        let (alias, group) = (fields.integer()?, fields.integer()?);
        let object = match kind & ZERO_OBJECT {
            0 => fields.integer()?,
            _ => 0,
        };
        if kind & NO_PRIORITY == 0 {
            fields.byte()?;
        }
        let mut timestamp = None;
        if kind & PROPERTIES != 0 {
            let properties = fields.bytes(input.len(), "properties of a datagram")?;
            if properties.is_empty() {
                return Err(DecodeError::Invalid("no properties in a datagram"));
            }
            timestamp = object::timestamp(properties)?;
        }
        let mut status = NORMAL;
        if kind & STATUS != 0 {
            status = fields.integer()?;
            fields.finish()?;
            if status != NORMAL && kind & PROPERTIES != 0 {
                return Err(DecodeError::Invalid("properties of an object that is none"));
            }
        }
        let header = Self {
            alias,
            group,
            object,
            timestamp,
            is_normal: status == NORMAL,
        };
        Ok(Some((header, input.len() - fields.len())))
    }

    /// Appends the header of a group's only object.
    pub(in crate::ietf) fn put_whole(alias: u64, group: u64, timestamp: Option<u64>, out: &mut BytesMut) {
        let properties = if timestamp.is_some() { PROPERTIES } else { 0 };
        vi64::put(out, properties | END_OF_GROUP | ZERO_OBJECT | NO_PRIORITY);
        vi64::put(out, alias);
        vi64::put(out, group);
        if let Some(timestamp) = timestamp {
            vi64::put(out, (vi64::len(TIMESTAMP) + vi64::len(timestamp)) as u64);
            vi64::put(out, TIMESTAMP);
            vi64::put(out, timestamp);
        }
    }
}

const PADDING: u64 = 0x132b_3e29;
const PROPERTIES: u64 = 0x01;
const END_OF_GROUP: u64 = 0x02;
const ZERO_OBJECT: u64 = 0x04;
const NO_PRIORITY: u64 = 0x08;
const STATUS: u64 = 0x20;
const ALL: u64 = PROPERTIES | END_OF_GROUP | ZERO_OBJECT | NO_PRIORITY | STATUS;
