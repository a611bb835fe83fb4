//! SRTP of a leg: what protects its packets both ways.

use moqswitch_media::srtp::{Key, Opener, Sealer, Unopened};

/// The keys of a leg. Neither is to be of another leg as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// For what is sent.
    pub ours: Key,
    /// For what comes.
    pub theirs: Key,
}

pub(crate) struct Srtp {
    keys: SrtpKeys,
    sealer: Sealer,
    opener: Opener,
    /// What was opened last: one piece of memory for all packets.
    opened: Vec<u8>,
}

impl Srtp {
    /// As it was agreed on. What goes on with the same key goes on where it was.
    pub(crate) fn agree(before: Option<Self>, keys: Option<&SrtpKeys>, ssrc: u32) -> Option<Self> {
        let keys = keys?.clone();
        let Some(mut own) = before else {
            return Some(Self {
                sealer: Sealer::new(&keys.ours, ssrc),
                opener: Opener::new(&keys.theirs),
                opened: Vec::new(),
                keys,
            });
        };
        if own.keys.ours != keys.ours {
            own.sealer = Sealer::new(&keys.ours, ssrc);
        }
        if own.keys.theirs != keys.theirs {
            own.opener = Opener::after(&keys.theirs, &own.opener);
        }
        own.keys = keys;
        Some(own)
    }

    /// Protects a packet. False: it must not be sent.
    pub(crate) fn seal_rtp(&mut self, packet: &mut Vec<u8>) -> bool {
        self.sealer.seal_rtp(packet).is_ok()
    }

    /// The same of a packet of RTCP.
    pub(crate) fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> bool {
        self.sealer.seal_rtcp(packet).is_ok()
    }

    /// What is in a datagram. The memory that it is in is to be given back.
    pub(crate) fn open(&mut self, datagram: &[u8], is_control: bool) -> Result<Vec<u8>, Unopened> {
        let mut opened = std::mem::take(&mut self.opened);
        let result = match is_control {
            true => self.opener.open_rtcp(datagram, &mut opened),
            false => self.opener.open_rtp(datagram, &mut opened),
        };
        match result {
            Ok(()) => Ok(opened),
            Err(error) => {
                self.opened = opened;
                Err(error)
            }
        }
    }

    pub(crate) fn give_back(&mut self, opened: Vec<u8>) {
        self.opened = opened;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moqswitch_media::srtp::Suite;

    fn keys(ours: u8, theirs: u8) -> SrtpKeys {
        let key = |byte: u8| Key::new(Suite::AesCm80, &[byte; 30], &[]).unwrap();
        SrtpKeys {
            ours: key(ours),
            theirs: key(theirs),
        }
    }

    #[test]
    fn what_keeps_its_key_goes_on_and_another_key_begins() {
        let agree = |before, keys: &SrtpKeys, ssrc| Srtp::agree(before, Some(keys), ssrc).unwrap();
        let mut one = agree(None, &keys(1, 2), 7);
        let mut other = agree(None, &keys(2, 1), 9);
        let packet = |sequence: u8| vec![128, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 7, 55];
        let mut first = packet(1);
        assert!(one.seal_rtp(&mut first) && first.len() == 23);
        let opened = other.open(&first, false).unwrap();
        assert_eq!(opened, packet(1));
        other.give_back(opened);
        // The same again changes nothing: neither is a packet taken twice, nor a number used twice.
        one = agree(Some(one), &keys(1, 2), 7);
        other = agree(Some(other), &keys(2, 1), 9);
        assert!(!one.seal_rtp(&mut packet(1)));
        assert_eq!(other.open(&first, false), Err(Unopened::Repeated));
        // One changes its key.
        one = agree(Some(one), &keys(3, 2), 7);
        let mut second = packet(2);
        assert!(one.seal_rtp(&mut second));
        assert_eq!(other.open(&second, false), Err(Unopened::Unauthentic));
        other = agree(Some(other), &keys(2, 3), 9);
        assert!(other.open(&second, false).is_ok());
        assert!(Srtp::agree(Some(other), None, 9).is_none());
    }
}
