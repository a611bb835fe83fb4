//! What one-way streams begin with (sections 3.4 and 11.4).
//!
//! ```text
//! SUBGROUP_HEADER  Type (vi64) | Track Alias (vi64) | Group ID (vi64) | [ Subgroup ID (vi64) ] | [ Priority (8) ]
//! FETCH_HEADER     0x05 | Request ID (vi64)
//! ```
//!
//! The type is `0b0XX1XXXX`: 0x01 properties, 0x06 where the subgroup's id is, 0x08 the group ends with it, 0x20 no
//! priority, 0x40 its first object is the first of the subgroup.

use bytes::BytesMut;

use crate::wire::{DecodeError, vi64};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ietf) enum UniStream {
    /// SETUP follows; the type is the message's own, and is not taken off.
    Control,
    Subgroup(SubgroupHeader),
    Fetch,
    Padding,
}

/// Whose objects a stream has, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ietf) struct SubgroupHeader {
    pub(in crate::ietf) alias: u64,
    pub(in crate::ietf) group: u64,
    /// `None`: the id of its first object.
    pub(in crate::ietf) subgroup: Option<u64>,
    pub(in crate::ietf) has_properties: bool,
    pub(in crate::ietf) is_first_object: bool,
}

impl UniStream {
    /// Also returns how many bytes were used.
    pub(in crate::ietf) fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (kind, used) = vi64::get(input)?;
        match kind {
            CONTROL => Ok((Self::Control, 0)),
            PADDING => Ok((Self::Padding, used)),
            FETCH => Ok((Self::Fetch, used)),
            _ if kind > 0x7f || kind & SUBGROUP == 0 || kind & ID_MODE == ID_RESERVED => {
                Err(DecodeError::Invalid("type of a one-way stream"))
            }
            _ => {
                let (header, end) = SubgroupHeader::decode(kind, input, used)?;
                Ok((Self::Subgroup(header), end))
            }
        }
    }
}

impl SubgroupHeader {
    fn decode(kind: u64, input: &[u8], mut used: usize) -> Result<(Self, usize), DecodeError> {
        let mut integer = || {
            let (value, bytes) = vi64::get(input.get(used..).unwrap_or_default())?;
            used += bytes;
            Ok(value)
        };
        let (alias, group) = (integer()?, integer()?);
        let subgroup = match kind & ID_MODE {
            ID_ZERO => Some(0),
            ID_PRESENT => Some(integer()?),
            _ => None,
        };
        if kind & NO_PRIORITY == 0 {
            input.get(used).ok_or(DecodeError::Truncated)?;
            used += 1;
        }
        let header = Self {
            alias,
            group,
            subgroup,
            has_properties: kind & PROPERTIES != 0,
            is_first_object: kind & FIRST_OBJECT != 0,
        };
        Ok((header, used))
    }

    /// Appends the header of a subgroup 0 whose objects are all there, and have properties.
    pub(in crate::ietf) fn put_whole(alias: u64, group: u64, out: &mut BytesMut) {
        vi64::put(out, SUBGROUP | PROPERTIES | NO_PRIORITY | FIRST_OBJECT);
        vi64::put(out, alias);
        vi64::put(out, group);
    }
}

pub(in crate::ietf) const CONTROL: u64 = 0x2f00;
const FETCH: u64 = 0x05;
const PADDING: u64 = 0x132b_3e28;
const SUBGROUP: u64 = 0x10;
const PROPERTIES: u64 = 0x01;
const ID_MODE: u64 = 0x06;
const ID_ZERO: u64 = 0x00;
const ID_PRESENT: u64 = 0x04;
const ID_RESERVED: u64 = 0x06;
const NO_PRIORITY: u64 = 0x20;
const FIRST_OBJECT: u64 = 0x40;
