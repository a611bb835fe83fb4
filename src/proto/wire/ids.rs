//! Identifiers that must not be mixed up.

use std::fmt;

use crate::limits::VARINT_MAX;

/// A subscription within a session, chosen by the subscriber and never reused (draft "SUBSCRIBE").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscribeId(pub u64);

/// The sequence number of a group within its track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupSequence(pub u64);

/// One relay or publisher on the path of an announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(pub u64);

/// A QUIC stream id: bit 0 says who opened it, bit 1 whether it is one way (RFC 9000 section 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A stream reset code or a session close code; see [`stream_error`](super::stream_error) and
/// [`session_error`](super::session_error) for the two registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u64);

impl HopId {
    /// Not assigned or withheld; matches nothing (draft "Routing").
    pub const UNKNOWN: HopId = HopId(0);

    /// Whether this is [`UNKNOWN`](Self::UNKNOWN).
    pub fn is_unknown(self) -> bool {
        self == Self::UNKNOWN
    }
}

impl GroupSequence {
    /// As the start of a range: no group is wanted. It is the last that all drafts can say as one.
    pub const NEVER: GroupSequence = GroupSequence(VARINT_MAX - 1);
}

impl StreamId {
    /// Whether only its opener sends on it.
    pub fn is_uni(self) -> bool {
        self.0 & 0b10 != 0
    }

    /// Opened by the client.
    pub fn is_client(self) -> bool {
        self.0 & 0b01 == 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_id_bits_say_opener_and_direction() {
        let facts = |id| (StreamId(id).is_client(), StreamId(id).is_uni());
        assert_eq!(facts(0), (true, false));
        assert_eq!(facts(1), (false, false));
        assert_eq!(facts(2), (true, true));
        assert_eq!(facts(7), (false, true));
    }
}
