//! Protects what is sent.

use std::fmt;

use super::header::{Header, control_source};
use super::index::INDEX_MAX;
use super::key::Key;
use super::transform::Keys;

/// Protects the packets of one source. Numbers count on: what has been sent is never sealed again, nor is anything of another
/// source, so no two packets are encrypted alike.
pub struct Sealer {
    keys: Keys,
    ssrc: u32,
    /// Of the last packet of RTP.
    index: Option<u64>,
    /// Of the last packet of RTCP.
    control_index: u32,
}

/// Why a packet was not protected; it must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// It is no packet, or of another source.
    #[error("it is no packet of the source")]
    Malformed,
    /// It has been sent, or is longer than the suite can take.
    #[error("it cannot be encrypted")]
    Unencryptable,
    /// There have been as many packets as one key may protect (RFC 3711, section 9.2).
    #[error("the key is used up")]
    UsedUp,
}

impl Sealer {
    /// For the packets of a source. The key must be of no other sealer.
    pub fn new(key: &Key, ssrc: u32) -> Self {
        Self {
            keys: Keys::new(key),
            ssrc,
            index: None,
            control_index: 0,
        }
    }

    /// Protects a packet of RTP, in place. Numbers of packets go up; where one is lower than the last it has begun anew.
    ///
    /// # Errors
    /// [`Unsealed`]; what the packet is then does not matter.
    pub fn seal_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), Unsealed> {
        let header = Header::read(packet).filter(|header| header.ssrc == self.ssrc);
        let header = header.ok_or(Unsealed::Malformed)?;
        let index = match self.index {
            None => u64::from(header.sequence),
            Some(last) => {
                let [.., high, low] = last.to_be_bytes();
                let ahead = header.sequence.wrapping_sub(u16::from_be_bytes([high, low]));
                if ahead == 0 {
                    return Err(Unsealed::Unencryptable);
                }
                last + u64::from(ahead)
            }
        };
        if index > INDEX_MAX {
            return Err(Unsealed::UsedUp);
        }
        self.index = Some(index);
        match self.keys.rtp.seal_rtp(packet, header.bytes, self.ssrc, index) {
            true => Ok(()),
            false => Err(Unsealed::Unencryptable),
        }
    }

    /// Protects a packet of RTCP, in place.
    ///
    /// # Errors
    /// [`Unsealed`]; what the packet is then does not matter.
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), Unsealed> {
        if control_source(packet) != Some(self.ssrc) {
            return Err(Unsealed::Malformed);
        }
        if self.control_index >= CONTROL_INDEX_MAX {
            return Err(Unsealed::UsedUp);
        }
        self.control_index += 1;
        match self.keys.rtcp.seal_rtcp(packet, self.ssrc, self.control_index) {
            true => Ok(()),
            false => Err(Unsealed::Unencryptable),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sealer")
            .field("ssrc", &self.ssrc)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// The last packet of RTCP under one key (RFC 3711, section 9.2).
const CONTROL_INDEX_MAX: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::Suite;

    #[test]
    fn a_key_is_used_up_and_numbers_do_not_come_twice() {
        let key = Key::new(Suite::AesCm80, &[1; 30], &[]).unwrap();
        let mut sealer = Sealer::new(&key, 7);
        let packet = |sequence: u16| [&[128, 0][..], &sequence.to_be_bytes(), &[0, 0, 0, 0, 0, 0, 0, 7, 9]].concat();
        assert_eq!(sealer.seal_rtp(&mut packet(5)), Ok(()));
        assert_eq!(sealer.seal_rtp(&mut packet(5)), Err(Unsealed::Unencryptable));
        assert_eq!(sealer.seal_rtp(&mut packet(4)), Ok(()));
        assert_eq!(sealer.index, Some(0x1_0004));
        sealer.index = Some(INDEX_MAX - 1);
        assert_eq!(sealer.seal_rtp(&mut packet(u16::MAX)), Ok(()));
        assert_eq!(sealer.seal_rtp(&mut packet(0)), Err(Unsealed::UsedUp));
        assert_eq!(sealer.seal_rtp(&mut vec![128; 11]), Err(Unsealed::Malformed));
        assert_eq!(sealer.seal_rtp(&mut vec![128; 13]), Err(Unsealed::Malformed));
        let report = || vec![128, 200, 0, 1, 0, 0, 0, 7];
        sealer.control_index = CONTROL_INDEX_MAX - 1;
        assert_eq!(sealer.seal_rtcp(&mut report()), Ok(()));
        assert_eq!(sealer.seal_rtcp(&mut report()), Err(Unsealed::UsedUp));
        assert_eq!(sealer.seal_rtcp(&mut vec![128; 8]), Err(Unsealed::Malformed));
    }
}
