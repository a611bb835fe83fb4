//! What stands before the payload of an object in a subgroup (draft-ietf-moq-transport-18, section 11.4.2):
//!
//! ```text
//! Object ID Delta (vi64) | [ Properties Length (vi64) | Properties ] | Payload Length (vi64) | [ Status (vi64) ] | payload
//! ```
//!
//! Whether there are properties the head of the subgroup says, for all its objects. The status is there when the payload
//! is empty. An object of a status other than Normal is no frame: it says where a group or a track ends.

use bytes::BytesMut;

use super::{DecodeError, vi64};
use crate::limits::{FRAME_BYTES_MAX, OBJECT_PROPERTIES_BYTES_MAX};

/// The head of one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectHeader {
    /// The object's id less that of the one before and one; the id itself of the first.
    pub id_delta: u64,
    /// In the object's properties, if there is one: its timestamp, in units of its track.
    pub timestamp: Option<u64>,
    /// Bytes of payload.
    pub size: u64,
    /// It is [`END_OF_GROUP`] or [`END_OF_TRACK`], and no frame.
    pub status: u64,
}

/// What an object is that has a payload, or could have one.
pub const NORMAL: u64 = 0x0;
/// No object with this id or a higher one is in the group.
pub const END_OF_GROUP: u64 = 0x3;
/// No object at this place or behind it is in the track.
pub const END_OF_TRACK: u64 = 0x4;

/// The property that says when a frame is to be played (draft-ietf-moq-loc-04).
pub const TIMESTAMP: u64 = 0x10;
/// The same as draft-ietf-moq-loc-03 has it. Accepted, never sent.
const TIMESTAMP_LOC_03: u64 = 0x06;

impl ObjectHeader {
    /// Appends the head, with properties that hold the timestamp, or none.
    pub fn encode(&self, out: &mut BytesMut) {
        vi64::put(out, self.id_delta);
        match self.timestamp {
            Some(timestamp) => {
                vi64::put(out, (vi64::len(TIMESTAMP) + vi64::len(timestamp)) as u64);
                vi64::put(out, TIMESTAMP);
                vi64::put(out, timestamp);
            }
            None => vi64::put(out, 0),
        }
        vi64::put(out, self.size);
        if self.size == 0 {
            vi64::put(out, self.status);
        }
    }

    /// Reads a head from the front of `input`; also returns how many bytes it took. `TooLarge` above
    /// [`FRAME_BYTES_MAX`] and [`OBJECT_PROPERTIES_BYTES_MAX`].
    pub fn decode(has_properties: bool, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (id_delta, mut used) = vi64::get(input)?;
        let mut properties: &[u8] = &[];
        if has_properties {
            let (length, length_bytes) = next(input, used)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > OBJECT_PROPERTIES_BYTES_MAX {
                return Err(DecodeError::TooLarge("properties of an object"));
            }
            let start = used + length_bytes;
            properties = input.get(start..start + length).ok_or(DecodeError::Truncated)?;
            used = start + length;
        }
        let (size, size_bytes) = next(input, used)?;
        used += size_bytes;
        if size > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge("frame"));
        }
        let mut status = NORMAL;
        if size == 0 {
            let (said, status_bytes) = next(input, used)?;
            used += status_bytes;
            status = said;
        }
        if !matches!(status, NORMAL | END_OF_GROUP | END_OF_TRACK) {
            return Err(DecodeError::Invalid("status of an object"));
        }
        if status != NORMAL && !properties.is_empty() {
            return Err(DecodeError::Invalid("properties of an object that is none"));
        }
        let header = Self {
            id_delta,
            timestamp: timestamp(properties)?,
            size,
            status,
        };
        Ok((header, used))
    }
}

fn next(input: &[u8], used: usize) -> Result<(u64, usize), DecodeError> {
    vi64::get(input.get(used..).unwrap_or_default())
}

/// Looks through Key-Value-Pairs (section 1.4.3) for the timestamp.
pub fn timestamp(mut properties: &[u8]) -> Result<Option<u64>, DecodeError> {
    let mut kind = 0u64;
    let mut found = None;
    while !properties.is_empty() {
        let (delta, used) = pair(properties, 0)?;
        kind = kind.checked_add(delta).ok_or(BROKEN)?;
        let (value, value_bytes) = pair(properties, used)?;
        let mut end = used + value_bytes;
        if kind % 2 == 1 {
            let length = usize::try_from(value).map_err(|_| BROKEN)?;
            end = end.checked_add(length).ok_or(BROKEN)?;
        } else if matches!(kind, TIMESTAMP | TIMESTAMP_LOC_03) {
            found = Some(value);
        }
        properties = properties.get(end..).ok_or(BROKEN)?;
    }
    Ok(found)
}

/// The properties are there as a whole, so what they lack does not come.
fn pair(properties: &[u8], at: usize) -> Result<(u64, usize), DecodeError> {
    next(properties, at).map_err(|_| BROKEN)
}

const BROKEN: DecodeError = DecodeError::Invalid("properties of an object");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_draft() {
        let cases: [(ObjectHeader, &[u8]); 4] = [
            (header(0, None, 5, NORMAL), &[0, 0, 5]),
            (header(2, Some(7), 300, NORMAL), &[2, 2, 0x10, 7, 0x81, 0x2c]),
            (header(0, None, 0, NORMAL), &[0, 0, 0, 0]),
            (header(1, None, 0, END_OF_GROUP), &[1, 0, 0, 3]),
        ];
        for (header, bytes) in cases {
            let mut out = BytesMut::new();
            header.encode(&mut out);
            assert_eq!(out, bytes);
            assert_eq!(ObjectHeader::decode(true, bytes), Ok((header, bytes.len())));
            for cut in 0..bytes.len() {
                let cut = ObjectHeader::decode(true, &bytes[..cut]);
                assert_eq!(cut, Err(DecodeError::Truncated));
            }
        }
        let bare = ObjectHeader::decode(false, &[1, 0, 4]);
        assert_eq!(bare, Ok((header(1, None, 0, END_OF_TRACK), 3)));
    }

    #[test]
    fn a_timestamp_is_found_among_others() {
        // LOC's first form, bytes of an odd type, then the timestamp: the last one counts.
        let block = [0x06, 1, 5, 2, 0xaa, 0xbb, 5, 9];
        assert_eq!(timestamp(&block), Ok(Some(9)));
        assert_eq!(timestamp(&[0x0b, 1, 0]), Ok(None));
        for broken in [&[0x0b, 2, 0][..], &[0x10], &[0x80]] {
            assert_eq!(timestamp(broken), Err(BROKEN));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let invalid: [&[u8]; 3] = [&[0, 0, 0, 1], &[0, 2, 0x10, 7, 0, 3], &[0, 1, 0x0b, 1]];
        for bytes in invalid {
            let error = ObjectHeader::decode(true, bytes);
            assert!(matches!(error, Err(DecodeError::Invalid(_))), "{bytes:?}");
        }
        let mut large = BytesMut::from(&[0, 0][..]);
        vi64::put(&mut large, FRAME_BYTES_MAX + 1);
        assert!(matches!(
            ObjectHeader::decode(true, &large),
            Err(DecodeError::TooLarge(_))
        ));
    }

    fn header(id_delta: u64, timestamp: Option<u64>, size: u64, status: u64) -> ObjectHeader {
        ObjectHeader {
            id_delta,
            timestamp,
            size,
            status,
        }
    }
}
